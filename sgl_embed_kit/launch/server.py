"""Run the server of a subject: start it, follow it until it is ready, serve, stop it."""

from __future__ import annotations

import io
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import KitError, NotReadyError, ServerDiedError
from sgl_embed_kit.launch.address import url_of
from sgl_embed_kit.launch.events import (
    LogTrouble,
    OnEvent,
    Ready,
    Started,
    Stopped,
    Stopping,
    nobody,
)
from sgl_embed_kit.launch.expectations import NO_PAST, PastStarts, past_starts
from sgl_embed_kit.launch.following import StartLog
from sgl_embed_kit.launch.keys_file import KeysFile, keys_file
from sgl_embed_kit.launch.listener import process_tree
from sgl_embed_kit.launch.notify import SYSTEMD_VARIABLES
from sgl_embed_kit.launch.output import Show, echoed
from sgl_embed_kit.launch.process import POLL_SECONDS, ServerProcess, log_file
from sgl_embed_kit.launch.readiness import Readiness
from sgl_embed_kit.launch.registration import recorded, registered_server
from sgl_embed_kit.launch.start import start_limit, vectors_fingerprint
from sgl_embed_kit.launch.watchdog import watching
from sgl_embed_kit.machine.cgroup import own_group
from sgl_embed_kit.machine.oom import oom_event
from sgl_embed_kit.machine.process_id import process_id
from sgl_embed_kit.machine.servers import Registration
from sgl_embed_kit.profile.keys import read_key
from sgl_embed_kit.sglang.death import Death, explain_death
from sgl_embed_kit.sglang.log import BATCH, requests_left

IDLE_SECONDS = 5.0
"""For a server to end that answers no requests: it dies of SIGTERM while it loads."""

LAUNCH_ID = "SGL_EMBED_LAUNCH_ID"
"""Variable from which the guard knows what to answer (guard/liveness.py)."""

Beat = Callable[[], None]
"""Called a few times a second for as long as a server starts in time, or is well."""


def no_beat() -> None:
    """Tell nobody."""


class RunningServer:
    """A server between its start and its stop."""

    def __init__(
        self,
        subject: Subject,
        process: ServerProcess,
        registration: Registration,
        *,
        api_key: str | None = None,
        keys_file: KeysFile | None = None,
        past: PastStarts = NO_PAST,
        launch_id: str = "",
        beat: Beat = no_beat,
    ) -> None:
        self.subject = subject
        self.profile = subject.profile
        self.process = process
        self._registration = registration
        self._api_key = api_key
        self._launch_id = launch_id
        self._keys_file = keys_file
        self._past = past
        self._lines = process.output.reader()
        self.limit = start_limit(subject)
        self._started = time.monotonic()
        self._batches = 0
        self._is_ready = False
        self._hangs = False
        self._beat = beat
        self._group = own_group()
        self._pids = {process.pid}

    def wait_until_ready(self, on_event: OnEvent) -> Ready:
        """Wait until this very server has shown that it is ready.

        Raises:
            ServerDiedError: it ended first.
            NotReadyError: it took longer than it may.
            KitError: it is up, and not what it should be.
        """
        on_event = recorded(self._registration, on_event)
        start = self._begin(on_event)
        fingerprint = vectors_fingerprint(self.subject)  # SGLang imports for ten seconds
        with Readiness(
            self.subject, self.process, api_key=self._api_key, launch_id=self._launch_id
        ) as readiness:
            while True:
                if self.process.exit_status() is not None:
                    self.process.output.catch_up()
                self._follow(start, on_event)
                self._raise_if_dead()
                left = self._started + self.limit.seconds - time.monotonic()
                if left <= 0:
                    raise self._not_ready(readiness.reason)
                proof = readiness.proof(left)
                if proof is not None:
                    break
                self._pause()
        self._follow(start, on_event)
        now = time.monotonic()
        phases = start.seconds(now)
        self._past.remember({phase.id: seconds for phase, seconds in phases.items()})
        ready = Ready(
            url=url_of(self.profile),
            model=self.profile.model.name,
            dimension=proof.dimension,
            seconds=now - self._started,
            phases=tuple((phase.label, seconds) for phase, seconds in phases.items()),
            pid=self.process.pid,
            log=self.process.log,
            norm=proof.norm,
            longest=proof.limits.longest if proof.limits else None,
            pool=proof.limits.pool if proof.limits else None,
            probed=proof.probed,
            guard=proof.guard,
            fingerprint=fingerprint,
        )
        self._is_ready = True
        on_event(ready)
        return ready

    def wait(self, on_event: OnEvent = nobody) -> None:
        """Wait for as long as the server lives and is well.

        Raises:
            ServerDiedError: it ended by itself, or hangs.
        """
        with watching(self.profile, self._api_key, lambda: self._batches) as watchdog:
            while True:
                self._raise_if_dead()
                self._batches += sum(BATCH in line.text for line in self._lines.new_lines())
                self._tell_of_log(on_event)
                if watchdog.is_ill:
                    raise self._hung(watchdog.stalled_seconds)
                self._pause()

    def stop(self, on_event: OnEvent = nobody) -> None:
        """End the server and everything that it started.

        One that was not ready yet has no requests to answer, and one that hangs answers none:
        they get less time.

        Raises:
            KitError: it cannot be killed.
        """
        drain = self.profile.server.drain_seconds
        drains = self._is_ready and not self._hangs
        seconds = drain if drains else min(drain, IDLE_SECONDS)
        on_event = recorded(self._registration, on_event)
        on_event(Stopping(seconds))
        ended = self.process.stop(seconds)
        was_cut = self._is_ready and not ended
        on_event(Stopped(requests_left(self.process.end_of_log()) if was_cut else 0))

    def _pause(self) -> None:
        self._beat()
        time.sleep(POLL_SECONDS)

    def _begin(self, on_event: OnEvent) -> StartLog:
        start = StartLog(self._started, self._past.expected())
        on_event(Started(self.process.pid, self.process.log))
        on_event(start.begin())
        return start

    def _follow(self, start: StartLog, on_event: OnEvent) -> None:
        """Tell of what was printed since the last time."""
        output = self.process.output
        known = len(start.phases)
        for event in start.read(self._lines.new_lines(), output.begun_line()):
            on_event(event)
        if len(start.phases) > known:  # the kernel's log knows processes by their ids alone
            self._pids |= process_tree(self.process.pid)
        if len(start.phases) > 1 and self._keys_file is not None:
            self._keys_file.remove()  # the second phase begins when all arguments were read
        self._tell_of_log(on_event)

    def _tell_of_log(self, on_event: OnEvent) -> None:
        for why in self.process.output.log.new_troubles():
            on_event(LogTrouble(self.process.log, why))

    def _death(self, status: int | None) -> Death:
        """Explain why the server died, with a status, or why it lives and does not serve."""
        log = io.BytesIO(self.process.end_of_log().encode("utf-8", "surrogateescape"))
        seconds = time.monotonic() - self._started
        killed = oom_event(self._group, own_group(), self._pids, seconds)
        return explain_death(log, status, self._is_ready, killed, log_file=self.process.log)

    def _not_ready(self, reason: str) -> NotReadyError:
        death, limit = self._death(None), self.limit
        return NotReadyError(
            f"The server was not ready within {limit.seconds:g} s ({limit.because}).",
            why="\n".join([*lines_of(death, self.process.log), reason]).strip(),
            cure=death.cure,
        )

    def _hung(self, seconds: float) -> ServerDiedError:
        self._hangs = True
        death = self._death(None)
        return ServerDiedError(
            f"The server hung: no vector came back and no tokens moved for {seconds:.0f} s.",
            why="\n".join(lines_of(death, self.process.log)),
            cure=death.cure,
            heals=death.heals,
        )

    def _raise_if_dead(self) -> None:
        status = self.process.exit_status()
        if status is None:
            return
        death = self._death(status)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise ServerDiedError(
            f"The server {how}.",
            why="\n".join(lines_of(death, self.process.log)),
            cure=death.cure,
            heals=death.heals,
        )


