"""Show what a log of SGLang says, as text for people and as JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from sgl_embed_kit.sglang.diagnosis import Diagnosis, root_cause

INDENT = " " * 10
NOTHING = "Nothing is known of any line in this log."


def log_as_text(found: Sequence[Diagnosis]) -> str:
    """Return what was found, the likely cause marked, as lines of at most 80 columns."""
    if not found:
        return NOTHING
    cause, lines = root_cause(list(found)), []
    for diagnosis in found:
        problem = diagnosis.problem
        mark = "  <- the first error" if diagnosis is cause else ""
        lines.append(f"  {problem.severity:<8}line {diagnosis.number}{mark}")
        quoted = textwrap.shorten(diagnosis.line, 160, placeholder=" …")
        for text in (problem.means, f"> {quoted}", f"cure: {problem.cure}"):
            lines += textwrap.wrap(
                text, 80, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False
            )
    return "\n".join(lines)


def log_as_json(found: Sequence[Diagnosis]) -> str:
    """Return what was found as a JSON object."""
    cause = root_cause(list(found))
    return json.dumps(
        {
            "schema": "sgl-embed.log/1",
            "cause": cause.problem.id if cause else None,
            "problems": [
                {
                    "id": diagnosis.problem.id,
                    "severity": diagnosis.problem.severity,
                    "number": diagnosis.number,
                    "line": diagnosis.line,
                    "means": diagnosis.problem.means,
                    "cure": diagnosis.problem.cure,
                }
                for diagnosis in found
            ],
        },
        indent=2,
        ensure_ascii=False,
    )
