"""What a log says, as it is shown."""

import io
import json

import pytest

from sgl_embed_kit.doctor.log_report import NOTHING, log_as_json, log_as_text
from sgl_embed_kit.sglang.diagnosis import Start, worst_start
from sgl_embed_kit.sglang.problems import Problem, problems

LOG = b"""[2026-11-21 11:24:38] Scheduler hit an exception: Traceback (most recent call last):
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
"""


def found(log: bytes = LOG) -> Start:
    return worst_start(io.BytesIO(log))


def test_the_likely_cause_is_marked_and_each_line_quoted_with_its_cure() -> None:
    lines = log_as_text(found()).splitlines()
    assert lines[0] == "  symptom line 1"
    assert "  error   line 2  <- the first error" in lines
    assert "          > torch.OutOfMemoryError: CUDA out of memory." in "\n".join(lines)
    assert sum(line.startswith("          cure: ") for line in lines) == 2
    assert max(map(len, lines)) <= 80


def test_a_log_that_tells_nothing_says_so() -> None:
    assert log_as_text(found(b"all is well\n")) == NOTHING
    assert json.loads(log_as_json(found(b"all is well\n"))) == {
        "schema": "sgl-embed.log/1",
        "cause": None,
        "unknown": None,
        "problems": [],
    }


def test_json_names_the_cause_and_holds_every_problem() -> None:
    shown = json.loads(log_as_json(found()))
    assert shown["cause"] == "oom-starting"
    first, second = shown["problems"]
    assert (first["severity"], first["number"]) == ("symptom", 1)
    assert (second["id"], second["number"]) == ("oom-starting", 2)
    assert second["line"].startswith("torch.OutOfMemoryError")
    assert second["means"]
    assert second["cure"]


UNKNOWN = b"""[2026-11-21 11:24:38] Scheduler hit an exception: Traceback (most recent call last):
  File "/x/sglang/launch_server.py", line 1, in <module>
KeyError: 'what nobody knows'
"""


def test_a_death_that_no_rule_knows_is_shown_by_the_end_of_its_traceback() -> None:
    lines = log_as_text(found(UNKNOWN)).splitlines()
    assert "  error   line 3  <- the first error" in lines
    assert "          > KeyError: 'what nobody knows'" in lines
    assert "cure: look at the traceback" in lines[-1]
    shown = json.loads(log_as_json(found(UNKNOWN)))
    assert shown["unknown"] == {"number": 3, "line": "KeyError: 'what nobody knows'"}
    assert shown["cause"] is None


@pytest.mark.parametrize("problem", problems(), ids=lambda problem: problem.id)
def test_a_cure_and_a_report_are_shown_where_there_is_one(problem: Problem) -> None:
    shown = log_as_text(found(f"{problem.example}\n".encode()))
    for diagnosis in found(f"{problem.example}\n".encode()).found.values():
        told = diagnosis.problem
        assert ("cure: " in shown) is (told.cure != "nothing")
        assert (f"see:  {told.upstream}" in shown) is (told.upstream is not None)
