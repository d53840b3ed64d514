"""The reports, word for word: a machine that is healthy, one with faults, and a mixed one.

After a change of words: SGL_EMBED_GOLDEN=write pytest tests/doctor/test_report.py.
"""

import json
import platform
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest

from sgl_embed_kit import __version__
from sgl_embed_kit.doctor.catalogue import KnownIssue
from sgl_embed_kit.doctor.engine import Check, Finding, Report, Result, Status
from sgl_embed_kit.doctor.report import COLUMNS, Detail, ReportJson, as_json, as_junit, as_text
from tests.doctor.made_up import FAULTY, HEALTHY, MIXED, about, check, report_of, subject
from tests.golden import assert_golden

FOLDER = Path(__file__).parent / "golden"
WORLDS = {"healthy": HEALTHY, "faulty": FAULTY, "mixed": MIXED}
worlds = pytest.mark.parametrize("world", WORLDS)


def golden(name: str, said: str) -> None:
    """Compare without what changes: versions, and lines of the tests."""
    said = said.replace(__version__, "1.2.3").replace(platform.python_version(), "3.12.1")
    said = re.sub(r"\.py:\d+", ".py:1", said)
    assert_golden(FOLDER / name, f"{said}\n")


@worlds
@pytest.mark.parametrize("detail", Detail)
def test_the_text_is_word_for_word(world: str, detail: Detail) -> None:
    golden(f"{world}-{detail}.txt", as_text(report_of(WORLDS[world]), detail))


@worlds
def test_the_json_is_word_for_word_and_of_its_schema(world: str) -> None:
    said = as_json(report_of(WORLDS[world]), subject(), world)
    ReportJson.model_validate_json(said)
    golden(f"{world}.json", said)


@worlds
def test_the_junit_is_word_for_word(world: str) -> None:
    golden(f"{world}.xml", as_junit(report_of(WORLDS[world]), Status.ERROR))


def test_no_golden_file_is_left_over() -> None:
    forms = [*(f"-{detail}.txt" for detail in Detail), ".json", ".xml"]
    expected = {f"{world}{form}" for world in WORLDS for form in forms}
    assert {path.name for path in FOLDER.iterdir()} == expected


@worlds
@pytest.mark.parametrize("detail", Detail)
def test_lines_are_of_80_columns_and_hold_nothing_that_a_terminal_obeys(
    world: str, detail: Detail
) -> None:
    for line in as_text(report_of(WORLDS[world]), detail).splitlines():
        assert len(line) <= COLUMNS or line.split()[0] == "report"  # which is to be pasted
        assert line.isprintable()


@worlds
def test_colours_change_no_letter(world: str) -> None:
    report = report_of(WORLDS[world])
    coloured = as_text(report, colour=True)
    assert click.unstyle(coloured) == as_text(report)
    assert coloured != as_text(report)


@worlds
@pytest.mark.parametrize("detail", Detail)
def test_the_id_of_all_that_is_to_be_looked_at_is_shown(world: str, detail: Detail) -> None:
    report = report_of(WORLDS[world])
    shown = as_text(report, detail)
    for result in report.results:
        if result.finding.status not in {Status.OK, Status.SKIP}:
            assert result.check.id in shown


def test_a_reason_is_wrapped_and_an_address_upstream_is_not() -> None:
    issue = KnownIssue(f"https://github.com/{'x' * 60}", ">=0.5.10,<0.5.12")
    one = Check(about("disk", issue=issue), check("disk").look)
    result = Result(one, Finding(Status.WARN, "x", "y", "z"), 1.0, ignored="because " * 20)
    lines = as_text(Report((result,))).splitlines()
    assert max(len(line) for line in lines if "github" not in line) <= COLUMNS
    assert sum(line.count("because") for line in lines) == 20
    (shown,) = (line for line in lines if "github" in line)
    assert shown.split(maxsplit=1) == ["issue", f"{issue.url} ({issue.versions})"]


@pytest.mark.parametrize("detail", Detail)
def test_a_long_finding_and_its_need_are_wrapped_and_its_cure_is_not(detail: Detail) -> None:
    words, cure = "word " * 60, "command " * 20
    bad = Finding(Status.ERROR, words, needed=words, fix=cure)
    lines = as_text(Report((Result(check("disk", bad), bad, 1.0),)), detail).splitlines()
    told = [line for line in lines if "command" not in line]
    assert max(map(len, told)) <= COLUMNS
    assert sum(line.count("word") for line in told) == 120
    assert [line.split("cure")[1].strip() for line in lines if "command" in line] == [cure.strip()]


@pytest.mark.parametrize(
    ("length", "lines"), [(47, 1), (49, 2), (47 + 1 + 61, 2), (47 + 1 + 61 + 2, 3)]
)
def test_the_first_line_leaves_room_for_the_id(length: int, lines: int) -> None:
    found = ("x" * 47 + " " + "y" * 61 + " z")[:length].ljust(length, "y")
    finding = Finding(Status.SKIP, found)
    report = Report((Result(check("disk", finding), finding, 1.0),))
    shown = as_text(report).splitlines()[1:-2]
    assert len(shown) == lines
    assert shown[0].endswith("  SGE-DISK-001")


