"""Context, KV pool, chunks, queue, truncation, timeouts: what the checks find."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from sgl_embed_kit.client import sync
from sgl_embed_kit.doctor.checks import limits
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import Gpu
from tests.doctor.checks.cases import SGLANG, Case, find
from tests.machines import H200, FakeMachine
from tests.model.builders import change_json, small_model

KEEP_ALIVE, WAITING = "SGLANG_TIMEOUT_KEEP_ALIVE", "SGLANG_REQ_WAITING_TIMEOUT"
CUT: dict[str, Any] = {"sglang": {"extra_args": {"allow-auto-truncate": True}}}
ON_GPU: dict[str, Any] = {"hardware": {"device": "cuda"}}
REPO: dict[str, Any] = {"model": {"path": "org/model"}}
QWEN: dict[str, Any] = {"model": {"path": "Qwen/Qwen3-Embedding-0.6B"}}
MINILM: dict[str, Any] = {"model": {"path": "demo:all-minilm-l6-v2"}}


def card(gib: int) -> FakeMachine:
    return FakeMachine(devices=(Gpu("a GPU", gib * 2**30, gib * 2**30 - 2**28),))


CASES: list[Case] = [
    ("SGE-LIM-001", {}, Status.OK, "SGLang refuses a context beyond the model's"),
    (
        "SGE-LIM-001",
        {"machine": FakeMachine(variables={"SGLANG_IS_IN_CI": "Yes"})},
        Status.WARN,
        "SGLANG_IS_IN_CI is set",
    ),
    ("SGE-LIM-002", {}, Status.OK, "16384 tokens = 4.0 x context 4096; 2048 texts at a time"),
    (
        "SGE-LIM-002",
        {**QWEN, **ON_GPU, "limits": {"mem_fraction_static": 0.09}, "machine": card(24)},
        Status.ERROR,
        "fewer than --context-length 32768",
    ),
    (
        "SGE-LIM-002",
        {**QWEN, **ON_GPU, "limits": {"max_total_tokens": 500_000}, "machine": card(24)},
        Status.WARN,
        "max_total_tokens 500000, and room for",
    ),
    ("SGE-LIM-002", REPO, Status.SKIP, "shape is not known"),
    ("SGE-LIM-002", {**QWEN, **ON_GPU}, Status.SKIP, "no GPU"),
    (
        "SGE-LIM-002",
        {"model": {"path": "Qwen/Qwen3-Embedding-8B"}, **ON_GPU, "machine": card(12)},
        Status.SKIP,
        "the plan does not hold for its weights",
    ),
    ("SGE-LIM-003", {}, Status.OK, "chunks of 4096 tokens: SGLang keeps 6.69 GiB of 59.60 GiB"),
    (
        "SGE-LIM-003",
        {**ON_GPU, "machine": card(12), "limits": {"chunked_prefill_size": 8192}},
        Status.ERROR,
        "so that its memory fraction is -0.0",
    ),
    (
        "SGE-LIM-003",
        {**ON_GPU, "machine": card(24)},
        Status.OK,
        "of 24.00 GiB free, memory fraction 0.704",
    ),
    (
        "SGE-LIM-003",
        {**ON_GPU, "machine": card(12), "limits": {"chunked_prefill_size": -1}},
        Status.OK,
        "whole texts; memory fraction 0.5 is given",
    ),
    ("SGE-LIM-003", MINILM, Status.OK, "whole texts; memory fraction 0.5 is given"),
    ("SGE-LIM-003", ON_GPU, Status.SKIP, "no GPU"),
    ("SGE-LIM-004", {}, Status.OK, "as many as fit at a time, any number waiting"),
    (
        "SGE-LIM-004",
        {"limits": {"max_running_requests": 8, "max_queued_requests": 256}},
        Status.OK,
        "8 at a time, 256 waiting",
    ),
    ("SGE-LIM-004", {"limits": {"max_queued_requests": 255}}, Status.WARN, "255 texts may wait"),
    ("SGE-LIM-005", {}, Status.OK, "none is cut"),
    ("SGE-LIM-005", {**CUT, **QWEN}, Status.WARN, "and with it the EOS token"),
    ("SGE-LIM-005", {**CUT, **MINILM}, Status.OK, "made of what is left"),
    ("SGE-LIM-005", {**CUT, **REPO}, Status.SKIP, "pooling is not known"),
    ("SGE-LIM-006", {}, Status.OK, "live 75 s"),
    ("SGE-LIM-006", {"env": {KEEP_ALIVE: "61"}}, Status.OK, "live 61 s"),
    ("SGE-LIM-006", {"env": {KEEP_ALIVE: "60"}}, Status.WARN, f"{KEEP_ALIVE}=60"),
    ("SGE-LIM-006", {"env": {KEEP_ALIVE: "75.5"}}, Status.WARN, f"{KEEP_ALIVE}=75.5"),
    ("SGE-LIM-007", {}, Status.OK, "waited 600 s"),
    ("SGE-LIM-007", {"installed": None}, Status.OK, "waited 600 s"),
    ("SGE-LIM-007", {"env": {WAITING: "0.5"}}, Status.OK, "waited 0.5 s"),
    ("SGE-LIM-007", {"env": {WAITING: "0"}}, Status.WARN, "for ever"),
    ("SGE-LIM-007", {"env": {WAITING: "nan"}}, Status.WARN, "for ever"),
    ("SGE-LIM-007", {"env": {WAITING: "ten"}}, Status.WARN, f"{WAITING}=ten"),
]


@pytest.mark.parametrize("name", limits.LONGER_CONTEXT)
@pytest.mark.parametrize(("value", "status"), [("1", Status.WARN), ("0", Status.OK)])
def test_a_variable_that_disarms_sglangs_own_check_is_named(
    name: str, value: str, status: Status
) -> None:
    finding = find("SGE-LIM-001", FakeMachine(variables={name: value}))
    assert finding.status is status
    if status is Status.WARN:
        assert finding.fix == f"unset {name}"


def test_the_profiles_own_word_on_such_a_variable_stands() -> None:
    machine = FakeMachine(variables={"SGLANG_IS_IN_CI": "true"})
    assert find("SGE-LIM-001", machine, env={"SGLANG_IS_IN_CI": "false"}).status is Status.OK
    finding = find("SGE-LIM-001", env={"SGLANG_IS_IN_CI": "true"})
    assert finding.status is Status.WARN
    assert finding.fix == "env: {SGLANG_IS_IN_CI: '0'}  # in the profile"


def test_the_files_of_a_model_tell_its_pooling(tmp_path: Path) -> None:
    folder = small_model(tmp_path / "m")
    asked: dict[str, Any] = {"model": {"path": str(folder)}, **CUT}
    assert find("SGE-LIM-005", **asked).status is Status.WARN
    change_json(folder / "config.json", architectures=["BertModel"], model_type="bert")
    change_json(
        folder / "1_Pooling" / "config.json",
        pooling_mode_lasttoken=False,
        pooling_mode_mean_tokens=True,
    )
    assert "made of what is left" in find("SGE-LIM-005", **asked).found
    (folder / "config.json").unlink()
    assert find("SGE-LIM-005", **asked).status is Status.SKIP


def test_one_cause_makes_one_error() -> None:
    short: dict[str, Any] = {**QWEN, **ON_GPU, "limits": {"mem_fraction_static": 0.09}}
    assert find("SGE-LIM-002", card(24), **short).status is Status.ERROR
    assert find("SGE-MEM-001", card(24), **short).status is Status.OK
    chunk: dict[str, Any] = {**QWEN, **ON_GPU, "limits": {"chunked_prefill_size": 8192}}
    assert find("SGE-LIM-003", card(12), **chunk).status is Status.ERROR
    assert find("SGE-MEM-001", card(12), **chunk).status is Status.OK


def test_the_cure_of_a_chunk_is_what_sglang_takes_by_itself() -> None:
    limits = {"chunked_prefill_size": 8192}
    finding = find("SGE-LIM-003", card(12), **ON_GPU, limits=limits)
    assert finding.fix == "limits: {chunked_prefill_size: 2048}  # in the profile"
    assert find("SGE-LIM-003", card(12), **ON_GPU).status is Status.OK


def test_a_fraction_of_nothing_is_none() -> None:
    """7451 tokens leave 0.001 of a card of 12 GiB, 7455 no thousandth of it."""
    for tokens, status in ((7451, Status.OK), (7455, Status.ERROR)):
        limits = {"chunked_prefill_size": tokens}
        finding = find("SGE-LIM-003", card(12), **ON_GPU, limits=limits)
        assert (finding.status, "memory fraction is 0" in finding.found) == (status, tokens == 7455)


def test_where_no_chunk_is_small_enough_the_cure_is_a_fraction() -> None:
    finding = find("SGE-LIM-003", card(3), **ON_GPU)
    assert finding.status is Status.ERROR
    assert finding.fix == "limits: {mem_fraction_static: 0.5}  # in the profile"
    assert find("SGE-LIM-003", card(3), **ON_GPU, **yaml.safe_load(finding.fix)).status is Status.OK


def test_a_pool_that_is_just_there_is_no_warning() -> None:
    asked: dict[str, Any] = {**QWEN, **ON_GPU, "limits": {"max_total_tokens": 500_000}}
    finding = find("SGE-LIM-002", card(24), **asked)
    room = yaml.safe_load(finding.fix)["limits"]["max_total_tokens"]
    assert finding.found.endswith(f"room for {room}")
    for tokens, status in ((room, Status.OK), (room + 1, Status.WARN)):
        asked["limits"] = {"max_total_tokens": tokens}
        assert find("SGE-LIM-002", card(24), **asked).status is status


def test_the_cure_of_cutting_is_not_to() -> None:
    fix = find("SGE-LIM-005", **CUT, **QWEN).fix
    assert yaml.safe_load(fix) == {"sglang": {"extra_args": {"allow-auto-truncate": False}}}


def test_the_cures_of_timeouts_are_the_toolkits_own_values() -> None:
    idle = find("SGE-LIM-006", env={KEEP_ALIVE: "5"})
    assert idle.fix == f"env: {{{KEEP_ALIVE}: '75'}}  # in the profile"
    ever = find("SGE-LIM-007", env={WAITING: "-1"}, limits={"max_waiting_seconds": 90})
    assert ever.fix == f"env: {{{WAITING}: '90'}}  # in the profile"


@pytest.mark.parametrize(
    ("version", "status"),
    [("0.5.8", Status.WARN), ("0.5.10.post1", Status.OK), ("0.5.23", Status.OK)],
)
def test_older_releases_let_a_text_wait_for_ever(version: str, status: Status) -> None:
    finding = find("SGE-LIM-007", installed=dataclasses.replace(SGLANG, version=version))
    assert finding.status is status
    assert ("SGLang 0.5.8 knows no" in finding.found) is (status is Status.WARN)


def test_a_large_card_keeps_ten_gib() -> None:
    found = find("SGE-LIM-003", FakeMachine(devices=(H200,)), **ON_GPU).found
    assert "memory fraction 0.9" in found


def test_the_texts_of_a_request_are_the_clients() -> None:
    assert limits.TEXTS_PER_REQUEST == sync.TEXTS_PER_REQUEST
