"""Time a start to its first vector, launched and plain, and write docs/benchmarks.md's section.

Usage: bench_launch.py, or `make bench-launch`. It measures and says what it found; it never
fails because something is slow.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from figures import conditions, markdown_table
from sections import with_section

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
SECTION = "bench-launch"
PROFILE = "tiny-cpu"
ROUNDS = 5
LIMIT = 300.0
HEAD = ("start", "median", "min", "max", "to plain", "target", "held")
PLAIN = "sglang serve"
MOST_OF_PLAIN, MOST_MORE = 0.65, 1.0
"""What a launch may take of a plain start's time with fast start, and may add to it without."""


@dataclass(frozen=True)
class Start:
    """A way to start the same server.

    Attributes:
        label: What the table calls it.
        argv: The program and its arguments.
        env: Variables on top of the environment.
    """

    label: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sgl-embed-") as empty:
        starts = starts_to_time(port, Path(empty))
        print(f"{ROUNDS} rounds of {len(starts)} starts, after one that is not counted", flush=True)
        laps = []
        for number in range(ROUNDS + 1):
            laps.append([seconds(start, port) for start in starts])
            print(f"  round {number}: " + "  ".join(f"{s:.1f} s" for s in laps[-1]), flush=True)
    text = f"{table(starts, list(zip(*laps[1:], strict=True)))}\n\n"
    text += conditions("make bench-launch", ROUNDS)
    print(f"\n{text}\n")
    PAGE.write_text(with_section(PAGE.read_text("utf-8"), SECTION, text), encoding="utf-8")
    print(f"written to {PAGE.relative_to(PAGE.parent.parent)}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def starts_to_time(port: int, empty: Path) -> list[Start]:
    """Return the ways to start, the plain one first."""
    program = str(Path(sys.executable).with_name("sgl-embed"))
    launch = (program, "launch", PROFILE, "--set", f"server.port={port}")
    plain = (*launch, "--set", "launch.fast_start=false")
    shown = subprocess.run(
        [*plain, "--dry-run", "--format", "json"], capture_output=True, check=True
    ).stdout
    command = json.loads(shown)
    sglang = str(Path(sys.executable).with_name("sglang"))
    uncompiled = {"PYTHONPYCACHEPREFIX": str(empty), "PYTHONDONTWRITEBYTECODE": "1"}
    return [
        Start(PLAIN, (sglang, *command["argv"][1:]), command["env"]),
        Start("launch, fast start", launch),
        Start("launch, no fast start", plain),
        Start("launch, fast, no bytecode", launch, uncompiled),
    ]


def seconds(start: Start, port: int) -> float:
    """Start a server, wait for its first vector, stop it; return the time to the vector."""
    inherited = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(
        start.argv,
        env={**inherited, **start.env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not answers(port):
            if process.poll() is not None or time.perf_counter() - began > LIMIT:
                raise SystemExit(f"{start.label}: no vector; {' '.join(start.argv)}")
            time.sleep(0.05)
        return time.perf_counter() - began
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: int) -> bool:
    """Say whether a vector comes back from the port."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/embeddings",
        data=b'{"model": "tiny", "input": "Apples are a fruit"}',
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return b'"embedding"' in answer.read()
    except (urllib.error.URLError, OSError):
        return False


def table(starts: Sequence[Start], times: Sequence[Sequence[float]]) -> str:
    """Return the figures as a Markdown table; ratios and differences are of medians."""
    plain = statistics.median(times[0])
    rows: list[tuple[str, ...]] = [HEAD]
    for start, lasted in zip(starts, times, strict=True):
        median = statistics.median(lasted)
        figures = [f"{value:.1f}" for value in (median, min(lasted), max(lasted))]
        target, held = "", ""
        if start.label == "launch, fast start":
            target, held = f"x {MOST_OF_PLAIN}", said(median / plain <= MOST_OF_PLAIN)
        elif start.label == "launch, no fast start":
            target, held = f"+ {MOST_MORE} s", said(median - plain <= MOST_MORE)
        compared = f"x {median / plain:.2f}, {median - plain:+.1f} s"
        rows.append((start.label, *figures, compared, target, held))
    return markdown_table(rows)


def said(held: bool) -> str:
    return "yes" if held else "no"


if __name__ == "__main__":
    main()