def lines_of(death: Death, log: Path) -> list[str]:
    """Return what is known of a death, a line each: cause, log line, reason, upstream, log."""
    where = "" if str(log) in death.cure else f"Its log: {log}"
    return [text for text in (death.what, death.line, death.why, death.upstream, where) if text]


@contextmanager
def running_server(
    subject: Subject,
    registration: Registration | None = None,
    show_log: Show | None = None,
    beat: Beat = no_beat,
) -> Iterator[RunningServer]:
    """Start the server of a subject, and stop it whatever happens in the block.

    Args:
        subject: What is to be served.
        registration: Its record; None for one of its own.
        show_log: Takes the lines that it prints, without keys.
        beat: Called again and again for as long as all is well.

    Raises:
        AlreadyRunsError: a server of ours has its address.
        KitError: it cannot be started.
    """
    if subject.installed is None or subject.installed.command is None:
        raise KitError(
            "SGLang is not installed here.",
            why="Its checks were skipped." if subject.installed is None else "It has no command.",
            cure="pip install 'sgl-embed-kit[server]'",
        )
    command, launch_id = subject.command(), secrets.token_hex(16)
    command = replace(
        command,
        env={**command.env, LAUNCH_ID: launch_id},
        unset=(*command.unset, *SYSTEMD_VARIABLES),
    )
    keys = {
        flag: source if isinstance(source, str) else read_key(source, os.environ)
        for flag, source in command.keys.items()
    }
    with ExitStack() as stack:
        file = stack.enter_context(keys_file(keys))
        if registration is None:
            registration = stack.enter_context(registered_server(subject))
        if file is not None:
            argv = (*command.argv, "--config", str(file.path))
            command = replace(command, argv=argv)
        log = log_file(subject.mask(subject.profile.model.name))
        process = ServerProcess(command, subject.installed.command, log, keys.values())
        server = RunningServer(
            subject,
            process,
            registration,
            api_key=keys.get("api-key"),
            keys_file=file,
            past=past_starts(subject),
            launch_id=launch_id,
            beat=beat,
        )
        with echoed(process.output, show_log):
            try:
                registration.update(
                    server=process_id(process.pid, command.argv[1:]),
                    name=subject.mask(subject.profile.model.name),
                    model=subject.mask(subject.profile.model.path),
                    log=str(log),
                )
                yield server
            finally:
                server.stop()
