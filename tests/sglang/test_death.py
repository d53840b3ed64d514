"""Why a server died: its log, its status and the system's own record together."""

import io
from pathlib import Path

import pytest

from sgl_embed_kit.machine.oom import OomEvent
from sgl_embed_kit.sglang.death import Death, explain_death
from sgl_embed_kit.sglang.log import IMPORTING, start_phases
from tests.sglang.test_diagnosis import (
    BEGIN,
    BOUND,
    DEATHS,
    DIES,
    HEALTHY,
    LOGS,
    OOM,
    READY,
    SIGQUIT,
    UNKNOWN,
    WEIGHTS,
)

KILL = OomEvent(1, limit=8 * 2**30, line="Memory cgroup out of memory: Killed process 5034 (py)")
DIED = "RuntimeError: Rank 0 scheduler died during initialization (exit code: {}).\n"
CRASHED = "[2026] Subprocess scheduler_0 (pid=7) crashed with exit code {}. Triggering SIGQUIT\n"
STRANGE = DIES + '  File "a.py", line 1, in b\n    c()\nStrangeError: never seen\n'


def explain(
    *lines: str,
    status: int | None = -9,
    was_ready: bool = False,
    killed: OomEvent | None = None,
) -> Death:
    return explain_death(io.BytesIO("".join(lines).encode()), status, was_ready, killed)


@pytest.mark.parametrize("log", DEATHS, ids=lambda log: log.stem)
def test_a_real_death_is_explained_with_a_line_of_its_log(log: Path) -> None:
    with log.open("rb") as file:
        death = explain_death(file, -9, False, None)
    text = log.read_bytes().decode().split("\n")  # with the returns of bars
    assert death.line in text[death.line_number - 1]
    assert death.line
    assert death.what.endswith(".")
    assert death.why.endswith(".")
    assert (death.upstream or "https://github.com/").startswith("https://github.com/")


@pytest.mark.parametrize("log", HEALTHY, ids=lambda log: log.stem)
def test_a_healthy_log_explains_no_death(log: Path) -> None:
    with log.open("rb") as file:
        death = explain_death(file, -11, True, None)
    assert death.what == "A process of the server ended with a segmentation fault."
    assert death.line == ""


def test_the_cure_names_the_number_that_the_line_names() -> None:
    with (LOGS / "deaths" / "weights-fill-memory.log").open("rb") as file:
        death = explain_death(file, -9, False, None)
    assert death.cure == "limits: {mem_fraction_static: 0.007}  # in the profile; or above"
    assert not death.heals
    with (LOGS / "deaths" / "context-above-model.log").open("rb") as file:
        death = explain_death(file, 1, False, None)
    assert death.cure == "limits: {context_length: 4096}  # in the profile"


def test_an_unknown_death_shows_the_end_of_its_traceback_and_where_the_log_is(
    tmp_path: Path,
) -> None:
    file = tmp_path / "server.log"
    file.write_text(BEGIN + STRANGE + SIGQUIT)
    with file.open("rb") as log:
        death = explain_death(log, -9, False, None, log_file=file)
    assert (death.line, death.line_number) == ("StrangeError: never seen", 5)
    assert death.cure == f"less {file}"
    assert not death.heals
    assert explain(BEGIN, STRANGE).cure == "sgl-embed doctor --log FILE"
    assert explain(BEGIN, STRANGE, was_ready=True).heals


def test_of_several_tracebacks_it_is_that_of_the_process_which_died_first() -> None:
    request = "Traceback (most recent call last):\n  File\nValueError: a bad request\n"
    other = STRANGE.replace("never seen", "of another rank")
    serving = (BEGIN, BOUND, READY)
    assert "never seen" in explain(*serving, request, STRANGE, other, was_ready=True).line
    assert "never seen" in explain(BEGIN, request, STRANGE).line
    assert "bad request" in explain(BEGIN, request, "x\n").line
    assert "bad request" in explain(BEGIN, request, request.replace("bad", "second")).line
    later = request.replace("bad", "later")
    assert "later" in explain(*serving, request, later, was_ready=True).line


@pytest.mark.parametrize(
    "between",
    [
        "During handling of the above exception, another exception occurred:",
        "The above exception was the direct cause of the following exception:",
    ],
)
def test_of_exceptions_one_over_the_other_it_is_the_last(between: str) -> None:
    over = f"\n{between}\n\nTraceback (most recent call last):\n  File\nTypeError: over it\n"
    assert explain(BEGIN, STRANGE, over).line == "TypeError: over it"


def test_an_oom_is_told_by_whether_the_server_had_been_ready() -> None:
    early = explain(BEGIN, WEIGHTS, DIES, OOM, SIGQUIT)
    late = explain(BEGIN, WEIGHTS, DIES, OOM, SIGQUIT, was_ready=True)
    assert early.what == "The GPU's memory was used up while the weights were loaded."
    assert late.what == "The GPU's memory was used up by the texts of one batch."
    assert (early.heals, late.heals) == (False, True)
    assert "mem_fraction_static: 0.5" in late.cure


