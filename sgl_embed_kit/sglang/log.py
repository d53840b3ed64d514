"""Read lines of SGLang's log: the phases of a start, how far one has come, and its end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from sgl_embed_kit.data_files import data_file


@dataclass(frozen=True)
class Phase:
    """A part of the start.

    Attributes:
        id: Its name.
        label: What a user is told.
        begins_with: Texts in the log of which any begins it.
        progress: Texts before the bars that show how far it has come.
        hangs: Why it may not come to an end.
        look: A command that tells more of that.
    """

    id: str
    label: str
    begins_with: tuple[str, ...]
    progress: tuple[str, ...]
    hangs: str
    look: str


LEFT = re.compile(r"Gracefully exiting\.\.\. Remaining number of requests (\d+)\.")
"""Printed within five seconds of a SIGTERM and every five seconds while requests run
(`sigterm_watchdog`, srt/managers/tokenizer_manager.py)."""


BATCH = "Prefill batch"
"""In the line of each batch that the scheduler has begun (report_prefill_stats,
srt/managers/scheduler_components/metrics_reporter.py); an embedding server has no other."""


@cache
def _data() -> tuple[Phase, tuple[Phase, ...], str]:
    """Return the phase before the first line, those after, and the line that ends the last."""
    data = data_file(__package__, "start_phases.yaml")
    first, *rest = (
        Phase(
            id=item["id"],
            label=item["label"],
            begins_with=tuple(item.get("begins_with", ())),
            progress=tuple(item.get("progress", ())),
            hangs=item["hangs"],
            look=item["look"],
        )
        for item in data["phases"]
    )
    return first, tuple(rest), data["ready"]


IMPORTING = _data()[0]
"""What a server does before its first line."""
READY = _data()[2]
"""What SGLang prints at the end of its start; it can lie: see `sglang.diagnosis`."""


def start_phases() -> tuple[Phase, ...]:
    """Return the phases of a start that a line begins, in order, from start_phases.yaml."""
    return _data()[1]


def phase_of(line: str) -> Phase | None:
    """Return the phase that a line of the log begins, or None."""
    return next(
        (phase for phase in start_phases() if any(text in line for text in phase.begins_with)),
        None,
    )


def progress_of(line: str) -> tuple[int, int] | None:
    """Return how much is done of how much, by the last bar in a line; None where there is none.

    Loading counts files, capturing counts sizes of a batch. A bar is drawn again and again
    in one line, with carriage returns between, and by each process of a server.
    """
    bars = _bars().findall(line)
    return (int(bars[-1][0]), int(bars[-1][1])) if bars else None


@cache
def _bars() -> re.Pattern[str]:
    """Return what tqdm writes after each of the known texts: `: 50%|██  | 1/2 [`."""
    texts = "|".join(re.escape(text) for phase in start_phases() for text in phase.progress)
    return re.compile(rf"(?:{texts})[^\r%]*: +\d+%[^\r\[]*\| *(\d+)/(\d+) \[")


def requests_left(log: str) -> int | None:
    """Return how many requests a server that drains had left; None before it has said so."""
    counts = LEFT.findall(log)
    return int(counts[-1]) if counts else None
