"""Launch a server for a subject: ready means that a real embedding came back from it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

from sgl_embed_kit.client import ConnectionFailedError, EmbeddingClient, RefusedError
from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import KitError, NotReadyError, ServerDiedError
from sgl_embed_kit.launch.keys_file import KeysFile, keys_file
from sgl_embed_kit.launch.process import POLL_SECONDS, ServerProcess, log_file
from sgl_embed_kit.machine import ServerRecord
from sgl_embed_kit.machine.servers import forget, remember, started_at
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.keys import read_key
from sgl_embed_kit.sglang.diagnosis import diagnose, root_cause
from sgl_embed_kit.sglang.log import IMPORTING, phase_of, why_it_died

PROBE_TEXT = "Is an embedding server here?"
PROBE_SECONDS = 30.0

OnPhase = Callable[[str], None]
"""Called with the label of each phase of the start when it begins."""


@dataclass(frozen=True)
class Ready:
    """A server that answers.

    Attributes:
        url: Where it listens.
        model: Its served model name.
        dimension: Dimension of its vectors.
        seconds: Time from its start to its first embedding.
        phases: Label and seconds of each phase of the start.
        pid: Id of its main process.
        log: Its log file.
    """

    url: str
    model: str
    dimension: int
    seconds: float
    phases: tuple[tuple[str, float], ...]
    pid: int
    log: Path


class RunningServer:
    """A server between its start and its stop."""

    def __init__(
        self,
        profile: Profile,
        process: ServerProcess,
        *,
        api_key: str | None = None,
        keys_file: KeysFile | None = None,
    ) -> None:
        self.profile = profile
        self.process = process
        self._api_key = api_key
        self._keys_file = keys_file
        self._started = time.monotonic()

    def wait_until_ready(self, on_phase: OnPhase) -> Ready:
        """Wait until this very server returns an embedding of the right dimension.

        Raises:
            ServerDiedError: it ended first.
            NotReadyError: it took longer than the profile allows.
            KitError: it refuses to embed, or its vectors have another dimension.
        """
        began = [(IMPORTING, self._started)]
        on_phase(IMPORTING)
        deadline = self._started + self.profile.launch.timeout_seconds
        url = url_of(self.profile)
        with EmbeddingClient(
            url, model=self.profile.model.name, api_key=self._api_key, timeout=PROBE_SECONDS
        ) as client:
            while True:
                self._raise_if_dead()
                for label in self._new_phases():
                    began.append((label, time.monotonic()))
                    on_phase(label)
                dimension = self._probe(client)
                if dimension is not None:
                    break
                if time.monotonic() > deadline:
                    raise NotReadyError(
                        f"The server was not ready within "
                        f"{self.profile.launch.timeout_seconds:g} s.",
                        why=f"Its last phase was: {began[-1][0]}.",
                        cure=f"less {self.process.log}",
                    )
                time.sleep(POLL_SECONDS)
        self._check_dimension(dimension)
        now = time.monotonic()
        ends = [start for _, start in began[1:]] + [now]
        return Ready(
            url=url,
            model=self.profile.model.name,
            dimension=dimension,
            seconds=now - self._started,
            phases=tuple(
                (label, end - start) for (label, start), end in zip(began, ends, strict=True)
            ),
            pid=self.process.pid,
            log=self.process.log,
        )

    def wait(self) -> None:
        """Wait for as long as the server lives.

        Raises:
            ServerDiedError: it ended by itself.
        """
        while True:
            self._raise_if_dead()
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End the server and everything that it started."""
        self.process.stop(self.profile.server.drain_seconds)

    def _new_phases(self) -> list[str]:
        phases = [phase_of(line) for line in self.process.new_log_lines()]
        labels = [phase.label for phase in phases if phase is not None]
        if labels and self._keys_file is not None:
            self._keys_file.remove()  # the first phase begins when all arguments were read
        return labels

    def _probe(self, client: EmbeddingClient) -> int | None:
        """Return the dimension of an embedding from this server, or None: not yet."""
        if not self.process.listens_on(self.profile.server.port):
            return None  # whoever answers there now, it is not this server
        try:
            return int(client.embed_documents([PROBE_TEXT]).shape[1])
        except ConnectionFailedError:
            return None
        except RefusedError as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return None
            raise KitError(
                "The server is up and refuses to embed.",
                why=error.why,
                cure=f"less {self.process.log}",
            ) from error

    def _check_dimension(self, dimension: int) -> None:
        expected = self.profile.embedding.dimensions
        if expected is not None and dimension != expected:
            raise KitError(
                f"The server's vectors have {dimension} dimensions, not {expected}.",
                why="The profile's embedding.dimensions and its model do not belong together.",
                cure=f"set embedding.dimensions: {dimension} in the profile",
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
def running_server(subject: Subject) -> Iterator[RunningServer]:
    """Start the server of a subject, and stop it whatever happens in the block.

    Raises:
        KitError: it cannot be started.
    """
    assert subject.installed is not None
    assert subject.installed.command is not None
    command = subject.command()
    keys = {
        flag: source if isinstance(source, str) else read_key(source, os.environ)
        for flag, source in command.keys.items()
    }
    with keys_file(keys) as file:
        if file is not None:
            argv = (*command.argv, "--config", str(file.path))
            command = replace(command, argv=argv)
        log = log_file(subject.mask(subject.profile.model.name))
        process = ServerProcess(command, subject.installed.command, log)
        server = RunningServer(
            subject.profile, process, api_key=keys.get("api-key"), keys_file=file
        )
        record = ServerRecord(
            pid=process.pid,
            started=started_at(process.pid) or 0,
            host=subject.profile.server.host,
            port=subject.profile.server.port,
            name=subject.mask(subject.profile.model.name),
            model=subject.mask(subject.profile.model.path),
            log=str(log),
        )
        try:
            remember(record)
            yield server
        finally:
            server.stop()
            forget(record)


def url_of(profile: Profile) -> str:
    """Return the address at which this machine reaches a profile's server."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
    host = anywhere.get(profile.server.host, profile.server.host)
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{profile.server.port}"
