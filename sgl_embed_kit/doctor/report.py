"""Show a report: as text for people, as JSON for programs, as JUnit's XML for CI systems."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Literal
from xml.etree import ElementTree as ET

import click
from pydantic import BaseModel, Field

from sgl_embed_kit import __version__
from sgl_embed_kit.doctor.catalogue import About
from sgl_embed_kit.doctor.engine import Finding, Looked, Report, Result, Status

COLUMNS = 80
_LABEL = 10
_INDENT = " " * 9
_WIDTH = COLUMNS - len(_INDENT) - _LABEL
_COLOURS = {
    Status.OK: "green",
    Status.INFO: "cyan",
    Status.WARN: "yellow",
    Status.ERROR: "red",
    Status.SKIP: None,
    Status.CRASH: "magenta",
}
_QUIET = frozenset({Status.OK, Status.SKIP})
"""What nobody needs to look at."""
_ACRONYMS = frozenset({"gpu"})


class Detail(StrEnum):
    """How much of a report its text shows; what fails is always shown in full.

    ALL: each result, by category. COMPACT: what is ok or skipped in a line a category.
    BRIEF: nothing of what is ok or skipped, and a line each of what does not fail.
    """

    ALL = "all"
    COMPACT = "compact"
    BRIEF = "brief"


class VersionsJson(BaseModel):
    """What ran; null where it is not installed, or a server does not say."""

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
    profile: str | None = Field(description="Its name; null without one.")
    url: str | None = Field(description="The server that was asked; null for a machine.")
    summary: dict[Status, int]
    duration_ms: float = Field(ge=0, description="Of all checks, which run side by side.")
    results: list[ResultJson]


def as_text(report: Report, detail: Detail = Detail.ALL, *, colour: bool = False) -> str:
    """Return the report as lines of at most 80 columns, what is to be pasted excepted."""
    text = _Text(colour)
    parts = []
    for category, results in _by_category(report.results).items():
        loud = [result for result in results if result.finding.status not in _QUIET]
        if detail is Detail.ALL:
            lines = [text.heading(category), *text.results(results)]
        elif detail is Detail.COMPACT:
            lines = [*text.quiet(category, results), *text.results(loud)]
        else:
            lines = list(text.brief(loud))
        parts += ["\n".join(lines)] if lines else []
    between = "\n\n" if detail is Detail.ALL else "\n"
    return between.join([*parts, _summary(report)])


def as_json(report: Report, subject: Looked, profile: str | None) -> str:
    """Return the report as the object that `--format json` prints (report.schema.json).

    Args:
        report: What to show.
        subject: What the checks looked at.
        profile: The profile's name; None where there is none.
    """
    return ReportJson(
        schema="sgl-embed.doctor/1",
        versions=VersionsJson(
            sgl_embed_kit=__version__,
            python=platform.python_version(),
            sglang=subject.release,
        ),
        profile=None if profile is None else subject.mask(profile),
        url=subject.url,
        summary={status: report.count(status) for status in Status},
        duration_ms=_milliseconds(report.seconds * 1000),
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
        time=f"{report.seconds:.3f}",
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
        found=_printable(finding.found),
        needed=_printable(finding.needed),
        fix=_printable(finding.fix),
        docs=about.anchor,
        known_issue=IssueJson(url=issue.url, versions=issue.versions) if issue else None,
        ignored=_printable(result.ignored),
        duration_ms=_milliseconds(result.duration_ms),
    )


def _milliseconds(exact: float) -> float:
    return round(exact, 2)


def _by_category(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the results by category; categories in the order in which they first come."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.check.about.category, []).append(result)
    return found


def _told_together(results: Sequence[Result]) -> list[list[Result]]:
    """Return each result on its own, but those that are well, or skipped, for one reason."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        status, text = result.finding.status, result.finding.found
        reason = text if status in _QUIET else result.check.id
        found.setdefault((status, reason), []).append(result)
    return list(found.values())


def _titles(results: Sequence[Result]) -> str:
    return ", ".join(result.check.about.title for result in results)


def _named(category: str) -> str:
    return category.upper() if category in _ACRONYMS else category.capitalize()