def test_the_launcher_knows_better_than_a_log_that_says_ready() -> None:
    death = explain(BEGIN, BOUND, READY, DIES, OOM, was_ready=False)
    assert death.what == "The GPU's memory was used up before the server was ready."


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((BEGIN, WEIGHTS), -9),
        ((BEGIN, WEIGHTS), 137),
        ((BEGIN, DIED.format(-9)), 1),
        ((BEGIN, CRASHED.format(-9), SIGQUIT), -9),
        ((BEGIN, CRASHED.format(-9), STRANGE), -9),
        ((BEGIN, CRASHED.format(-9), OOM), -9),
        ((BEGIN, SIGQUIT), -9),
    ],
)
def test_a_kill_of_the_system_is_told_where_it_left_evidence(
    lines: tuple[str, ...], status: int
) -> None:
    death = explain(*lines, status=status, killed=KILL)
    assert death.what.startswith("The system ended the server for want of memory")
    assert "8.00 GiB" in death.why
    assert (death.line, death.line_number) == (KILL.line, 0)
    assert not death.heals
    assert explain(*lines, status=status, killed=KILL, was_ready=True).heals


def test_without_the_systems_own_words_the_line_of_the_log_is_shown() -> None:
    death = explain(BEGIN, DIED.format(-9), status=1, killed=OomEvent(2))
    assert death.line_number == 2
    assert "exit code: -9" in death.line
    assert "GiB" not in death.why
    assert "ended 2 of" in death.why


@pytest.mark.parametrize(
    ("lines", "status", "what"),
    [
        ((BEGIN, DIES, OOM, CRASHED.format(-9)), -9, "The GPU's memory was used up before"),
        ((BEGIN, DIED.format(-11)), 1, "A process of the server ended with a segmentation"),
        ((BEGIN, WEIGHTS), 1, "The server ended with status 1 and without saying why."),
        ((BEGIN, STRANGE), 1, "The server ended with an error that nothing is known of."),
    ],
)
def test_a_kill_of_something_else_does_not_hide_the_cause(
    lines: tuple[str, ...], status: int, what: str
) -> None:
    assert explain(*lines, status=status, killed=KILL).what.startswith(what)


@pytest.mark.parametrize(
    ("lines", "status", "what"),
    [
        ((DIED.format(-9),), 1, "A process of the server was killed by signal 9, from outside."),
        ((CRASHED.format(-7), SIGQUIT), -9, "A process of the server was ended by a bus error."),
        ((SIGQUIT,), -9, "A process of the server ended without saying why."),
        ((), -9, "A process of the server was killed by signal 9, from outside."),
        ((), -15, "The server was ended by SIGTERM."),
        ((), 143, "The server was ended by SIGTERM."),
        ((), -6, "A process of the server aborted."),
        ((), 134, "A process of the server aborted."),
        ((), 0, "The server ended as if all was well, although nobody asked it to."),
        ((), 9, "The server ended with status 9 and without saying why."),
        ((), -30, "The server ended with status -30 and without saying why."),
    ],
)
def test_where_nothing_else_is_known_the_first_processs_status_tells(
    lines: tuple[str, ...], status: int, what: str
) -> None:
    assert explain(BEGIN, *lines, status=status).what == what


def test_a_traceback_that_is_a_symptom_is_no_unknown_error() -> None:
    raised = "Traceback (most recent call last):\n  File\n" + DIED.format(-11)
    death = explain(BEGIN, raised, status=1)
    assert death.what == "A process of the server ended with a segmentation fault."
    assert death.line_number == 4


def test_a_start_that_hangs_is_told_by_its_last_phase_and_line() -> None:
    death = explain(BEGIN, WEIGHTS, "shard 1\n", "\n", status=None)
    weights = next(phase for phase in start_phases() if phase.id == "weights")
    assert death.what == "The server is not ready in time; its last phase was: Loading weights."
    assert (death.line, death.line_number) == ("shard 1", 3)
    assert (death.why, death.cure) == (weights.hangs, weights.look)
    assert explain("", status=None).why == IMPORTING.hangs


def test_a_start_that_hangs_after_an_error_is_told_by_the_error() -> None:
    assert explain(BEGIN, OOM, status=None).what.startswith("The GPU's memory was used up")


def test_a_server_that_answers_no_more_is_told_by_what_its_start_foretold() -> None:
    serving = (BEGIN, BOUND, READY, "[2026] Prefill batch, #new-seq: 1\n")
    death = explain(*serving, status=None, was_ready=True)
    assert death.what == "The server lives and answers nothing."
    assert death.line == "[2026] Prefill batch, #new-seq: 1"
    pool = "KV pool holds 1024 tokens, fewer than --context-length 2048.\n"
    death = explain(BEGIN, pool, *serving[1:], status=None, was_ready=True)
    assert death.cure == "limits: {context_length: 1024}  # in the profile; or less"
    assert death.heals


def test_only_the_last_start_of_a_log_is_explained() -> None:
    death = explain(BEGIN, DIES, OOM, SIGQUIT, BEGIN, STRANGE)
    assert death.line == "StrangeError: never seen"


def test_the_killed_and_the_unknown_of_the_saved_logs() -> None:
    found = {}
    for name in UNKNOWN:
        with (LOGS / "deaths" / f"{name}.log").open("rb") as file:
            found[name] = explain_death(file, -9, name == "killed", None)
    assert found["unknown"].line == (
        "AssertionError: Fp8LinearMethod on CPU requires that CPU has AMX support"
    )
    assert found["killed"].what == ("A process of the server was killed by signal 9, from outside.")
    assert "crashed with exit code -9" in found["killed"].line
