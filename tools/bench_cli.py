"""Time the command line, a cold process each time, and write docs/benchmarks.md's section.

Usage: bench_cli.py, or `make bench-cli`. It measures and says what it found; it never fails
because something is slow.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sections import with_section

sys.path.append(str(Path(__file__).resolve().parent.parent))
import sgl_embed_kit
from sgl_embed_kit.profile.loading import bundled_profiles
from sgl_embed_kit.sglang.installed import find_installed
from tests.model.builders import qwen_8b, qwen_tokenizer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
SECTION = "bench-cli"
COLUMNS = 80
ROUNDS = 25
HEAD = ("command", "median", "min", "max", "ratio", "target", "held")


@dataclass(frozen=True)
class Command:
    """A command to time.

    Attributes:
        label: What the table calls it.
        argv: The program and its arguments.
        target: Wall seconds that its median should keep to; None for the yardstick.
    """

    label: str
    argv: tuple[str, ...]
    target: float | None = None


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sgl-embed-") as made:
        folder = large_model(Path(made) / "model-8b")
        commands = commands_to_time(folder)
        print(
            f"{ROUNDS} rounds of {len(commands)} commands, after one that is not counted",
            flush=True,
        )
        times = measure(commands, ROUNDS, environment(str(Path(made) / "cache")))
    text = f"{table(commands, times)}\n\n{conditions()}"
    print(f"\n{text}\n")
    page = with_section(PAGE.read_text(encoding="utf-8"), SECTION, text)
    PAGE.write_text(page, encoding="utf-8")
    print(f"written to {PAGE.relative_to(PAGE.parent.parent)}")


def large_model(folder: Path) -> Path:
    """Write what `model show` looks at of Qwen3-Embedding-8B, and return its folder.

    Four shards whose data take no space on the disk, and a tokenizer of 151 646 tokens.
    """
    qwen_8b(folder)
    qwen_tokenizer(folder / "tokenizer.json")
    return folder


def commands_to_time(large: Path) -> list[Command]:
    """Return the commands, the yardstick first.

    Args:
        large: Folder of a large model.
    """
    program = str(Path(sys.executable).with_name("sgl-embed"))
    shipped = tuple(bundled_profiles())
    check = Command(
        f"profile check (all {len(shipped)})", (program, "profile", "check", *shipped), 0.6
    )
    return [
        Command("python -c pass", (sys.executable, "-c", "pass")),
        Command("--help", (program, "--help"), 0.25),
        *(
            Command(f"launch {name} --dry-run", (program, "launch", name, "--dry-run"), 0.5)
            for name in ("tiny-cpu", "06b-a10")
        ),
        Command("plan 8b-a100", (program, "plan", "8b-a100", "--gpu", "A100"), 0.5),
        Command("model show (8B)", (program, "model", "show", str(large)), 0.5),
        check,
    ]


def environment(cache: str) -> dict[str, str]:
    """Return the variables for the commands, with `cache` as the toolkit's empty cache.

    An installed package has its bytecode, so Python may write it: the round that is not
    counted compiles what pip has not. Without a cache, SGLang's flags are read from its
    source each time, as on a machine where nothing was launched yet: the slowest case.
    """
    inherited = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "SGL_EMBED_CACHE": cache}


def measure(
    commands: Sequence[Command], rounds: int, env: dict[str, str]
) -> list[tuple[float, ...]]:
    """Return each command's wall times in seconds, one a round.

    The commands take turns, so that a busy machine is busy for all of them; hyperfine and
    pyperf run one command to its end before the next, which makes ratios of noise.
    """
    laps = [[seconds(command, env) for command in commands] for _ in range(rounds + 1)]
    return list(zip(*laps[1:], strict=True))


def seconds(command: Command, env: dict[str, str]) -> float:
    """Run a command as a process of its own and return its wall time."""
    began = time.perf_counter()
    subprocess.run(command.argv, env=env, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def table(commands: Sequence[Command], times: Sequence[Sequence[float]]) -> str:
    """Return the figures as a Markdown table that reads well on a terminal, too.

    Args:
        commands: What was timed, the yardstick first.
        times: The wall times in seconds of each.
    """
    yardstick = statistics.median(times[0])
    rows: list[tuple[str, ...]] = [HEAD]
    for command, lasted in zip(commands, times, strict=True):
        median = statistics.median(lasted)
        figures = [f"{value:.3f}" for value in (median, min(lasted), max(lasted))]
        target = "" if command.target is None else f"{command.target:.2f}"
        held = "" if command.target is None else "yes" if median <= command.target else "no"
        rows.append((command.label, *figures, f"{median / yardstick:.1f}", target, held))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]
        for cells in (rows[0], rule, *rows[1:])
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def conditions() -> str:
    """Say on what the figures were measured."""
    installed = find_installed()
    return textwrap.fill(
        f"`make bench-cli`, {ROUNDS} rounds, on {cpu_model()}, "
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


if __name__ == "__main__":
    main()
