"""Reading lines of SGLang's log: the phases of a start, in the formats of several releases."""

from pathlib import Path

import pytest

from sgl_embed_kit.sglang.log import (
    IMPORTING,
    READY,
    phase_of,
    progress_of,
    requests_left,
    start_phases,
)

HEALTHY = sorted((Path(__file__).parent / "logs" / "healthy").glob("*.log"))
FULL = ["scheduler", "weights", "kv_pool", "graphs", "http", "bound"]
ON_A_CPU = [phase for phase in FULL if phase != "graphs"]
PHASES = {"0.5.23": ON_A_CPU, "issue-16920-gpu": ["http", "bound"]}


def lines(log: Path) -> list[str]:
    return log.read_bytes().decode().split("\n")  # read_text would make lines of bars


@pytest.mark.parametrize("log", HEALTHY, ids=lambda log: log.stem)
def test_a_start_of_any_release_goes_through_its_phases_in_order(log: Path) -> None:
    found = [phase.id for line in lines(log) if (phase := phase_of(line))]
    expected = next((ids for name, ids in PHASES.items() if log.stem.startswith(name)), FULL)
    assert list(dict.fromkeys(found)) == expected


def test_each_phase_is_in_logs_of_at_least_three_releases() -> None:
    for phase in start_phases():
        seen = [log for log in HEALTHY if any(phase_of(line) == phase for line in lines(log))]
        assert len(seen) >= 3


def test_phases_say_why_they_may_hang() -> None:
    assert IMPORTING.begins_with == ()
    for phase in (IMPORTING, *start_phases()):
        assert phase.hangs.endswith(".")
        assert phase.look
    assert READY == "The server is fired up and ready to roll!"


def test_other_lines_begin_no_phase() -> None:
    for line in ("[2026] Prefill batch, #new-seq: 2", READY, "'max_total_num_tokens': 5", ""):
        assert phase_of(line) is None


BARS = {
    "0.4.6-gpu": [(0, 2), (1, 2), (2, 2), (23, 23)],
    "0.5.10.post1-gpu": [(4, 4), (9, 9), (9, 9)],
    "0.5.15-gpu": [(0, 1), (1, 1), (3, 3)],
    "0.5.23-minilm-guarded": [(1, 1)],
    "0.5.23-plain": [(1, 1)],
    "issue-16920-gpu": [(8, 8)],
}


@pytest.mark.parametrize("name", BARS)
def test_bars_of_any_release_say_how_far_it_has_come(name: str) -> None:
    (log,) = (log for log in HEALTHY if log.stem == name)
    found = [progress for line in lines(log) if (progress := progress_of(line))]
    assert found == BARS[name]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Loading safetensors checkpoint shards",
        "tqdm of something else:  50%|█████     | 1/2 [00:01<00:01]",
        "Capturing batches (bs=8): | 1/2 [",
        "[2026-11-21] INFO: 127.0.0.1 - GET /a/1/2 HTTP/1.1 200 | 1/2 [",
    ],
)
def test_what_is_no_bar_of_a_start_says_nothing(line: str) -> None:
    assert progress_of(line) is None


def test_the_last_count_of_a_server_that_drains_is_what_it_has_left() -> None:
    line = "Gracefully exiting... Remaining number of requests {}. Remaining requests []."
    assert requests_left("") is None
    assert requests_left(f"{line.format(12)}\n{line.format(3)}\n") == 3
