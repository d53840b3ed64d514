"""What a log says went wrong: one first cause, whatever else it holds."""

import io
import random
import time
from pathlib import Path

import pytest

from sgl_embed_kit.sglang.diagnosis import BLOCK, LONGEST_LINE, diagnose, root_cause, starts

LOGS = Path(__file__).parent / "logs"
HEALTHY = sorted((LOGS / "healthy").glob("*.log"))
DEATHS = sorted((LOGS / "deaths").glob("*.log"))
UNKNOWN = {"unknown", "killed"}

BEGIN = "[2026-11-21 11:24:25] server_args={'model_path': '/models/minilm'}\n"
WEIGHTS = "[2026-11-21 11:24:36] Load weight begin. avail mem=20.91 GB\n"
GRAPHS = "[2026-11-21 11:24:37] Capture prefill CUDA graph begin. backend=breakable\n"
BOUND = "[2026-11-21 11:24:38] INFO:     Uvicorn running on http://127.0.0.1:30000\n"
READY = "[2026-11-21 11:24:39] The server is fired up and ready to roll!\n"
DIES = "[2026-11-21 11:24:40] Scheduler hit an exception: Traceback (most recent call last):\n"
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
SIGQUIT = (
    "[2026-11-21 11:24:40] Received sigquit from a child process. "
    "It usually means the child failed.\n"
)


def cause_of(*lines: str) -> str | None:
    cause = root_cause(diagnose(io.BytesIO("".join(lines).encode())))
    return cause.problem.id if cause else None


@pytest.mark.parametrize("log", HEALTHY, ids=lambda log: log.stem)
def test_a_healthy_log_matches_no_error_and_no_warning(log: Path) -> None:
    with log.open("rb") as file:
        found = {d.problem.id: d.problem.severity for d in diagnose(file)}
    assert set(found.values()) <= {"info"}


@pytest.mark.parametrize("log", DEATHS, ids=lambda log: log.stem)
def test_a_death_has_its_one_first_cause(log: Path) -> None:
    with log.open("rb") as file:
        cause = root_cause(diagnose(file))
    assert (cause.problem.id if cause else None) == (None if log.stem in UNKNOWN else log.stem)


@pytest.mark.parametrize("log", DEATHS, ids=lambda log: log.stem)
def test_the_cause_stays_when_the_log_is_wrapped_by_others(log: Path) -> None:
    text = log.read_bytes()
    for prefix in (
        b"sglang-1  | ",
        b"2025-07-25T07:53:08.21748708+08:00 stdout F ",
        b"Nov 21 11:24:36 host sglang[4711]: ",
    ):
        wrapped = b"\n".join(prefix + line for line in text.split(b"\n"))
        assert told(wrapped) == told(text)


def told(log: bytes) -> tuple[list[tuple[str, int]], str | None]:
    (start,) = starts(io.BytesIO(log))
    end = start.traceback.end
    return [(d.problem.id, d.number) for d in start.found.values()], end.line if end else None


def test_each_problem_is_told_once_with_its_first_line() -> None:
    log = WEIGHTS + OOM + DIES + OOM.replace("2.00", "4.00")
    found = diagnose(io.BytesIO(log.encode()))
    assert [(d.problem.id, d.number) for d in found] == [
        ("oom-loading", 2),
        ("scheduler-exception", 3),
    ]
    assert "2.00 GiB" in found[0].line


def test_an_oom_means_another_thing_when_the_server_had_been_ready() -> None:
    start = (BEGIN, WEIGHTS)
    assert cause_of(BEGIN, DIES, OOM, SIGQUIT) == "oom-starting"
    assert cause_of(*start, DIES, OOM, SIGQUIT) == "oom-loading"
    assert cause_of(*start, GRAPHS, DIES, OOM, SIGQUIT) == "oom-capturing"
    assert cause_of(*start, BOUND, DIES, OOM, SIGQUIT) == "oom-starting"
    assert cause_of(*start, BOUND, READY, DIES, OOM, SIGQUIT) == "oom-serving"


def test_ready_is_not_believed_of_a_server_that_has_no_port() -> None:
    assert cause_of(BEGIN, WEIGHTS, READY, DIES, OOM, SIGQUIT) == "oom-loading"


def test_what_went_wrong_before_the_server_was_ready_did_not_end_it_after() -> None:
    early = "ModuleNotFoundError: No module named 'flash_attn'\n"
    assert cause_of(BEGIN, early, SIGQUIT) == "module-missing"
    assert cause_of(BEGIN, early, BOUND, READY, DIES, OOM, SIGQUIT) == "oom-serving"
    assert cause_of(BEGIN, early, BOUND, READY) == "module-missing"


def test_a_general_error_gives_way_to_one_that_says_more() -> None:
    more = "Exception: Capture cuda graph failed: CUDA out of memory.\n"
    assert cause_of(BEGIN, GRAPHS, DIES, OOM, more, SIGQUIT) == "decode-graphs-failed"
    assert cause_of(BEGIN, GRAPHS, DIES, OOM, SIGQUIT, more) == "oom-capturing"


def test_an_error_that_says_enough_does_not_give_way() -> None:
    second = "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO)\n"
    assert cause_of(BEGIN, WEIGHTS, DIES, OOM, second) == "oom-loading"
    assert cause_of(BEGIN, DIES, second, OOM) == "nccl-system-error"


