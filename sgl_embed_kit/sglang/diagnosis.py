"""Find in a log of SGLang what went wrong, by the lines that problems.yaml knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

from sgl_embed_kit.sglang.log import IMPORTING, READY, Phase, phase_of, start_phases
from sgl_embed_kit.sglang.problems import Problem, problem_of, problems

BLOCK = 1 << 18
LONGEST_LINE = 4096
"""Bytes of a line that are looked at on each side of what was found, and of one without an
end that are kept."""
ROUTINE = (b"Prefill batch", b"Decode batch", b' HTTP/1.1" 200', b"Receive: obj=", b"Finish: obj=")
"""What nearly all lines of a large log contain, and none that means anything: batches,
requests that were answered, and with --log-requests what users wrote in them."""
USAGE = "usage: "
"""What argparse begins with where it refuses the arguments."""
DIES = "hit an exception"
TRACEBACK = "Traceback (most recent call last):"
SOURCE = "    "
"""How a line of a program begins that a traceback quotes: it holds a message, and raises it."""
CHAINED = ("another exception occurred:", "direct cause of the following exception:")
WRAPPED = re.compile(
    r"^(?:[\w.-]+ +\| "  # docker compose
    r"|\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) [FP] "  # a container's log file (CRI)
    r"|[A-Z][a-z]{2} +\d+ [\d:]{8} \S+ [^\s:]+\[\d+\]: )"  # journalctl
)
"""What others write before each line of a server."""
CHILD_STATUS = re.compile(r"exit code:? (-?\d+)")


@dataclass(frozen=True)
class Diagnosis:
    """A problem, and the first line of a log that shows it.

    Attributes:
        problem: What it is.
        number: The line's number, from 1.
        line: The line, without what a terminal would take for commands.
        serving: Whether the server had been ready before.
    """

    problem: Problem
    number: int
    line: str
    serving: bool = False


@dataclass(frozen=True)
class Quote:
    """A line of a log, and its number."""

    number: int
    line: str


class Traceback:
    """The traceback that best says why a server died: its end, unless a rule knows it.

    That is the first of a process that died of it; before that one, and where there is
    none, the first of the start, and the last once the server serves, because a request may
    have failed long before. Of exceptions that were raised one over the other, the last.
    """

    def __init__(self) -> None:
        self.end: Quote | None = None
        self.inside = False
        self._fatal = self._chained = self._wanted = False

    def add(self, number: int, line: str, *, known: bool, serving: bool) -> None:
        """Take the next line."""
        text = line.rstrip()
        if text.endswith(TRACEBACK):
            fatal = DIES in text
            first = self.end is None or serving or fatal
            self._wanted = self._chained or (first and not self._fatal)
            self._fatal = self._fatal or fatal
            self._chained, self.inside = False, self._wanted
        elif text.endswith(CHAINED):
            self._chained = self._wanted
        elif self.inside and text and not line.startswith((" ", "\t")):
            self.end = None if known else Quote(number, clean(line))
            self.inside = False


class Start:
    """What a log says of one start of a server, up to its end."""

    def __init__(self, serving: bool | None) -> None:
        """Begin with nothing.

        Args:
            serving: Whether the server had been ready; None where the log tells when.
        """
        self.serving = bool(serving)
        self.phase: Phase = IMPORTING
        self.found: dict[str, Diagnosis] = {}
        self.traceback = Traceback()
        self.last = Quote(0, "")
        self.began = False
        self._told = serving is None
        self._bound = False

    @property
    def cause(self) -> Diagnosis | None:
        """The first error that is no symptom of another."""
        return root_cause(list(self.found.values()))

    @property
    def wrong(self) -> bool:
        """Whether it went wrong."""
        return self.cause is not None or self.unknown is not None

    @property
    def unknown(self) -> Quote | None:
        """End of the traceback of a process that died of what no rule knows."""
        died = any(d.problem.severity == "symptom" for d in self.found.values())
        return self.traceback.end if died and self.cause is None else None

    @property
    def child_status(self) -> tuple[int, Diagnosis] | None:
        """Status of the process of the server that ended first, and the line that tells it."""
        for diagnosis in self.found.values():
            named = CHILD_STATUS.search(diagnosis.line)
            if diagnosis.problem.severity == "symptom" and named:
                return int(named[1]), diagnosis
        return None

    def add(self, number: int, line: str, rules: Sequence[Problem]) -> None:
        """Take the next line, which may be of one of some rules."""
        self.began = self.began or _begins_a_start(line)
        phase = phase_of(line)
        if phase is not None:
            self.phase = phase
            self._bound = self._bound or phase is start_phases()[-1]
        if self._told and self._bound and READY in line:
            self.serving = True
        problem = None
        if not line.startswith(SOURCE):
            problem = problem_of(line, rules, serving=self.serving, phase=self.phase.id)
        if problem is not None and problem.id not in self.found:
            self.found[problem.id] = Diagnosis(problem, number, clean(line), self.serving)
        self.traceback.add(number, line, known=problem is not None, serving=self.serving)


def worst_start(log: BinaryIO) -> Start:
    """Return the log's last start that went wrong; where none did, its last one.

    Raises:
        OSError: the log cannot be read.
    """
    every = starts(log)
    worst = next(every)
    for start in every:
        if start.wrong or not worst.wrong:
            worst = start
    return worst


def diagnose(log: BinaryIO) -> list[Diagnosis]:
    """Return each problem of the worst start of a log, once, in order.

    Raises:
        OSError: the log cannot be read.
    """
    return list(worst_start(log).found.values())


def root_cause(diagnoses: list[Diagnosis]) -> Diagnosis | None:
    """Return the first error that is no symptom of another; None where there is none.

    What went wrong before the server was ready did not end it after. A general error gives
    way to a more specific one that follows from it, before the first process is dead.
    """
    errors = [d for d in diagnoses if d.problem.severity == "error"]
    errors = [d for d in errors if d.serving] or errors
    if not errors:
        return None
    first = errors[0]
    if not first.problem.general:
        return first
    following = diagnoses[diagnoses.index(first) + 1 :]
    for diagnosis in following:
        if diagnosis.problem.severity == "symptom":
            break
        if diagnosis in errors and not diagnosis.problem.general:
            return diagnosis
    return first


def starts(log: BinaryIO, *, serving: bool | None = None) -> Iterator[Start]:
    """Yield what a log says of each start in it.

    The log may be of any size and hold anything: it is read in blocks, of which only the
    lines that mean something are gone through.

    Args:
        log: The log.
        serving: Whether the server had been ready; None where the log itself tells when.

    Raises:
        OSError: the log cannot be read.
    """
    start = Start(serving)
    for number, lines in _blocks(log):
        kept = [
            (number + i, line)
            for i, line in enumerate(lines)
            if line and not any(routine in line for routine in ROUTINE)
        ]
        rules, telling = _telling(kept, inside=start.traceback.inside)
        for at, line in telling:
            if start.began and _begins_a_start(line):
                yield start
                start = Start(serving)
            start.add(at, line, rules)
        last = next((i for i in range(len(lines) - 1, -1, -1) if lines[i].strip()), None)
        if last is not None:
            start.last = Quote(number + last, clean(_text(lines[last][-LONGEST_LINE:])))
    yield start


def clean(line: str) -> str:
    """Return a line without what a terminal would take for commands."""
    return "".join(char for char in line.strip() if char.isprintable())


def _begins_a_start(line: str) -> bool:
    return start_phases()[0].begins_with[0] in line or line.startswith(USAGE)


def _telling(
    kept: Sequence[tuple[int, bytes]], *, inside: bool
) -> tuple[list[Problem], Iterator[tuple[int, str]]]:
    """Return the rules that lines of a block may be of, and the lines that may mean something.

    Args:
        kept: The block's lines with their numbers.
        inside: Whether it begins inside a traceback.
    """
    block = b"\n".join(line for _, line in kept)
    rules = [p for p in problems() if all(piece.encode() in block for piece in p.contains)]
    pieces = [rule.contains[0].encode() for rule in rules]
    pieces += [mark for mark in _marks() if mark in block]
    return rules, _lines(kept, pieces) if pieces or inside else iter(())


def _lines(kept: Sequence[tuple[int, bytes]], pieces: Sequence[bytes]) -> Iterator[tuple[int, str]]:
    """Yield lines as text: a long one only around what is looked for, each time it is there."""
    for number, line in kept:
        for part in line.split(b"\r"):
            if len(part) <= LONGEST_LINE:
                yield number, WRAPPED.sub("", _text(part))
                continue
            for piece in pieces:
                at = part.find(piece)
                while at >= 0:  # no further: an endless line would be gone through each time
                    end = at + LONGEST_LINE
                    yield number, _text(part[max(0, at - LONGEST_LINE) : end])
                    at = part.find(piece, end)


@cache
def _marks() -> tuple[bytes, ...]:
    phases = [text for phase in start_phases() for text in phase.begins_with]
    return tuple(text.encode() for text in (*phases, READY, USAGE, TRACEBACK, *CHAINED))


def _blocks(log: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the log in blocks of whole lines, each with the number of its first."""
    rest, number = b"", 1
    while block := log.read(BLOCK):
        block = rest + block
        end = block.rfind(b"\n") + 1
        if len(block) - end > LONGEST_LINE:  # a line without an end: no log line is that long
            end = len(block)
        rest = block[end:]
        lines = block[:end].split(b"\n")
        yield number, lines
        number += len(lines) - 1
    yield number, rest.split(b"\n")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
