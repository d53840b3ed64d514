"""Checks that are made up, for tests of the engine and of the reports' layout.

So that neither changes with the checks that there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sgl_embed_kit.doctor import Report, Subject, run_checks
from sgl_embed_kit.doctor.catalogue import About, KnownIssue
from sgl_embed_kit.doctor.engine import Check, Finding, Status
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.profile import load_profile
from tests.doctor.checks.cases import SGLANG
from tests.machines import FakeMachine

ISSUE = KnownIssue("https://github.com/sgl-project/sglang/issues/1", "<0.5.12")


def subject(installed: bool = True) -> Subject:
    """Return the tiny model on a healthy machine."""
    found = SGLANG if installed else None
    return Subject(load_profile("tiny-cpu"), locate("tiny:"), found, FakeMachine())


def about(name: str, category: str = "test", issue: KnownIssue | None = None) -> About:
    """Return what is known of a check that is made up."""
    return About(
        id=f"SGE-{name.upper()}-001",
        name=name,
        category=category,
        title=name.title(),
        severity="error",
        reads=(),
        means="",
        why="",
        cure="",
        known_issue=issue,
    )


def check(name: str, finding: Finding | None = None, category: str = "test") -> Check[Subject]:
    """Return a check that comes to a finding, or that crashes where there is none."""
    return Check(about(name, category), _look(finding))


def _look(finding: Finding | None) -> Callable[[Subject], Finding]:
    def look(_subject: Subject) -> Finding:
        if finding is None:
            raise ZeroDivisionError("x / 0")
        return finding

    return look


HEALTHY = (
    check("python", Finding(Status.OK, "Python 3.12.1 on linux x86_64"), "python"),
    check("sglang", Finding(Status.OK, "SGLang 0.5.23"), "python"),
    check("driver", Finding(Status.OK, "driver 570.86.15, for CUDA 12.8"), "gpu"),
    check("memory", Finding(Status.OK, "NVIDIA A10: 22.1 of 22.5 GiB free; 8.9 needed"), "gpu"),
    check("port", Finding(Status.OK, "127.0.0.1:30000 is free"), "network"),
    check("privport", Finding(Status.OK, "30000 needs no privilege"), "network"),
)
"""A machine on which all is well."""

FAULTY = (
    check("python", Finding(Status.OK, "Python 3.12.1 on linux x86_64"), "python"),
    check(
        "sglang",
        Finding(
            Status.WARN,
            "SGLang 0.6.0, newer than tested: against 0.5.23, 12 flags gained, 3 lost, 1 changed",
            "SGLang >=0.5.23,<0.5.24",
            "pip install 'sgl-embed-kit[server]'",
        ),
        "python",
    ),
    check("driver", Finding(Status.INFO, "two drivers: the newer one is used"), "gpu"),
    Check(
        about("memory", "gpu", ISSUE),
        _look(
            Finding(
                Status.ERROR,
                "NVIDIA A10: 3.2 of 22.5 GiB free, the rest held by python (pid 4711) and by "
                "nobody who can be seen: another container, or a process that is ending",
                "8.9 GiB: 0.6 driver and graphs + 1.1 weights + 7.2 KV pool (65536 tokens x 112 "
                "KiB)",
                "limits: {max_total_tokens: 8192}  # in the profile",
            )
        ),
    ),
    check(
        "port",
        Finding(
            Status.ERROR,
            "127.0.0.1:30000 cannot be used: nginx \x1b[31m(pid 7) listens there",
            "a port that the server can listen on",
            "hardware: {gpus: 1}  # in the profile\nparallel: {data: 1}  # in the profile",
        ),
        "network",
    ),
)
"""A machine full of faults."""

MIXED = (
    check("python", Finding(Status.OK, "Python 3.12.1 on linux x86_64"), "python"),
    check("sglang"),
    check("driver", Finding(Status.SKIP, "no NVIDIA driver answers here"), "gpu"),
    check("memory", Finding(Status.SKIP, "no NVIDIA driver answers here"), "gpu"),
    check(
        "port",
        Finding(
            Status.ERROR,
            "127.0.0.1:30000 cannot be used: nginx (pid 7) listens there",
            "a port that the server can listen on",
            "server: {port: 30001}  # in the profile",
        ),
        "network",
    ),
    check("keys", Finding(Status.OK, "the profile asks for no key"), "network"),
)
"""A machine with a port that is busy on purpose, no GPU, and a check with a bug."""

IGNORED = {"SGE-PORT-001": "nginx hands the port over when the server starts"}


def report_of(checks: tuple[Check[Subject], ...]) -> Report:
    """Run the checks; return the report with durations that are always the same."""
    report = run_checks(subject(), checks, IGNORED if checks is MIXED else {})
    timed = (replace(result, duration_ms=1.25 * n) for n, result in enumerate(report.results))
    return Report(tuple(timed), seconds=0.042)
