"""What lines of SGLang's log mean: every entry has its line, and its place in the source."""

import io
import random
import time

import pytest

from sgl_embed_kit.sglang.diagnosis import (
    BLOCK,
    LONGEST_LINE,
    Problem,
    diagnose,
    problem_of,
    problems,
    root_cause,
)
from sgl_embed_kit.sglang.installed import find_installed

every_problem = pytest.mark.parametrize("problem", problems(), ids=lambda problem: problem.id)


@every_problem
def test_its_example_is_taken_for_it_and_for_no_other(problem: Problem) -> None:
    assert problem_of(problem.example) is problem


@every_problem
def test_it_says_what_it_means_and_what_cures_it(problem: Problem) -> None:
    assert problem.severity in {"error", "warn", "info", "symptom"}
    assert problem.means.endswith(".")
    assert problem.cure


@pytest.mark.server
@every_problem
def test_its_pieces_are_in_the_installed_source(problem: Problem) -> None:
    installed = find_installed()
    if installed is None:
        pytest.skip("SGLang is not installed; get it with: make test")
    if problem.source.endswith(".py"):
        text = (installed.package / "srt" / problem.source).read_text(encoding="utf-8")
        assert [piece for piece in problem.contains if piece not in text] == []


def test_ids_are_used_once() -> None:
    assert len({problem.id for problem in problems()}) == len(problems())


def test_each_problem_is_told_once_with_its_first_line() -> None:
    log = b"\n".join(
        [
            b"[2026-11-21 11:24:36] Load weight begin.",
            b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            b"[2026-11-21 11:24:38] Scheduler hit an exception: Traceback",
            b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4.00 GiB.",
        ]
    )
    found = diagnose(io.BytesIO(log))
    assert [(d.problem.id, d.number) for d in found] == [
        ("cuda-out-of-memory", 2),
        ("scheduler-exception", 3),
    ]
    assert "2.00 GiB" in found[0].line


def test_a_symptom_is_not_the_cause() -> None:
    log = b"Scheduler hit an exception: x\nRuntimeError: CUDA out of memory.\n"
    cause = root_cause(diagnose(io.BytesIO(log)))
    assert cause is not None
    assert cause.problem.id == "cuda-out-of-memory"
    assert root_cause(diagnose(io.BytesIO(b"Scheduler hit an exception: x\n"))) is None


def test_all_pieces_must_stand_in_the_line() -> None:
    assert diagnose(io.BytesIO(b"KV pool holds 1024 tokens, enough\n")) == []


@pytest.mark.parametrize("at", [BLOCK - 20, BLOCK - 5, BLOCK, BLOCK + 1])
def test_a_line_across_the_edge_of_a_block_is_found(at: int) -> None:
    filler = b"x" * 79 + b"\n"
    log = (filler * (at // len(filler) + 1))[: at - 1] + b"\nRuntimeError: CUDA out of memory.\n"
    (found,) = diagnose(io.BytesIO(log))
    assert found.number == log[:at].count(b"\n") + 1


def test_binary_and_endless_lines_are_searched_and_cost_no_memory() -> None:
    noise = random.Random(0).randbytes(3 * BLOCK).replace(b"\n", b" ")
    log = io.BytesIO(noise + b"RuntimeError: CUDA out of memory." + noise + b"\n\x1b[31mx\n")
    (found,) = diagnose(log)
    assert found.problem.id == "cuda-out-of-memory"
    assert len(found.line) <= 2 * LONGEST_LINE
    assert found.line.isprintable()


def test_a_log_of_many_megabytes_is_read_through() -> None:
    line = f"[{time.strftime('%F')}] Prefill batch, #new-seq: 4, #new-token: 812\n".encode()
    log = line * 300_000 + b"SGLang only supports sm75 and above.\n"
    (found,) = diagnose(io.BytesIO(log))
    assert (found.problem.id, found.number) == ("gpu-too-old", 300_001)
