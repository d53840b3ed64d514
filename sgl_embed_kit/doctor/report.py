"""Show a report: as text for people, as JSON for programs."""

from __future__ import annotations

import platform
import textwrap
from typing import Any

import click

from sgl_embed_kit import __version__
from sgl_embed_kit.doctor.engine import Report, Result, Status
from sgl_embed_kit.doctor.subject import Subject

SCHEMA = "sgl-embed.doctor/1"
COLUMNS = 80
_COLOURS = {
    Status.OK: "green",
    Status.INFO: "cyan",
    Status.WARN: "yellow",
    Status.ERROR: "red",
    Status.SKIP: None,
    Status.CRASH: "magenta",
}


def as_text(report: Report, *, colour: bool = False) -> str:
    """Return the report as lines of at most 80 columns, cures excepted."""
    return "\n".join(line for result in report.results for line in _lines(result, colour))


def as_json(report: Report, subject: Subject) -> dict[str, Any]:
    """Return the report as the object that `--format json` prints."""
    return {
        "schema": SCHEMA,
        "versions": {
            "sgl_embed_kit": __version__,
            "python": platform.python_version(),
            "sglang": subject.installed.version if subject.installed else None,
        },
        "profile": subject.mask(subject.profile.model.name),
        "summary": {status.value: report.count(status) for status in Status},
        "results": [
            {
                "id": result.check.id,
                "name": result.check.name,
                "category": result.check.category,
                "status": result.finding.status.value,
                "title": result.check.title,
                "found": result.finding.found,
                "needed": result.finding.needed,
                "fix": result.finding.fix,
                "docs": None,
                "known_issue": None,
                "duration_ms": round(result.duration_ms, 2),
            }
            for result in report.results
        ],
    }


def _lines(result: Result, colour: bool) -> list[str]:
    finding, indent = result.finding, " " * 18
    status = f"{finding.status.value:<6}"
    if colour:
        status = click.style(status, fg=_COLOURS[finding.status])
    found = textwrap.wrap(finding.found, COLUMNS - len(indent)) or [""]
    lines = [f"  {status}  {result.check.title:<8}{found[0]}"]
    lines += [f"{indent}{line}" for line in found[1:]]
    if finding.status not in {Status.OK, Status.INFO}:
        if finding.needed:
            wrapped = textwrap.wrap(f"needed: {finding.needed}", COLUMNS - len(indent))
            lines += [f"{indent}{line}" for line in wrapped]
        if finding.fix:
            lines.append(f"{indent}cure: {finding.fix}")
    return lines
