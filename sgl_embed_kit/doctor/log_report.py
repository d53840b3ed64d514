"""Show what a log of SGLang says, as text for people and as JSON for programs."""

from __future__ import annotations

import textwrap
from typing import Literal

from pydantic import BaseModel, Field

from sgl_embed_kit.sglang.diagnosis import Diagnosis, Quote, Start

INDENT = " " * 10
COLUMNS = 80
NOTHING = "Nothing is known of any line in this log."
FIRST = "  <- the first error"


class QuoteJson(BaseModel):
    """A line of the log."""

    number: int = Field(description="From 1.")
    line: str


class ProblemJson(BaseModel):
    """A problem, and the first line that shows it."""

    id: str
    severity: Literal["error", "warn", "info", "symptom"]
    number: int = Field(description="Of the line, from 1.")
    line: str
    means: str
    why: str
    cure: str
    upstream: str | None = Field(description="Address of a report; null without one.")
    heals: bool = Field(description="Whether a restart may cure it.")


class LogJson(BaseModel):
    """What `sgl-embed doctor --log FILE --format json` prints."""

    schema_name: Literal["sgl-embed.log/1"] = Field(alias="schema")
    cause: str | None = Field(description="Id of the problem that came first; null without one.")
    unknown: QuoteJson | None = Field(
        description="End of the traceback of a death that no rule knows; null without one."
    )
    problems: list[ProblemJson]


def log_as_text(start: Start) -> str:
    """Return what was found, the cause marked, as lines of at most 80 columns.

    What is to be pasted is not broken.
    """
    lines = []
    for diagnosis in start.found.values():
        lines += _diagnosis(diagnosis, first=diagnosis is start.cause)
    if start.unknown is not None:
        lines += _unknown(start.unknown)
    return "\n".join(lines) or NOTHING


def log_as_json(start: Start) -> str:
    """Return what was found as a JSON object (log.schema.json)."""
    unknown = start.unknown
    return LogJson(
        schema="sgl-embed.log/1",
        cause=start.cause.problem.id if start.cause else None,
        unknown=QuoteJson(number=unknown.number, line=unknown.line) if unknown else None,
        problems=[
            ProblemJson(
                id=diagnosis.problem.id,
                severity=diagnosis.problem.severity,
                number=diagnosis.number,
                line=diagnosis.line,
                means=diagnosis.problem.means,
                why=diagnosis.problem.why,
                cure=diagnosis.problem.cure_for(diagnosis.line),
                upstream=diagnosis.problem.upstream,
                heals=diagnosis.problem.heals,
            )
            for diagnosis in start.found.values()
        ],
    ).model_dump_json(indent=2, by_alias=True)


def _diagnosis(diagnosis: Diagnosis, *, first: bool) -> list[str]:
    problem = diagnosis.problem
    lines = [f"  {problem.severity:<8}line {diagnosis.number}{FIRST if first else ''}"]
    lines += _wrapped(f"{problem.means} {problem.why}")
    lines += _wrapped(f"> {_shortened(diagnosis.line)}")
    if problem.cure != "nothing":
        lines.append(f"{INDENT}cure: {problem.cure_for(diagnosis.line)}")
    if problem.upstream:
        lines.append(f"{INDENT}see:  {problem.upstream}")
    return lines


def _unknown(end: Quote) -> list[str]:
    return [
        f"  error   line {end.number}{FIRST}",
        *_wrapped("The server ended with an error that nothing is known of."),
        *_wrapped(f"> {_shortened(end.line)}"),
        f"{INDENT}cure: look at the traceback above this line",
    ]


def _shortened(line: str) -> str:
    return textwrap.shorten(line, 160, placeholder=" …")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False
    )
