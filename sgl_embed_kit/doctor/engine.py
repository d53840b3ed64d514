"""Run checks side by side; one that crashes is a result like any other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sgl_embed_kit.doctor.subject import Subject


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
        fix: One command or edit that cures it; empty where nothing is wrong.
    """

    status: Status
    found: str
    needed: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Check:
    """A check: what it is called, and the function that looks."""

    id: str
    name: str
    category: str
    title: str
    look: Callable[[Subject], Finding]


@dataclass(frozen=True)
class Result:
    """A check and what came of it."""

    check: Check
    finding: Finding
    duration_ms: float


@dataclass(frozen=True)
class Report:
    """The results of a run, in the order of the checks."""

    results: tuple[Result, ...]

    def count(self, status: Status) -> int:
        """Return how many results have a status."""
        return sum(result.finding.status is status for result in self.results)

    @property
    def is_clean(self) -> bool:
        """Whether every check came out ok."""
        return self.count(Status.OK) == len(self.results)

    def without_ok(self) -> Report:
        """Return only what a person should look at."""
        return Report(tuple(r for r in self.results if r.finding.status is not Status.OK))

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results that stop a start: errors, and checks that crashed."""
        bad = {Status.ERROR, Status.CRASH}
        return tuple(result for result in self.results if result.finding.status in bad)


def run_checks(subject: Subject, checks: Sequence[Check]) -> Report:
    """Run the checks, all at once, and return their results in the order given."""
    from concurrent.futures import ThreadPoolExecutor  # a dry run runs no checks

    with ThreadPoolExecutor(max_workers=max(1, len(checks))) as pool:
        return Report(tuple(pool.map(lambda check: _run(check, subject), checks)))


def _run(check: Check, subject: Subject) -> Result:
    start = time.perf_counter()
    try:
        finding = check.look(subject)
    except Exception as error:  # a broken check must not hide what the others found
        finding = Finding(
            Status.CRASH,
            f"the check itself failed: {type(error).__name__}: {error}",
            fix="report this line as a bug of sgl-embed",
        )
    finding = replace(
        finding,
        found=subject.mask(finding.found),
        needed=subject.mask(finding.needed),
        fix=subject.mask(finding.fix),
    )
    return Result(check, finding, (time.perf_counter() - start) * 1000)
