"""Show a report: as text for people, as JSON for programs, as JUnit's XML for CI systems."""

from __future__ import annotations

import platform
import textwrap
from typing import Literal
from xml.etree import ElementTree as ET

import click
from pydantic import BaseModel, Field

from sgl_embed_kit import __version__
from sgl_embed_kit.doctor.engine import Report, Result, Status
from sgl_embed_kit.doctor.subject import Subject

COLUMNS = 80
_COLOURS = {
    Status.OK: "green",
    Status.INFO: "cyan",
    Status.WARN: "yellow",
    Status.ERROR: "red",
    Status.SKIP: None,
    Status.CRASH: "magenta",
}


class VersionsJson(BaseModel):
    """What ran; null where it is not installed."""

    sgl_embed_kit: str
    python: str
    sglang: str | None


class IssueJson(BaseModel):
    """A report upstream, and the releases of SGLang that it is about."""

    url: str
    versions: str


class ResultJson(BaseModel):
    """What came of a check."""

    id: str = Field(pattern=r"^SGE-[A-Z]+-\d{3}$")
    name: str
    category: str
    status: Status
    title: str
    found: str
    needed: str
    fix: str
    docs: str
    known_issue: IssueJson | None
    ignored: str = Field(description="Why its error or warning does not count; else empty.")
    duration_ms: float = Field(ge=0)


class ReportJson(BaseModel):
    """What `sgl-embed doctor --format json` prints."""

    schema_name: Literal["sgl-embed.doctor/1"] = Field(alias="schema")
    versions: VersionsJson
    profile: str
    summary: dict[Status, int]
    results: list[ResultJson]


def as_text(report: Report, *, colour: bool = False) -> str:
    """Return the report as lines of at most 80 columns, cures excepted."""
    return "\n".join(line for result in report.results for line in _lines(result, colour))


def as_json(report: Report, subject: Subject) -> str:
    """Return the report as the object that `--format json` prints (report.schema.json)."""
    return ReportJson(
        schema="sgl-embed.doctor/1",
        versions=VersionsJson(
            sgl_embed_kit=__version__,
            python=platform.python_version(),
            sglang=subject.installed.version if subject.installed else None,
        ),
        profile=subject.mask(subject.profile.model.name),
        summary={status: report.count(status) for status in Status},
        results=[_result_json(result) for result in report.results],
    ).model_dump_json(by_alias=True, indent=2)


def as_junit(report: Report, fail_on: Status) -> str:
    """Return the report as JUnit's XML, where each check is a test."""
    failing = report.failing(fail_on)
    suite = ET.Element(
        "testsuite",
        name="sgl-embed doctor",
        tests=str(len(report.results)),
        failures=str(len(failing) - report.count(Status.CRASH)),
        errors=str(report.count(Status.CRASH)),
        skipped=str(report.count(Status.SKIP)),
    )
    for result in report.results:
        about, finding = result.check.about, result.finding
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"sgl-embed.{about.category}",
            name=f"{about.id} {about.title}",
            time=f"{result.duration_ms / 1000:.3f}",
        )
        kind = "error" if finding.status is Status.CRASH else "failure"
        if finding.status is Status.SKIP:
            ET.SubElement(case, "skipped", message=_printable(finding.found))
        elif result in failing:
            told = ET.SubElement(case, kind, message=_printable(finding.found))
            told.text = _printable(f"needed: {finding.needed}\ncure: {finding.fix}")
        else:
            ET.SubElement(case, "system-out").text = _printable(finding.found)
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _result_json(result: Result) -> ResultJson:
    about, finding = result.check.about, result.finding
    issue = about.known_issue
    return ResultJson(
        id=about.id,
        name=about.name,
        category=about.category,
        status=finding.status,
        title=about.title,
        found=finding.found,
        needed=finding.needed,
        fix=finding.fix,
        docs=about.anchor,
        known_issue=IssueJson(url=issue.url, versions=issue.versions) if issue else None,
        ignored=result.ignored,
        duration_ms=round(result.duration_ms, 2),
    )


def _lines(result: Result, colour: bool) -> list[str]:
    finding, indent = result.finding, " " * 18
    status = f"{finding.status.value:<6}"
    if colour:
        status = click.style(status, fg=_COLOURS[finding.status])
    found = textwrap.wrap(finding.found, COLUMNS - len(indent)) or [""]
    lines = [f"  {status}  {result.check.about.title:<8}{found[0]}"]
    lines += [f"{indent}{line}" for line in found[1:]]
    told = [f"ignored: {result.ignored}"] if result.ignored else []
    if finding.status not in {Status.OK, Status.INFO} and finding.needed:
        told.append(f"needed: {finding.needed}")
    for text in told:
        lines += [f"{indent}{line}" for line in textwrap.wrap(text, COLUMNS - len(indent))]
    if finding.status not in {Status.OK, Status.INFO} and finding.fix:
        lines.append(f"{indent}cure: {finding.fix}")
    return lines


def _printable(text: str) -> str:
    """Return a text without the control characters that XML cannot hold."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)
