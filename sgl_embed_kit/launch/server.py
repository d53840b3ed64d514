"""Run the server of a subject: start it, follow it until it is ready, serve, stop it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NoReturn

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import NotReadyError, ServerDiedError
from sgl_embed_kit.launch.address import url_of
from sgl_embed_kit.launch.events import OnEvent, PhaseBegan, Ready, Stopped, Stopping, nobody
from sgl_embed_kit.launch.keys_file import KeysFile, keys_file
from sgl_embed_kit.launch.process import POLL_SECONDS, ServerProcess, log_file
from sgl_embed_kit.launch.readiness import Readiness
from sgl_embed_kit.launch.registration import recorded, registered_server
from sgl_embed_kit.launch.watchdog import watching
from sgl_embed_kit.machine.process_id import process_id
from sgl_embed_kit.machine.servers import Registration
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.keys import read_key
from sgl_embed_kit.sglang.diagnosis import diagnose, root_cause
from sgl_embed_kit.sglang.log import (
    BATCH,
    IMPORTING,
    Phase,
    phase_of,
    requests_left,
    why_it_died,
)

UNREADY_SECONDS = 5.0
"""For a server to end that has no requests: it dies of SIGTERM while it loads."""


class RunningServer:
    """A server between its start and its stop."""

    def __init__(
        self,
        profile: Profile,
        process: ServerProcess,
        registration: Registration,
        *,
        api_key: str | None = None,
        keys_file: KeysFile | None = None,
    ) -> None:
        self.profile = profile
        self.process = process
        self._registration = registration
        self._api_key = api_key
        self._keys_file = keys_file
        self._started = time.monotonic()
        self._batches = 0
        self._is_ready = False

    def wait_until_ready(self, on_event: OnEvent) -> Ready:
        """Wait until this very server returns an embedding of the right dimension.

        Raises:
            ServerDiedError: it ended first.
            NotReadyError: it took longer than the profile allows.
            KitError: it refuses to embed, or its vectors have another dimension.
        """
        on_event = recorded(self._registration, on_event)
        began = [(IMPORTING, self._started)]
        on_event(PhaseBegan(IMPORTING))
        limit = self.profile.launch.timeout_seconds
        with Readiness(self.profile, self.process, self._api_key) as readiness:
            while True:
                self._raise_if_dead()
                for phase in self._new_phases():
                    began.append((phase, time.monotonic()))
                    on_event(PhaseBegan(phase))
                dimension = readiness.dimension()
                if dimension is not None:
                    break
                if time.monotonic() > self._started + limit:
                    raise NotReadyError(
                        f"The server was not ready within {limit:g} s.",
                        why=f"Its last phase was: {began[-1][0].label}.",
                        cure=f"less {self.process.log}",
                    )
                time.sleep(POLL_SECONDS)
        now = time.monotonic()
        ends = [start for _, start in began[1:]] + [now]
        ready = Ready(
            url=url_of(self.profile),
            model=self.profile.model.name,
            dimension=dimension,
            seconds=now - self._started,
            phases=tuple(
                (phase.label, end - start) for (phase, start), end in zip(began, ends, strict=True)
            ),
            pid=self.process.pid,
            log=self.process.log,
        )
        self._is_ready = True
        on_event(ready)
        return ready

    def wait(self) -> None:
        """Wait for as long as the server lives and is well.

        Raises:
            ServerDiedError: it ended by itself, or hangs.
        """
        with watching(self.profile, self._api_key, lambda: self._batches) as watchdog:
            while True:
                self._raise_if_dead()
                self._batches += sum(BATCH in line for line in self.process.new_log_lines())
                if watchdog.is_ill:
                    self._raise_hung(watchdog.stalled_seconds)
                time.sleep(POLL_SECONDS)

    def stop(self, on_event: OnEvent = nobody) -> None:
        """End the server and everything that it started.

        One that was not ready yet has no requests to answer, and gets less time.

        Raises:
            KitError: it cannot be killed.
        """
        drain = self.profile.server.drain_seconds
        seconds = drain if self._is_ready else min(drain, UNREADY_SECONDS)
        on_event = recorded(self._registration, on_event)
        on_event(Stopping(seconds))
        ended = self.process.stop(seconds)
        was_cut = self._is_ready and not ended
        on_event(Stopped(requests_left(self.process.whole_log()) if was_cut else 0))

    def _new_phases(self) -> list[Phase]:
        phases = [phase for line in self.process.new_log_lines() if (phase := phase_of(line))]
        if phases and self._keys_file is not None:
            self._keys_file.remove()  # the first phase begins when all arguments were read
        return phases

    def _raise_hung(self, seconds: float) -> NoReturn:
        with self.process.log.open("rb") as log:
            cause = root_cause(diagnose(log))
        why = f"No vector came back and no tokens moved for {seconds:.0f} s."
        raise ServerDiedError(
            "The server hung.",
            why=f"{why}\n{cause.problem.means}" if cause else why,
            cure=cause.problem.cure if cause else f"less {self.process.log}",
        )

    def _raise_if_dead(self) -> None:
        status = self.process.exit_status()
        if status is None:
            return
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        with self.process.log.open("rb") as log:
            cause = root_cause(diagnose(log))
        why = why_it_died(self.process.whole_log())
        raise ServerDiedError(
            f"The server {how}.",
            why=f"{cause.problem.means}\n{why}" if cause else why,
            cure=cause.problem.cure if cause else f"less {self.process.log}",
        )


@contextmanager
def running_server(
    subject: Subject, registration: Registration | None = None
) -> Iterator[RunningServer]:
    """Start the server of a subject, and stop it whatever happens in the block.

    Args:
        subject: What is to be served.
        registration: Its record; None for one of its own.

    Raises:
        AlreadyRunsError: a server of ours has its address.
        KitError: it cannot be started.
    """
    assert subject.installed is not None
    assert subject.installed.command is not None
    command = subject.command()
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
        process = ServerProcess(command, subject.installed.command, log)
        server = RunningServer(
            subject.profile, process, registration, api_key=keys.get("api-key"), keys_file=file
        )
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