def test_it_is_the_last_start_that_went_wrong_which_counts() -> None:
    assert cause_of(BEGIN, DIES, OOM, SIGQUIT, BEGIN, WEIGHTS, BOUND, READY) == "oom-starting"
    refused = "sglang serve: error: unrecognized arguments: --max-num-seqs 4\n"
    usage = "usage: sglang serve [-h] --model-path MODEL_PATH\n"
    assert cause_of(BEGIN, DIES, OOM, SIGQUIT, usage, refused) == "wrong-flag"
    assert cause_of(usage, refused, BEGIN, DIES, OOM, SIGQUIT) == "oom-starting"


def test_where_no_start_went_wrong_it_is_the_last_that_is_told() -> None:
    early = "WARNING: CPU device enabled, using torch native backend, low performance expected.\n"
    log = BEGIN + BEGIN + early + BEGIN
    assert diagnose(io.BytesIO(log.encode())) == []
    (found,) = diagnose(io.BytesIO((log + early).encode()))
    assert found.number == 5


def test_a_traceback_is_an_unknown_death_only_where_a_process_died_of_nothing_known() -> None:
    strange = "Traceback (most recent call last):\n  File\nStrangeError: new\n"
    for lines, unknown in (
        ((BEGIN, strange), None),
        ((BEGIN, strange, SIGQUIT), "StrangeError: new"),
        ((BEGIN, OOM, strange, SIGQUIT), None),
    ):
        (start,) = starts(io.BytesIO("".join(lines).encode()))
        assert (start.unknown.line if start.unknown else None) == unknown


def test_lines_before_a_first_start_belong_to_it() -> None:
    early = "WARNING: CPU device enabled, using torch native backend, low performance expected.\n"
    log = io.BytesIO((early + BEGIN + WEIGHTS).encode())
    assert [d.problem.id for d in diagnose(log)] == ["cpu-engine"]


def test_symptoms_alone_are_no_cause() -> None:
    assert cause_of(BEGIN, DIES, SIGQUIT) is None


def test_all_pieces_must_stand_in_the_line() -> None:
    assert diagnose(io.BytesIO(b"KV pool holds 1024 tokens, enough\n")) == []
    assert diagnose(io.BytesIO(b"KV pool holds 10\nfewer than --context-length 5\n")) == []


def test_what_users_wrote_is_not_taken_for_an_error() -> None:
    line = f"[2026-11-21 11:24:38] Receive: obj=EmbeddingReqInput(text='{OOM.strip()}')\n"
    assert cause_of(line) is None


@pytest.mark.parametrize("at", [BLOCK - 20, BLOCK - 5, BLOCK, BLOCK + 1])
def test_a_line_across_the_edge_of_a_block_is_found(at: int) -> None:
    filler = b"x" * 79 + b"\n"
    log = (filler * (at // len(filler) + 1))[: at - 1] + b"\n" + OOM.encode()
    (found,) = diagnose(io.BytesIO(log))
    assert found.number == log[:at].count(b"\n") + 1


@pytest.mark.parametrize("at", [BLOCK - 200, BLOCK - 60, BLOCK - 1])
def test_a_traceback_across_the_edge_of_a_block_is_followed(at: int) -> None:
    filler = (b"x" * 79 + b"\n") * (at // 80)
    log = filler + DIES.encode() + b'  File "a.py", line 1\n' * 9 + b"StrangeError: new\n"
    (start,) = starts(io.BytesIO(log))
    assert start.traceback.end is not None
    assert start.traceback.end.line == "StrangeError: new"
    assert start.traceback.end.number == log.count(b"\n")


def test_a_line_behind_a_bar_is_told_without_it() -> None:
    bar = "Multi-thread loading shards:  50% Completed | 1/2 [00:01<00:01]\r" * 3
    (found,) = diagnose(io.BytesIO((bar + OOM).encode()))
    assert (found.number, found.line) == (1, OOM.strip())


def test_binary_and_endless_lines_are_searched_and_cost_no_memory() -> None:
    noise = random.Random(0).randbytes(12 * BLOCK).replace(b"\n", b" ").replace(b"\r", b" ")
    log = io.BytesIO(noise + b"RuntimeError: CUDA out of memory." + noise + b"\n\x1b[31mx\n")
    (found,) = diagnose(log)
    assert found.problem.id == "oom-starting"
    assert len(found.line) <= 2 * LONGEST_LINE
    assert found.line.isprintable()


def test_a_log_of_many_megabytes_is_read_through() -> None:
    line = f"[{time.strftime('%F')}] Prefill batch, #new-seq: 4, #new-token: 812\n".encode()
    log = line * 300_000 + b"SGLang only supports sm75 and above.\n"
    (found,) = diagnose(io.BytesIO(log))
    assert (found.problem.id, found.number) == ("gpu-too-old", 300_001)


def test_a_programs_line_that_a_traceback_quotes_is_not_what_it_said() -> None:
    log = (
        b"[2026-11-21] Scheduler hit an exception: Traceback (most recent call last):\n"
        b'  File "x.py", line 1, in load\n'
        b'    raise RuntimeError(f"CUDA out of memory. Tried {bytes}")\n'
        b"RuntimeError: CUDA out of memory. Tried 5\n"
    )
    (found, *_) = [d for d in diagnose(io.BytesIO(log)) if d.problem.severity == "error"]
    assert found.line == "RuntimeError: CUDA out of memory. Tried 5"
    assert found.number == 4
