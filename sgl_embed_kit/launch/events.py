"""What happens to a server from its start to its end, as typed events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sgl_embed_kit.sglang.log import Phase

NORM_TOLERANCE = 0.002
"""A bfloat16 vector that was scaled to length 1 is off by 0.001 at most."""


@dataclass(frozen=True)
class Started:
    """The server's process runs.

    Attributes:
        pid: Id of its main process.
        log: Its log file.
    """

    pid: int
    log: Path


@dataclass(frozen=True)
class PhaseBegan:
    """A part of the start has begun; the one before it is over.

    Attributes:
        phase: Which.
        expected: Seconds that it took the last times; None where there were none.
    """

    phase: Phase
    expected: float | None = None


@dataclass(frozen=True)
class Progress:
    """A part of the start has come some way.

    Attributes:
        phase: Which.
        done: Of its files, or of its sizes of a batch, how many are done.
        total: How many there are.
    """

    phase: Phase
    done: int
    total: int


@dataclass(frozen=True)
class Noticed:
    """A line of the log tells of something wrong, and the server is not ready yet.

    Attributes:
        problem: Its id in sglang/problems.yaml.
        severity: `warn`, or `error`: the server may end of it.
        means: What it means.
        cure: What cures it.
        line: The line.
    """

    problem: str
    severity: str
    means: str
    cure: str
    line: str


@dataclass(frozen=True)
class LogTrouble:
    """The log file misses lines; the server runs on, and writing is tried again.

    Attributes:
        log: The file.
        why: What is wrong with it.
    """

    log: Path
    why: str


@dataclass(frozen=True)
class Ready:
    """A real embedding came back from the server.

    Attributes:
        url: Where it listens.
        model: Its served model name.
        dimension: Dimension of its vectors.
        seconds: Time from its start to its first embedding.
        phases: Label and seconds of each phase of the start.
        pid: Id of its main process.
        log: Its log file.
        norm: Length of its first vector.
        longest: Tokens of the longest text that surely gets its vector; None: not known.
        pool: Tokens that its KV pool holds; None: not known.
        probed: Tokens of a long text that got its vector; 0 where none was sent.
        guard: The guard's version; None where there is none.
        fingerprint: The name of its vectors; None where it cannot be told.
    """

    url: str
    model: str
    dimension: int
    seconds: float
    phases: tuple[tuple[str, float], ...]
    pid: int
    log: Path
    norm: float = 1.0
    longest: int | None = None
    pool: int | None = None
    probed: int = 0
    guard: str | None = None
    fingerprint: str | None = None

    @property
    def is_normalised(self) -> bool:
        """Whether its vectors have length 1."""
        return abs(self.norm - 1) <= NORM_TOLERANCE


@dataclass(frozen=True)
class Stopping:
    """The server was asked to end.

    Attributes:
        seconds: What it is given to answer its last requests.
    """

    seconds: float


@dataclass(frozen=True)
class Stopped:
    """Nothing is left of the server.

    Attributes:
        requests_cut: Requests that it had not answered when it was killed; None where it
            was killed before it had counted them.
    """

    requests_cut: int | None = 0


@dataclass(frozen=True)
class Restarting:
    """The server failed, and is started again.

    Attributes:
        what: What happened to it, one sentence.
        why: The cause, where it is known.
        number: Which restart this is within the window, from 1.
        limit: How many the window may hold.
        delay: Seconds to wait before it.
    """

    what: str
    why: str
    number: int
    limit: int
    delay: float


@dataclass(frozen=True)
class WaitingForMemory:
    """The GPU memory of the server that ended is not free yet.

    Attributes:
        missing: Bytes that are still held.
    """

    missing: int


@dataclass(frozen=True)
class Ended:
    """The command ends: the last event of all.

    Attributes:
        exit_code: Its exit code.
        what: What happened; empty where all is well.
        why: Why; empty where `what` says it.
        cure: What cures it; empty where nothing is known.
    """

    exit_code: int
    what: str = ""
    why: str = ""
    cure: str = ""


Event = (
    Started
    | PhaseBegan
    | Progress
    | Noticed
    | LogTrouble
    | Ready
    | Restarting
    | WaitingForMemory
    | Stopping
    | Stopped
    | Ended
)
OnEvent = Callable[[Event], None]


def all_of(*followers: OnEvent) -> OnEvent:
    """Return one who tells each of the followers of every event."""

    def tell(event: Event) -> None:
        for follow in followers:
            follow(event)

    return tell


def nobody(_event: Event) -> None:
    """Follow nothing."""
