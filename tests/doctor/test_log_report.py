"""What a log says, as it is shown."""

import io
import json

from sgl_embed_kit.doctor.log_report import NOTHING, log_as_json, log_as_text
from sgl_embed_kit.sglang.diagnosis import Diagnosis, diagnose

LOG = b"""[2026-11-21 11:24:38] Scheduler hit an exception: Traceback (most recent call last):
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
"""


def found(log: bytes = LOG) -> list[Diagnosis]:
    return diagnose(io.BytesIO(log))


def test_the_likely_cause_is_marked_and_each_line_quoted_with_its_cure() -> None:
    lines = log_as_text(found()).splitlines()
    assert lines[0] == "  symptom line 1"
    assert "  error   line 2  <- the first error" in lines
    assert "          > torch.OutOfMemoryError: CUDA out of memory." in "\n".join(lines)
    assert sum(line.startswith("          cure: ") for line in lines) == 2
    assert max(map(len, lines)) <= 80


def test_a_log_that_tells_nothing_says_so() -> None:
    assert log_as_text([]) == NOTHING
    assert json.loads(log_as_json([])) == {
        "schema": "sgl-embed.log/1",
        "cause": None,
        "problems": [],
    }


def test_json_names_the_cause_and_holds_every_problem() -> None:
    shown = json.loads(log_as_json(found()))
    assert shown["cause"] == "cuda-out-of-memory"
    first, second = shown["problems"]
    assert (first["severity"], first["number"]) == ("symptom", 1)
    assert (second["id"], second["number"]) == ("cuda-out-of-memory", 2)
    assert second["line"].startswith("torch.OutOfMemoryError")
    assert second["means"]
    assert second["cure"]
