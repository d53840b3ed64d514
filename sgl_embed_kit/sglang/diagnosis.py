"""Find in a log of SGLang what went wrong, by the lines that problems.yaml knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import BinaryIO

from sgl_embed_kit.data_files import data_file

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
    data = data_file(__package__, "problems.yaml")
    return tuple(Problem(**{**entry, "contains": tuple(entry["contains"])}) for entry in data)


def problem_of(line: str) -> Problem | None:
    """Return what a line means, or None."""
    return next((p for p in problems() if all(piece in line for piece in p.contains)), None)


def diagnose(log: BinaryIO) -> list[Diagnosis]:
    """Return each problem that a log shows, once, in the order of the log.

    The log may be of any size and hold anything: it is read in blocks, and searched for one
    problem after the other, each until it is found.

    Raises:
        OSError: the log cannot be read.
    """
    found: dict[str, Diagnosis] = {}
    number = 1
    for block in _blocks(log):
        shown = []
        for problem in problems():
            line = None if problem.id in found else _first_line(block, problem)
            if line is not None:
                shown.append((*line, problem))
        for at, text, problem in sorted(shown, key=itemgetter(0)):
            clean = "".join(char for char in text.strip() if char.isprintable())
            found[problem.id] = Diagnosis(problem, number + block.count(b"\n", 0, at), clean)
        number += block.count(b"\n")
    return list(found.values())


def root_cause(diagnoses: list[Diagnosis]) -> Diagnosis | None:
    """Return the first error that is no symptom of another; None where there is none."""
    return next((d for d in diagnoses if d.problem.severity == "error"), None)


def _blocks(log: BinaryIO) -> Iterator[bytes]:
    """Yield the log in blocks of whole lines."""
    rest = b""
    while block := log.read(BLOCK):
        block = rest + block
        end = block.rfind(b"\n") + 1
        if len(block) - end > LONGEST_LINE:  # a line without an end: no log line is that long
            end = len(block)
        rest = block[end:]
        yield block[:end]
    yield rest


def _first_line(block: bytes, problem: Problem) -> tuple[int, str] | None:
    """Return where in a block a problem is first shown, and the line; None where it is not."""
    pieces = [piece.encode() for piece in problem.contains]
    if not all(piece in block for piece in pieces):
        return None
    at = block.find(pieces[0])
    while at >= 0:
        # No further than LONGEST_LINE: an endless line would be gone through at each match.
        first, last = max(0, at - LONGEST_LINE), min(len(block), at + LONGEST_LINE)
        start, stop = block.rfind(b"\n", first, at) + 1, block.find(b"\n", at, last)
        end = stop if stop >= 0 else last
        line = block[max(first, start) : end]
        if all(piece in line for piece in pieces):
            text = line.decode("utf-8", "replace")
            if problem_of(text) is problem:
                return at, text
        at = block.find(pieces[0], end)
    return None
