"""Reading SGLang's log."""

import pytest

from sgl_embed_kit.sglang.log import Phase, phase_of, requests_left, start_phases, why_it_died

TRACEBACK = """\
[2026-11-21 11:41:58] Load weight begin. avail mem=20.91 GB
[2026-11-21 11:41:59] Scheduler hit an exception: Traceback (most recent call last):
  File "/site-packages/sglang/srt/managers/scheduler.py", line 6360, in run_scheduler_process
    scheduler = Scheduler(
ValueError: Loaded weights leave no GPU memory for the KV cache.

[2026-11-21 11:41:59] Received sigquit from a child process. It usually means the child failed.
Traceback (most recent call last):
  File "x.py", line 1
SystemExit: a consequence
"""


@pytest.mark.parametrize("phase", start_phases(), ids=lambda phase: phase.id)
def test_each_phase_is_begun_by_its_own_real_line_and_no_other(phase: Phase) -> None:
    assert phase_of(phase.example) == phase


def test_other_lines_begin_no_phase() -> None:
    assert phase_of("[2026-11-21 11:24:38] Prefill batch, #new-seq: 2, #new-token: 6") is None


def test_the_first_traceback_says_why_not_its_consequences() -> None:
    assert why_it_died(TRACEBACK) == (
        "ValueError: Loaded weights leave no GPU memory for the KV cache."
    )


def test_the_guards_refusal_goes_before_the_traceback_around_it() -> None:
    log = TRACEBACK + "RuntimeError: sgl-embed guard: refusing to serve wrong vectors: max\n"
    assert why_it_died(log) == "sgl-embed guard: refusing to serve wrong vectors: max"


def test_without_a_traceback_the_last_error_line_says_why() -> None:
    log = "sglang serve: error: unrecognized arguments: --max-num-seqs 4\n"
    assert why_it_died(log) == log.strip()


def test_a_silent_death_has_no_line() -> None:
    assert why_it_died("[2026] Load weight begin.\n") == ""


def test_the_last_count_of_a_server_that_drains_is_what_it_has_left() -> None:
    line = "Gracefully exiting... Remaining number of requests {}. Remaining requests []."
    assert requests_left("") is None
    assert requests_left(f"{line.format(12)}\n{line.format(3)}\n") == 3
