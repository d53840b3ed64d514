"""Explain why a server died, or why it is not ready, from all that is known of it."""

from __future__ import annotations

import shlex
import signal
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO

from sgl_embed_kit.data_files import data_file
from sgl_embed_kit.machine.oom import OomEvent
from sgl_embed_kit.sglang.diagnosis import Diagnosis, Start, starts

GIB = 2**30
POOL_TOO_SMALL = "pool-below-context"
"""The warning at the start that foretells a queue which one long text blocks for ever."""
SHELL = 128
"""What a shell adds to the number of the signal that a program died of."""


@dataclass(frozen=True)
class Death:
    """Why a server died, or hangs.

    Attributes:
        what: What happened, in a sentence.
        line: The line that says so; empty where none does.
        line_number: Its number in the log, from 1; 0 where it is not of the log.
        why: What it comes from.
        cure: One command, or one edit of the profile.
        upstream: A report upstream, or None.
        heals: Whether a restart may cure it.
    """

    what: str
    line: str
    line_number: int
    why: str
    cure: str
    upstream: str | None
    heals: bool


def explain_death(
    log: BinaryIO,
    status: int | None,
    was_ready: bool,
    killed: OomEvent | None,
    *,
    log_file: Path | None = None,
) -> Death:
    """Return why a server died, with exactly one first cause.

    In this order: an error that the log names; the system, which ended it for want of
    memory; an exception that nothing is known of; how the first of its processes ended.

    Args:
        log: The server's log, or its last part; it is read more than once.
        status: How its main process ended, negative for a signal; None where it lives and
            is not ready in time, or answers no more.
        was_ready: Whether it has been ready.
        killed: That the system ended a process of the server for want of memory, or None.
        log_file: Where the whole log is, where there is more of it.

    Raises:
        OSError: the log cannot be read.
    """
    start = _last_start(log, was_ready)
    child = start.child_status
    cause = start.cause
    if killed is not None and _killed(status, start, cause):
        return _out_of_memory(killed, child[1] if child else None, was_ready)
    if cause is not None:
        return _of(cause)
    if status is None:
        return _stuck(start) if was_ready else _hang(start)
    if start.traceback.end is not None:
        return Death(
            what="The server ended with an error that nothing is known of.",
            line=start.traceback.end.line,
            line_number=start.traceback.end.number,
            why="The whole traceback stands above that line in the log.",
            cure=_look_into(log_file),
            upstream=None,
            heals=was_ready,
        )
    symptom = child[1] if child else _last_symptom(start)
    death = _ended(child[0] if child else None if symptom else status, log_file)
    if symptom is not None:
        death = replace(death, line=symptom.line, line_number=symptom.number)
    return death


def _last_start(log: BinaryIO, was_ready: bool) -> Start:
    serving = None if was_ready else False
    *_, start = starts(log, serving=serving)
    if was_ready and not start.serving:  # its start is not in the log, or was not logged
        log.seek(0)
        *_, start = starts(log, serving=True)
    return start


def _killed(status: int | None, start: Start, cause: Diagnosis | None) -> bool:
    """Say whether it was the kill that ended the server: no error stands before its sign."""
    if start.child_status is None:
        return cause is None and status is not None and _signal(status) == signal.SIGKILL
    number, sign = start.child_status
    return _signal(number) == signal.SIGKILL and (cause is None or cause.number > sign.number)


def _of(cause: Diagnosis) -> Death:
    problem = cause.problem
    return Death(
        what=problem.means,
        line=cause.line,
        line_number=cause.number,
        why=problem.why,
        cure=problem.cure_for(cause.line),
        upstream=problem.upstream,
        heals=problem.heals,
    )


def _out_of_memory(killed: OomEvent, sign: Diagnosis | None, was_ready: bool) -> Death:
    limit = f" may hold {killed.limit / GIB:.2f} GiB and" if killed.limit else ""
    return Death(
        what="The system ended the server for want of memory, not of a GPU but of the machine.",
        line=killed.line or (sign.line if sign else ""),
        line_number=sign.number if sign and not killed.line else 0,
        why=f"Its control group{limit} asked for more; the kernel ended {killed.killed} of its "
        "processes.",
        cure="sgl-embed doctor PROFILE --only memory",
        upstream="https://github.com/sgl-project/sglang/pull/20287",
        heals=was_ready,
    )


def _hang(start: Start) -> Death:
    return Death(
        what=f"The server is not ready in time; its last phase was: {start.phase.label}.",
        line=start.last.line,
        line_number=start.last.number,
        why=start.phase.hangs,
        cure=start.phase.look,
        upstream=None,
        heals=True,
    )


def _stuck(start: Start) -> Death:
    """Explain why a server that was ready lives and answers nothing."""
    known = start.found.get(POOL_TOO_SMALL)
    if known is not None:
        return _of(known)
    return Death(
        what="The server lives and answers nothing.",
        line=start.last.line,
        line_number=start.last.number,
        why="A request that cannot be scheduled, or a kernel that does not end, stops the others.",
        cure="py-spy dump --pid $(pgrep -f sglang::scheduler)",
        upstream=None,
        heals=True,
    )


def _ended(status: int | None, log_file: Path | None) -> Death:
    """Explain an end by its status alone; None where not even that is known."""
    number = _signal(status) if status is not None else 0
    known = _statuses().get(-number if number else status, _statuses()["else"])
    return Death(
        what=str(known["means"]).replace("STATUS", str(status)),
        line="",
        line_number=0,
        why=str(known["why"]),
        cure=str(known.get("cure", _look_into(log_file))),
        upstream=None,
        heals=bool(known["heals"]),
    )


def _signal(status: int) -> int:
    """Return the signal that a process died of, also where a shell told its status; else 0."""
    return -status if status < 0 else status - SHELL if status > SHELL else 0


@cache
def _statuses() -> dict[int | str | None, dict[str, object]]:
    data: dict[int | str | None, dict[str, object]] = data_file(__package__, "exit_statuses.yaml")
    return data


def _last_symptom(start: Start) -> Diagnosis | None:
    symptoms = [d for d in start.found.values() if d.problem.severity == "symptom"]
    return symptoms[-1] if symptoms else None


def _look_into(log_file: Path | None) -> str:
    return f"less {shlex.quote(str(log_file))}" if log_file else "sgl-embed doctor --log FILE"
