"""The engine and its reports."""

import json
import threading
from pathlib import Path

import pytest

from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.engine import Check, Finding, Report, Result, Status
from sgl_embed_kit.doctor.report import COLUMNS, as_json, as_text
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.profile import load_profile
from tests.machines import FakeMachine


def subject() -> Subject:
    return Subject(load_profile("tiny-cpu"), locate("tiny:"), None, FakeMachine())


def check(name: str, finding: Finding | None = None) -> Check:
    def look(_subject: Subject) -> Finding:
        if finding is None:
            raise ZeroDivisionError("x / 0")
        return finding

    return Check(f"SGE-{name}-001", name, "test", name.title(), look)


def test_a_check_that_crashes_is_a_result_and_hides_no_other() -> None:
    report = run_checks(subject(), [check("bad"), check("good", Finding(Status.OK, "fine"))])
    statuses = [result.finding.status for result in report.results]
    assert statuses == [Status.CRASH, Status.OK]
    assert "ZeroDivisionError: x / 0" in report.results[0].finding.found
    assert [result.check.name for result in report.failures] == ["bad"]


def test_checks_run_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=10)

    def look(_subject: Subject) -> Finding:
        meeting.wait()  # breaks, and so crashes, unless all three are here at once
        return Finding(Status.OK, "met")

    report = run_checks(subject(), [Check(f"{n}", f"{n}", "t", "T", look) for n in range(3)])
    assert report.is_clean


@pytest.mark.parametrize(
    ("status", "fails", "clean"),
    [
        (Status.OK, False, True),
        (Status.INFO, False, False),
        (Status.WARN, False, False),
        (Status.SKIP, False, False),
        (Status.ERROR, True, False),
        (Status.CRASH, True, False),
    ],
)
def test_only_errors_and_crashes_stop_a_start(status: Status, fails: bool, clean: bool) -> None:
    report = Report((Result(check("x"), Finding(status, "x"), 1.0),))
    assert (bool(report.failures), report.is_clean) == (fails, clean)
    assert len(report.without_ok().results) == (0 if status is Status.OK else 1)


def test_the_text_shows_what_was_found_and_what_cures_it_in_80_columns() -> None:
    long = "word " * 40
    bad = Finding(Status.ERROR, long, needed=long, fix="one command")
    text = as_text(run_checks(subject(), [check("disk", bad)]))
    assert text.startswith("  error   Disk    word word")
    assert "needed: word" in text
    assert text.splitlines()[-1].strip() == "cure: one command"
    assert max(len(line) for line in text.splitlines()) <= COLUMNS


def test_a_check_that_is_ok_takes_no_more_than_its_finding() -> None:
    fine = Finding(Status.OK, "fine", needed="not shown", fix="not shown")
    assert as_text(run_checks(subject(), [check("disk", fine)])) == "  ok      Disk    fine"


def test_json_carries_schema_versions_summary_and_every_field(tmp_path: Path) -> None:
    del tmp_path
    found = Finding(Status.WARN, "found", "needed", "fix")
    data = json.loads(json.dumps(as_json(run_checks(subject(), [check("x", found)]), subject())))
    assert data["schema"] == "sgl-embed.doctor/1"
    assert data["versions"]["sglang"] is None
    assert data["summary"]["warn"] == 1
    assert data["summary"]["ok"] == 0
    (result,) = data["results"]
    assert result.pop("duration_ms") >= 0
    assert result == {
        "id": "SGE-x-001",
        "name": "x",
        "category": "test",
        "status": "warn",
        "title": "X",
        "found": "found",
        "needed": "needed",
        "fix": "fix",
        "docs": None,
        "known_issue": None,
    }
