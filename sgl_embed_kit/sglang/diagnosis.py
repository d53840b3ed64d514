"""Find in a log of SGLang what went wrong, by the lines that problems.yaml knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import BinaryIO

import yaml

BLOCK = 1 << 20
LONGEST_LINE = 4096
"""Bytes of a line that are looked at, and of one without an end that are kept."""


@dataclass(frozen=True)
class Problem:
    """What a line of the log means; the fields are explained in problems.yaml."""

    id: str
    contains: tuple[str, ...]
    severity: str
    means: str
    cure: str
    source: str
    example: str
    seen: bool


@dataclass(frozen=True)
class Diagnosis:
    """A problem, and the first line of a log that shows it.

    Attributes:
        problem: What it is.
        number: The line's number, from 1.
        line: The line, without what a terminal would take for commands.
    """

    problem: Problem
    number: int
    line: str


@cache
def problems() -> tuple[Problem, ...]:
    """Return what is known of lines in the log, in the order in which it is looked for."""
    text = resources.files(__package__).joinpath("problems.yaml").read_text(encoding="utf-8")
    data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return tuple(Problem(**{**entry, "contains": tuple(entry["contains"])}) for entry in data)


def problem_of(line: str) -> Problem | None:
    """Return what a line means, or None."""
    return next((p for p in problems() if all(piece in line for piece in p.contains)), None)


def diagnose(log: BinaryIO) -> list[Diagnosis]:
    """Return each problem that a log shows, once, in the order of the log.

    The log may be of any size and hold anything: it is read in blocks, and searched for the
    first piece of every problem at once.
    """
    found: dict[str, Diagnosis] = {}
    for number, raw in _telling_lines(log):
        line = raw.decode("utf-8", "replace")
        problem = problem_of(line)
        if problem is not None and problem.id not in found:
            shown = "".join(char for char in line.strip() if char.isprintable())
            found[problem.id] = Diagnosis(problem, number, shown)
    return list(found.values())


def root_cause(diagnoses: list[Diagnosis]) -> Diagnosis | None:
    """Return the first error that is no symptom of another; None where there is none."""
    return next((d for d in diagnoses if d.problem.severity == "error"), None)


def _telling_lines(log: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the lines that hold the first piece of some problem."""
    first_pieces = _first_pieces()
    number, rest = 1, b""
    while block := log.read(BLOCK):
        block = rest + block
        end = block.rfind(b"\n") + 1
        whole, rest = block[:end], block[end:]
        if len(rest) > LONGEST_LINE:  # a line without an end: no log line is that long
            whole, rest = block, b""
        counted = 0
        for match in first_pieces.finditer(whole):
            start = whole.rfind(b"\n", 0, match.start()) + 1
            stop = whole.find(b"\n", match.end())
            line = whole[start : stop if stop >= 0 else len(whole)]
            number += whole.count(b"\n", counted, start)
            counted = start
            at = match.start() - start
            yield number, line[max(0, at - LONGEST_LINE) : at + LONGEST_LINE]
        number += whole.count(b"\n", counted)
    if first_pieces.search(rest):
        yield number, rest


@cache
def _first_pieces() -> re.Pattern[bytes]:
    pieces = (re.escape(problem.contains[0].encode()) for problem in problems())
    return re.compile(b"|".join(pieces))