def test_fifty_checks_that_are_ok_take_a_line_each_and_in_short_a_line_a_category() -> None:
    fine = [Finding(Status.OK, f"fine {n}") for n in range(50)]
    checks = [check(f"a{n}", fine[n], f"group{n % 5}") for n in range(50)]
    report = Report(tuple(Result(c, fine[n], 1.0) for n, c in enumerate(checks)), 0.5)
    # A heading and an empty line for each category; the summary.
    assert len(as_text(report).splitlines()) == 50 + 5 * 2 + 1
    short = as_text(report, Detail.COMPACT).splitlines()
    assert len(short) == 5 + 1
    assert short[0] == "  ok     Group0    A0, A5, A10, A15, A20, A25, A30, A35, A40, A45"
    assert as_text(report, Detail.BRIEF) == "50 checks in 0.50 s: 50 ok"


def test_what_is_well_or_skipped_for_one_reason_in_a_category_is_told_once() -> None:
    reasons = {"a": "no driver", "b": "no driver", "c": "no GPU", "d": "no driver"}
    found = [(name, Finding(Status.SKIP, why), "gpu") for name, why in reasons.items()]
    found += [("e", Finding(Status.OK, "no driver"), "gpu"), ("f", found[0][1], "host")]
    results = [Result(check(name, finding, group), finding, 1.0) for name, finding, group in found]
    titles = re.findall(
        r"^  \w+ +(\w+)|^ +also +(.*)", as_text(Report(tuple(results))), re.MULTILINE
    )
    assert titles == [("A", ""), ("", "B, D"), ("C", ""), ("E", ""), ("F", "")]


def test_more_titles_than_a_line_holds_are_cut() -> None:
    fine = Finding(Status.OK, "fine")
    results = tuple(Result(check(f"title{n}", fine), fine, 1.0) for n in range(10))
    line = as_text(Report(results), Detail.COMPACT).splitlines()[0]
    assert line.endswith(" ...")
    assert len(line) <= COLUMNS


@pytest.mark.parametrize(
    ("statuses", "named"),
    [
        ([Status.OK, Status.INFO, Status.SKIP, Status.CRASH], None),
        ([Status.OK, Status.WARN], "SGE-C1-001"),
        ([Status.WARN, Status.ERROR, Status.ERROR], "SGE-C1-001"),
    ],
)
def test_the_last_line_names_the_worst(statuses: list[Status], named: str | None) -> None:
    findings = [Finding(status, "x") for status in statuses]
    results = [Result(check(f"c{n}", f), f, 1.0) for n, f in enumerate(findings)]
    last = as_text(Report(tuple(results))).splitlines()[-1]
    assert last.endswith(f"explain {named}" if named else "1 crash")


def test_a_check_that_crashed_brings_a_line_to_report_it() -> None:
    report = report_of((check("bad"),))
    (line,) = (line for line in as_text(report).splitlines() if line.lstrip().startswith("report "))
    assert (
        f"sgl-embed {__version__}, Python {platform.python_version()}, SGLang 0.5.23: SGE-BAD-001"
        in line
    )
    assert "(made_up.py:" in line
    assert line.endswith("ZeroDivisionError: x / 0")


def test_json_carries_schema_versions_summary_and_every_field() -> None:
    finding = Finding(Status.WARN, "found", "needed", "fix")
    report = Report((Result(check("x", finding), finding, 1.23456),), 0.5)
    data = json.loads(as_json(report, subject(installed=False), "mine"))
    assert data["schema"] == "sgl-embed.doctor/1"
    assert data["profile"] == "mine"
    assert data["duration_ms"] == 500
    assert data["versions"] == {
        "sgl_embed_kit": __version__,
        "python": platform.python_version(),
        "sglang": None,
    }
    assert data["summary"] == {s: int(s is Status.WARN) for s in Status}
    assert data["results"] == [
        {
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
            "duration_ms": 1.23,
        }
    ]


@pytest.mark.parametrize(("fail_on", "failures"), [(Status.ERROR, "1"), (Status.WARN, "2")])
def test_junit_counts_and_shows_each_kind_of_result(fail_on: Status, failures: str) -> None:
    findings = [
        Finding(status, f"found {status} \x00", "needed", "fix <cure>") for status in Status
    ]
    results = tuple(Result(check(f.status.value), f, 1500.0) for f in findings)
    suite = ET.fromstring(as_junit(Report(results, 2.5), fail_on))
    assert suite.attrib == {
        "name": "sgl-embed doctor",
        "tests": "6",
        "failures": failures,
        "errors": "1",
        "skipped": "1",
        "time": "2.500",
    }
    kinds = {case.get("name"): [child.tag for child in case] for case in suite}
    assert kinds == {
        "SGE-OK-001 Ok": ["system-out"],
        "SGE-INFO-001 Info": ["system-out"],
        "SGE-WARN-001 Warn": ["failure" if fail_on is Status.WARN else "system-out"],
        "SGE-ERROR-001 Error": ["failure"],
        "SGE-SKIP-001 Skip": ["skipped"],
        "SGE-CRASH-001 Crash": ["error"],
    }
    assert "cure: fix <cure>" in (suite.find(".//failure").text or "")  # type: ignore[union-attr]
    assert suite[0].get("time") == "1.500"


def test_every_control_character_is_kept_out() -> None:
    noise = "".join(map(chr, range(32))) + "\x7f\ufffe\ud800"
    finding = Finding(Status.ERROR, noise, noise, noise)
    report = Report((Result(check("x", finding), finding, 1.0),))
    suite = ET.fromstring(as_junit(report, Status.ERROR))
    (result,) = json.loads(as_json(report, subject(), "x"))["results"]
    assert suite[0][0].get("message", "").split() == result["found"].split()
    assert result["found"].replace("\n", "").replace("\t", "").isprintable()