def _summary(report: Report) -> str:
    """Return how many came out how, the time taken, and where to read more of the worst."""
    counts = ", ".join(f"{n} {status}" for status in Status if (n := report.count(status)))
    many = f"{len(report.results)} check{'' if len(report.results) == 1 else 's'}"
    lines = [f"{many} in {report.seconds:.2f} s: {counts}"]
    for status in (Status.ERROR, Status.WARN):
        ids = [r.check.id for r in report.results if r.finding.status is status]
        if ids:
            lines.append(f"What that means, and how to cure it: sgl-embed explain {ids[0]}")
            break
    return "\n".join(lines)


class _Text:
    """Lines of the text: status, title, what was found, and the id of what is not ok."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def heading(self, category: str) -> str:
        """Return the line above the results of a category."""
        return self._styled(_named(category), bold=True)

    def results(self, results: Sequence[Result]) -> Iterator[str]:
        """Yield the lines of each result; what is skipped for one reason is told once."""
        for result, *alike in _told_together(results):
            about, finding = result.check.about, result.finding
            key = "" if finding.status is Status.OK else about.id
            yield from self._entry(finding.status, about.title, finding.found, key)
            if alike:
                yield from _labelled("also", _titles(alike), paste=False)
            for label, text, paste in _told(about, finding, result.ignored):
                yield from _labelled(label, text, paste=paste)

    def brief(self, results: Sequence[Result]) -> Iterator[str]:
        """Yield what fails in full, and a line for each other result."""
        for result in results:
            about, finding = result.check.about, result.finding
            if finding.status in {Status.ERROR, Status.CRASH}:
                yield from self.results([result])
            else:
                room = _WIDTH - len(about.id) - 2
                shown = textwrap.shorten(_printable(finding.found), room, placeholder=" ...")
                yield from self._entry(finding.status, about.title, shown, about.id)

    def quiet(self, category: str, results: Sequence[Result]) -> Iterator[str]:
        """Yield a line for what is ok, and one for what was skipped, of a category."""
        for status in Status:
            alike = [result for result in results if result.finding.status is status]
            if alike and status in _QUIET:
                shown = textwrap.shorten(_titles(alike), _WIDTH, placeholder=" ...")
                yield from self._entry(status, _named(category), shown)

    def _entry(self, status: Status, label: str, text: str, key: str = "") -> Iterator[str]:
        """Yield the first lines of a result, its id at the right edge."""
        room = " " * (len(key) + 2 if key else 0)
        first, *more = textwrap.wrap(
            _printable(text), _WIDTH, initial_indent=room, break_on_hyphens=False
        ) or [room]
        first = first[len(room) :]
        shown = self._styled(f"{status.value:<7}", fg=_COLOURS[status])
        if key:
            first = f"{first:<{_WIDTH - len(key)}}{self._styled(key, dim=True)}"
        yield f"  {shown}{label:<{_LABEL}}{first}".rstrip()
        yield from (f"{_INDENT}{'':<{_LABEL}}{line}" for line in more)

    def _styled(self, text: str, **style: str | bool | None) -> str:
        return click.style(text, **style) if self._colour else text  # type: ignore[arg-type]


def _told(about: About, finding: Finding, ignored: str) -> Iterator[tuple[str, str, bool]]:
    """Yield what stands below a finding: label, text, and whether the text is to be pasted."""
    if ignored:
        yield "ignored", ignored, False
    if finding.status is Status.CRASH:
        yield "report", finding.fix, True
    if finding.status in {Status.WARN, Status.ERROR}:
        yield "needed", finding.needed, False
        yield "cure", finding.fix, True
        if about.known_issue is not None:
            yield "issue", f"{about.known_issue.url} ({about.known_issue.versions})", True


def _labelled(label: str, text: str, *, paste: bool) -> Iterator[str]:
    """Yield a labelled text, in as many lines as it takes unless it is to be pasted."""
    shown = _printable(text)
    lines = shown.splitlines() if paste else textwrap.wrap(shown, _WIDTH, break_on_hyphens=False)
    for number, line in enumerate(lines):
        yield f"{_INDENT}{'' if number else label:<{_LABEL}}{line}"


def _printable(text: str) -> str:
    """Return a text without what XML cannot hold, UTF-8 cannot say or a terminal obeys."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)
