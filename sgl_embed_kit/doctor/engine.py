"""Run checks side by side; one that crashes is a result like any other."""

from __future__ import annotations

import platform
import re
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from sgl_embed_kit import __version__
from sgl_embed_kit.doctor.catalogue import About
from sgl_embed_kit.profile.masking import Mask
from sgl_embed_kit.profile.patch import IN_PROFILE


class Status(StrEnum):
    """What came of a check."""

    OK = "ok"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    SKIP = "skip"
    CRASH = "crash"


@dataclass(frozen=True)
class Finding:
    """What a check function returns.

    Attributes:
        status: The verdict.
        found: What is there.
        needed: What should be there; empty where nothing is missing.
        fix: One command, or one edit of the profile as YAML, that cures it; of a check that
            crashed, a line to report it with. Empty where nothing is wrong.
    """

    status: Status
    found: str
    needed: str = ""
    fix: str = ""


class Looked(Protocol):
    """What checks look at: a machine with a profile, or a server that runs."""

    @property
    def mask(self) -> Mask:
        """Keeps out of what is shown what nobody may see."""

    @property
    def release(self) -> str | None:
        """Version of its SGLang; None where there is none, or it is not known."""

    @property
    def url(self) -> str | None:
        """Address of the server that is asked; None for a machine."""


S = TypeVar("S", bound=Looked)


@dataclass(frozen=True)
class Check(Generic[S]):
    """A check: what is known of it, the function that looks, and its time limit."""

    about: About
    look: Callable[[S], Finding]
    seconds: float = 5.0

    @property
    def id(self) -> str:
        """Its id, such as SGE-NET-001."""
        return self.about.id


@dataclass(frozen=True)
class Result:
    """A check and what came of it.

    Attributes:
        check: The check.
        finding: What it found, or what is left of that where it is ignored.
        duration_ms: How long it took.
        ignored: Why it is ignored; empty where it is not.
    """

    check: Check[Any]
    finding: Finding
    duration_ms: float
    ignored: str = ""


@dataclass(frozen=True)
class Report:
    """The results of a run, in the order of the checks.

    Attributes:
        results: What came of each check.
        seconds: How long all of them took together.
    """

    results: tuple[Result, ...]
    seconds: float = 0.0

    def count(self, status: Status) -> int:
        """Return how many results have a status."""
        return sum(result.finding.status is status for result in self.results)

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing that a person should look at before a start."""
        return self.count(Status.OK) + self.count(Status.SKIP) == len(self.results)

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results that stop a start: errors, and checks that crashed."""
        return self.failing(Status.ERROR)

    def failing(self, fail_on: Status) -> tuple[Result, ...]:
        """Return the results that count as failed: from warnings on, or from errors on."""
        bad = {Status.ERROR, Status.CRASH, fail_on}
        return tuple(result for result in self.results if result.finding.status in bad)


EXPANDED = re.compile(r"([A-Z_]+=)?/")
"""A word, bare or assigned to a variable, at whose beginning a shell takes ~ for the home."""

NOTHING_IGNORED: Mapping[str, str] = MappingProxyType({})


def run_checks(
    subject: S, checks: Sequence[Check[S]], ignored: Mapping[str, str] = NOTHING_IGNORED
) -> Report:
    """Run the checks, all at once, and return their results in the order given.

    Args:
        subject: What they look at.
        checks: What to run.
        ignored: Ids of checks that may fail and are only told, each with the reason.
    """
    began = time.perf_counter()
    runs = [_Run(check, subject) for check in checks]
    results = tuple(_ignoring(run.result(), ignored) for run in runs)
    return Report(results, time.perf_counter() - began)


class _Run(Generic[S]):
    """A check that runs in a thread of its own, which nobody waits for in the end.

    So that a check that hangs, on a dead network disk for instance, holds up neither the
    others nor the end of the program.
    """

    def __init__(self, check: Check[S], subject: S) -> None:
        self._check, self._subject = check, subject
        self._began = time.perf_counter()
        self._result: Result | None = None
        self._thread = threading.Thread(target=self._look, name=check.id, daemon=True)
        self._thread.start()

    def result(self) -> Result:
        """Return the result, at the latest when the check's time is over."""
        self._thread.join(max(0.0, self._began + self._check.seconds - time.perf_counter()))
        if self._result is not None:
            return self._result
        gave_up = Finding(Status.SKIP, f"gave up after {self._check.seconds:g} s")
        return Result(self._check, gave_up, self._check.seconds * 1000)

    def _look(self) -> None:
        try:
            finding = self._check.look(self._subject)
        except Exception as error:  # a broken check must not hide what the others found
            finding = self._crash(error)
        mask = self._subject.mask
        shown = replace(
            finding,
            found=_without_home(mask(finding.found)),
            needed=_without_home(mask(finding.needed)),
            fix=_with_tilde(mask(finding.fix)),
        )
        self._result = Result(self._check, shown, (time.perf_counter() - self._began) * 1000)

    def _crash(self, error: Exception) -> Finding:
        """Return the finding of a check that crashed, with a line to report it."""
        what = f"{type(error).__name__}: {error}"
        last = traceback.extract_tb(error.__traceback__)[-1]
        release = self._subject.release
        return Finding(
            Status.CRASH,
            f"a bug of sgl-embed in this check: {what}",
            fix=f"sgl-embed {__version__}, "
            f"Python {platform.python_version()}, "
            f"SGLang {release or 'not installed'}: "
            f"{self._check.id} crashed in {last.name} ({Path(last.filename).name}:{last.lineno}): "
            f"{what}",
        )


def _without_home(text: str) -> str:
    """Return a text that can be pasted in public: home folders hold the names of users."""
    home = Path("~").expanduser()
    return text.replace(f"{home}/", "~/") if home.is_absolute() and home != home.parent else text


def _with_tilde(fix: str) -> str:
    """Return a command with ~ where a shell makes the home folder of it; YAML as it is."""
    if fix.endswith(IN_PROFILE):
        return fix
    words = fix.split(" ")
    return " ".join(_without_home(word) if EXPANDED.match(word) else word for word in words)


def _ignoring(result: Result, ignored: Mapping[str, str]) -> Result:
    reason = ignored.get(result.check.id, "")
    if not reason or result.finding.status not in {Status.WARN, Status.ERROR, Status.CRASH}:
        return result
    return replace(result, finding=replace(result.finding, status=Status.INFO), ignored=reason)
