"""Read SGLang's log: the phases of a start, and the line that says why it died."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from sgl_embed_kit.data_files import data_file


@dataclass(frozen=True)
class Phase:
    """A part of the start, and the text in the log that begins it."""

    id: str
    label: str
    begins_with: str
    example: str
    version: str


IMPORTING = Phase("importing", "Importing SGLang", begins_with="", example="", version="")
"""What a server does before its first line."""

LEFT = re.compile(r"Gracefully exiting\.\.\. Remaining number of requests (\d+)\.")
"""Printed within five seconds of a SIGTERM and every five seconds while requests run
(`sigterm_watchdog`, srt/managers/tokenizer_manager.py)."""


BATCH = "Prefill batch"
"""In the line of each batch that the scheduler has begun (report_prefill_stats,
srt/managers/scheduler_components/metrics_reporter.py); an embedding server has no other."""


@cache
def start_phases() -> tuple[Phase, ...]:
    """Return the phases of a start, in order, from start_phases.yaml."""
    return tuple(
        Phase(**{k: str(v) for k, v in item.items()})
        for item in data_file(__package__, "start_phases.yaml")
    )


def phase_of(line: str) -> Phase | None:
    """Return the phase that a line of the log begins, or None."""
    return next((phase for phase in start_phases() if phase.begins_with in line), None)


def requests_left(log: str) -> int | None:
    """Return how many requests a server that drains had left; None before it has said so."""
    counts = LEFT.findall(log)
    return int(counts[-1]) if counts else None


def why_it_died(log: str) -> str:
    """Return the line that best says why a server died; empty where none does.

    That is the guard's own refusal, else the last line of the first traceback that a
    process printed: what follows it (SIGQUIT, "kill_process_tree") are consequences.
    """
    lines = log.splitlines()
    for line in lines:
        if "sgl-embed guard: refusing" in line:
            return line[line.index("sgl-embed guard:") :].strip()
    for number, line in enumerate(lines):
        if line.rstrip().endswith("Traceback (most recent call last):"):
            return _end_of_traceback(lines[number + 1 :])
    errors = [line.strip() for line in lines if "error:" in line.lower()]
    return errors[-1] if errors else ""


def _end_of_traceback(lines: list[str]) -> str:
    for line in lines:
        if line.strip() and not line.startswith((" ", "\t")):
            return line.strip()
    return ""
