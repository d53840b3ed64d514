"""What the benchmarks write of their figures: a table, and on what it was measured."""

import os
import platform
import textwrap
from collections.abc import Sequence
from pathlib import Path

import sgl_embed_kit
from sgl_embed_kit.sglang.installed import find_installed

COLUMNS = 80


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table that reads well on a terminal, too.

    Args:
        rows: The cells of each row, the heads first; all but the first are set to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]
        for cells in (rows[0], rule, *rows[1:])
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def conditions(verb: str, rounds: int) -> str:
    """Say how and on what the figures were measured."""
    installed = find_installed()
    return textwrap.fill(
        f"`{verb}`, {rounds} rounds, on {cpu_model()}, "
        f"{len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}, "
        f"sgl-embed-kit {sgl_embed_kit.__version__}, "
        f"{f'SGLang {installed.version}' if installed else 'no SGLang'}.",
        COLUMNS,
    )


def cpu_model() -> str:
    """Return the processor's name; where Linux does not tell it, its kind."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
