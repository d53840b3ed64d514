"""What single lines of SGLang's log mean: the rules of problems.yaml."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sgl_embed_kit.data_files import data_file

Text = Annotated[str, Field(min_length=1)]
Address = Annotated[str, Field(pattern=r"^https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Run(_Strict):
    """The example was printed by a real SGLang, or another real program, in a test.

    Attributes:
        run: The test, as `tests/….py::test_…`.
    """

    run: Annotated[str, Field(pattern=r"^tests/\S+\.py::test_\w+$")]


class Source(_Strict):
    """The example is a text of a program's source, filled in.

    Attributes:
        source: The file, relative to site-packages or to Python's own library.
    """

    source: Annotated[str, Field(pattern=r"^[\w./-]+\.(py|so[.\d]*)$")]


class Issue(_Strict):
    """The example stands in a report upstream.

    Attributes:
        issue: Its address.
    """

    issue: Address


class Problem(_Strict):
    """What a line of the log means.

    Attributes:
        id: Its name.
        contains: What the line contains, all of it.
        severity: `error` ends the server or makes it useless, `symptom` only says that
            something else did; `warn` and `info` leave it alive.
        stage: When the rule holds: `start` is before the server was ready and `running`
            after, another word is the phase of the start (start_phases.yaml) before that.
        general: Whether a more specific error that follows from it says more.
        heals: Whether the server can come up again by a mere restart.
        means: What happened.
        why: What it comes from.
        cure: One command, or one edit of the profile; NUMBER is the one that the line names.
        number: A regular expression that finds NUMBER in the line.
        upstream: A report upstream.
        example: A line that it is for.
        provenance: Where the example is from.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    contains: Annotated[tuple[Text, ...], Field(min_length=1)]
    severity: Literal["error", "warn", "info", "symptom"]
    stage: Literal["any", "start", "running", "weights", "graphs"] = "any"
    general: bool = False
    heals: bool
    means: Text
    why: Text
    cure: Text
    number: str | None = None
    upstream: Address | None = None
    example: Text
    provenance: Run | Source | Issue

    def cure_for(self, line: str) -> str:
        """Return the cure, with the number that a line names."""
        found = re.search(self.number, line) if self.number else None
        return self.cure.replace("NUMBER", found[1] if found else "…")

    def holds(self, line: str, *, serving: bool, phase: str) -> bool:
        """Say whether a line is for it, at this time of a server's life."""
        times = {"any", "running"} if serving else {"any", "start", phase}
        return self.stage in times and all(piece in line for piece in self.contains)


@cache
def problems() -> tuple[Problem, ...]:
    """Return what is known of lines in the log, in the order in which it is looked for."""
    return TypeAdapter(tuple[Problem, ...]).validate_python(
        data_file(__package__, "problems.yaml"), strict=False
    )


def problem_of(
    line: str, rules: Sequence[Problem], *, serving: bool = False, phase: str = ""
) -> Problem | None:
    """Return what a line means, or None.

    Args:
        line: The line.
        rules: What it may mean, in the order in which it is looked for.
        serving: Whether the server had been ready before.
        phase: Id of the start's phase in which the line was printed.
    """
    return next((rule for rule in rules if rule.holds(line, serving=serving, phase=phase)), None)
