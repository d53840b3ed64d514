"""The engine and its reports."""

import json
import threading
from xml.etree import ElementTree as ET

import pytest

from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.catalogue import About
from sgl_embed_kit.doctor.engine import Check, Finding, Report, Result, Status
from sgl_embed_kit.doctor.report import COLUMNS, as_json, as_junit, as_text
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

    return Check(about(name), look)


def about(name: str) -> About:
    return About(
        id=f"SGE-{name.upper()}-001",
        name=name,
        category="test",
        title=name.title(),
        severity="error",
        reads=(),
        means="",
        why="",
        cure="",
    )


def test_a_check_that_crashes_is_a_result_and_hides_no_other() -> None:
    report = run_checks(subject(), [check("bad"), check("good", Finding(Status.OK, "fine"))])
    statuses = [result.finding.status for result in report.results]
    assert statuses == [Status.CRASH, Status.OK]
    assert "ZeroDivisionError: x / 0" in report.results[0].finding.found
    assert [result.check.about.name for result in report.failures] == ["bad"]


def test_checks_run_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=10)

    def look(_subject: Subject) -> Finding:
        meeting.wait()  # breaks, and so crashes, unless all three are here at once
        return Finding(Status.OK, "met")

    report = run_checks(subject(), [Check(about(f"{n}"), look) for n in range(3)])
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


def test_json_carries_schema_versions_summary_and_every_field() -> None:
    found = Finding(Status.WARN, "found", "needed", "fix")
    data = json.loads(as_json(run_checks(subject(), [check("x", found)]), subject()))
    assert data["schema"] == "sgl-embed.doctor/1"
    assert data["versions"]["sglang"] is None
    assert data["summary"]["warn"] == 1
    assert data["summary"]["ok"] == 0
    (result,) = data["results"]
    assert result.pop("duration_ms") >= 0
    assert result == {
        "id": "SGE-X-001",
        "name": "x",
        "category": "test",
        "status": "warn",
        "title": "X",
        "found": "found",
        "needed": "needed",
        "fix": "fix",
        "docs": "docs/checks.md#sge-x-001",
        "known_issue": None,
        "ignored": "",
    }


def test_a_check_that_hangs_holds_up_nobody() -> None:
    forever = threading.Event()
    hangs = Check(about("slow"), lambda _subject: Finding(Status.OK, str(forever.wait())), 0.1)
    report = run_checks(subject(), [hangs, check("good", Finding(Status.OK, "fine"))])
    slow, good = report.results
    assert (slow.finding.status, slow.finding.found) == (Status.SKIP, "gave up after 0.1 s")
    assert good.finding.status is Status.OK
    forever.set()


@pytest.mark.parametrize(
    ("status", "left"),
    [
        (Status.ERROR, Status.INFO),
        (Status.WARN, Status.INFO),
        (Status.OK, Status.OK),
        (Status.SKIP, Status.SKIP),
        (Status.CRASH, Status.CRASH),
    ],
)
def test_an_ignored_check_fails_nothing_and_says_why(status: Status, left: Status) -> None:
    bad = check("x") if status is Status.CRASH else check("x", Finding(status, "found"))
    report = run_checks(subject(), [bad], {"SGE-X-001": "we know"})
    (result,) = report.results
    assert result.finding.status is left
    assert ("ignored: we know" in as_text(report)) is (left is Status.INFO)


@pytest.mark.parametrize(
    ("status", "on_error", "on_warn"),
    [(Status.WARN, 0, 1), (Status.ERROR, 1, 1), (Status.CRASH, 1, 1), (Status.INFO, 0, 0)],
)
def test_a_warning_fails_only_where_that_was_asked_for(
    status: Status, on_error: int, on_warn: int
) -> None:
    report = Report((Result(check("x"), Finding(status, "x"), 1.0),))
    assert len(report.failing(Status.ERROR)) == on_error
    assert len(report.failing(Status.WARN)) == on_warn


def test_junit_counts_and_shows_each_kind_of_result() -> None:
    findings = [
        Finding(status, f"found {status} \x00", "needed", "fix <cure>") for status in Status
    ]
    results = tuple(Result(check(f.status.value), f, 1500.0) for f in findings)
    suite = ET.fromstring(as_junit(Report(results), Status.WARN))
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }
    kinds = {case.get("name"): [child.tag for child in case] for case in suite}
    assert kinds == {
        "SGE-OK-001 Ok": ["system-out"],
        "SGE-INFO-001 Info": ["system-out"],
        "SGE-WARN-001 Warn": ["failure"],
        "SGE-ERROR-001 Error": ["failure"],
        "SGE-SKIP-001 Skip": ["skipped"],
        "SGE-CRASH-001 Crash": ["error"],
    }
    assert "cure: fix <cure>" in (suite.find(".//failure").text or "")  # type: ignore[union-attr]
    assert suite[0].get("time") == "1.500"
