"""Time the command line, a cold process each time, and write docs/benchmarks.md's section.

Usage: bench_cli.py, or `make bench-cli`. It measures and says what it found; it never fails
because something is slow.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import conditions, markdown_table
from sections import with_section

sys.path.append(str(Path(__file__).resolve().parent.parent))
from sgl_embed_kit.profile.loading import bundled_profiles
from tests.model.builders import qwen_8b, qwen_tokenizer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
SECTION = "bench-cli"
ROUNDS = 25
HEAD = ("command", "median", "min", "max", "ratio", "MB", "goal", "held")
NOWHERE = "http://127.0.0.1:9"
"""An address that refuses connections: the discard port."""


@dataclass(frozen=True)
class Command:
    """A command to time.

    Attributes:
        label: What the table calls it.
        argv: The program and its arguments.
        target: Wall seconds that its median should keep to; None for the yardstick.
        megabytes: What its peak of memory should keep to, if anything.
        statuses: Exit codes of a run that counts.
    """

    label: str
    argv: tuple[str, ...]
    target: float | None = None
    megabytes: int | None = None
    statuses: tuple[int, ...] = (0,)

    def run(self, env: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start it, with its output thrown away."""
        return subprocess.Popen(self.argv, env=env, stdout=subprocess.DEVNULL)

    def check(self, status: int) -> None:
        """Raise CalledProcessError where an exit code says that the run does not count."""
        if status not in self.statuses:
            raise subprocess.CalledProcessError(status, self.argv)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sgl-embed-") as made:
        commands = commands_to_time(large_model(Path(made) / "model-8b"))
        rounds = f"{ROUNDS} rounds of {len(commands)} commands, after one that is not counted"
        print(rounds, flush=True)
        env = environment(str(Path(made) / "cache"))
        times = measure(commands, ROUNDS, env)
        peaks = [peak(command, env) for command in commands]
    text = f"{table(commands, times, peaks)}\n\n{conditions('make bench-cli', ROUNDS)}"
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
        f"profile check, all {len(shipped)}", (program, "profile", "check", *shipped), 0.6
    )
    return [
        Command("python -c pass", (sys.executable, "-c", "pass")),
        Command("--help", (program, "--help"), 0.25),
        *(
            Command(f"dry run of {name}", (program, "launch", name, "--dry-run"), 0.5)
            for name in ("tiny-cpu", "06b-a10")
        ),
        Command("plan 8b-a100", (program, "plan", "8b-a100", "--gpu", "A100"), 0.5),
        # It may find something wrong here; it has looked at everything all the same.
        Command("doctor minilm-cpu", (program, "doctor", "minilm-cpu"), 0.8, 120, statuses=(0, 1)),
        Command("model show (8B)", (program, "model", "show", str(large)), 0.5, 150),
        check,
    ]


def environment(cache: str) -> dict[str, str]:
    """Return the variables for the commands, with `cache` as the toolkit's empty cache.

    An installed package has its bytecode, so Python may write it: the round that is not
    counted compiles what pip has not. Without a cache, SGLang's flags are read from its
    source each time, as on a machine where nothing was launched yet: the slowest case. No
    model hub is in reach.
    """
    inherited = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "SGL_EMBED_CACHE": cache, "HF_ENDPOINT": NOWHERE}


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
    status = command.run(env).wait()
    lasted = time.perf_counter() - began
    command.check(status)
    return lasted


def peak(command: Command, env: dict[str, str]) -> int:
    """Run a command and return the most memory that it had, in bytes, without its children.

    As Linux tells while it runs. Not ru_maxrss, in which what started it counts.
    """
    process, most = command.run(env), 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        known = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        most = max(most, int(known[1]) * 1024 if known else 0)  # none once it has ended
        time.sleep(0.001)
    command.check(process.returncode)
    return most


def table(
    commands: Sequence[Command], times: Sequence[Sequence[float]], peaks: Sequence[int]
) -> str:
    """Return the figures as a Markdown table that reads well on a terminal, too.

    Args:
        commands: What was timed, the yardstick first.
        times: The wall times in seconds of each.
        peaks: The most memory of each, in bytes.
    """
    yardstick = statistics.median(times[0])
    rows: list[tuple[str, ...]] = [HEAD]
    for command, lasted, most in zip(commands, times, peaks, strict=True):
        median = statistics.median(lasted)
        figures = [f"{value:.3f}" for value in (median, min(lasted), max(lasted))]
        target = "" if command.target is None else f"{command.target:.2f}"
        ratio, memory = f"{median / yardstick:.1f}", f"{most / 1e6:.0f}"
        rows.append((command.label, *figures, ratio, memory, target, held(command, median, most)))
    return markdown_table(rows)


def held(command: Command, median: float, most: int) -> str:
    """Say whether a command keeps to its seconds and megabytes; nothing of the yardstick."""
    if command.target is None:
        return ""
    fits = command.megabytes is None or most <= command.megabytes * 1e6
    return "yes" if fits and median <= command.target else "no"


if __name__ == "__main__":
    main()
