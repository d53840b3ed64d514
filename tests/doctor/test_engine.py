"""The engine: side by side, in time, and whatever a check does."""

import threading

import pytest

from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.engine import Check, Finding, Report, Result, Status
from tests.doctor.made_up import about, check, subject


def test_a_check_that_crashes_is_a_result_and_hides_no_other() -> None:
    report = run_checks(subject(), [check("bad"), check("good", Finding(Status.OK, "fine"))])
    statuses = [result.finding.status for result in report.results]
    assert statuses == [Status.CRASH, Status.OK]
    assert "ZeroDivisionError: x / 0" in report.results[0].finding.found
    assert [result.check.about.name for result in report.failures] == ["bad"]


@pytest.mark.parametrize(("installed", "told"), [(True, "SGLang 0.5.23"), (False, "not installed")])
def test_a_check_that_crashes_brings_a_line_to_report_it(installed: bool, told: str) -> None:
    (result,) = run_checks(subject(installed), [check("bad")]).results
    assert f"{told}: SGE-BAD-001 crashed in look (made_up.py:" in result.finding.fix
    assert result.finding.fix.endswith("ZeroDivisionError: x / 0")


def test_checks_run_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=10)

    def look(_subject: Subject) -> Finding:
        meeting.wait()  # breaks, and so crashes, unless all three are here at once
        return Finding(Status.OK, "met")

    report = run_checks(subject(), [Check(about(f"{n}"), look) for n in range(3)])
    assert report.count(Status.OK) == 3
    assert report.seconds > 0


@pytest.mark.parametrize(
    ("status", "fails", "silent"),
    [
        (Status.OK, False, True),
        (Status.INFO, False, False),
        (Status.WARN, False, False),
        (Status.SKIP, False, True),
        (Status.ERROR, True, False),
        (Status.CRASH, True, False),
    ],
)
def test_only_errors_and_crashes_stop_a_start(status: Status, fails: bool, silent: bool) -> None:
    report = Report((Result(check("x"), Finding(status, "x"), 1.0),))
    assert (bool(report.failures), report.is_silent) == (fails, silent)


def test_a_check_that_hangs_holds_up_nobody() -> None:
    forever = threading.Event()

    def look(_subject: Subject) -> Finding:
        return Finding(Status.OK, str(forever.wait()))

    hangs = Check(about("slow"), look, 0.1)
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
        (Status.CRASH, Status.INFO),
    ],
)
def test_an_ignored_check_fails_nothing_and_says_why(status: Status, left: Status) -> None:
    bad = check("x") if status is Status.CRASH else check("x", Finding(status, "found"))
    report = run_checks(subject(), [bad], {"SGE-X-001": "we know"})
    (result,) = report.results
    assert result.finding.status is left
    assert result.ignored == ("we know" if left is Status.INFO else "")
    assert not report.failures


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


@pytest.mark.parametrize(
    ("fix", "shown"),
    [
        ("df -h /home/alice/models", "df -h ~/models"),
        ("export HF_HOME=/home/alice/hub", "export HF_HOME=~/hub"),
        ("sgl-embed plan --config=/home/alice/x", "sgl-embed plan --config=/home/alice/x"),
        ("ls '/home/alice/my models'", "ls '/home/alice/my models'"),
        ("model: {path: /home/alice/m}  # in the profile", ""),
    ],
)
def test_what_is_told_names_no_home_folder_where_a_tilde_will_do(
    fix: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    finding = Finding(Status.ERROR, "/home/alice/m is not /home/alicent/m", "/home/alice/n", fix)
    (result,) = run_checks(subject(), [check("x", finding)]).results
    assert result.finding.found == "~/m is not /home/alicent/m"
    assert result.finding.needed == "~/n"
    assert result.finding.fix == (shown or fix)


@pytest.mark.parametrize("home", ["/", "", "tmp"])
def test_a_home_that_is_the_root_or_no_path_stays_in_every_path(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    (result,) = run_checks(subject(), [check("x", Finding(Status.OK, "/tmp/m"))]).results
    assert result.finding.found == "/tmp/m"
