"""Memory against the plan: what the checks find."""

from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import Gpu
from sgl_embed_kit.machine.gpus import known_gpus
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.plan.memory import THREE_PROCESSES
from sgl_embed_kit.profile import load_profile
from tests.doctor.checks.cases import BY_ID, SGLANG, Case, find
from tests.machines import H200, FakeMachine

CASES: list[Case] = [
    ("SGE-MEM-001", {}, Status.OK, "64.0 GB available"),
    (
        "SGE-MEM-001",
        {"machine": FakeMachine(memory=2_000_000_000)},
        Status.ERROR,
        "2.0 GB available",
    ),
    (
        "SGE-MEM-001",
        {"model": {"path": "org/model"}},
        Status.OK,
        "64.0 GB available; 3.0 GB for SGLang alone",
    ),
    (
        "SGE-MEM-001",
        {"hardware": {"device": "cuda"}},
        Status.OK,
        "64.0 GB available; 3.0 GB for SGLang itself",
    ),
    (
        "SGE-MEM-001",
        {"hardware": {"device": "cuda"}, "machine": FakeMachine(devices=(H200,))},
        Status.OK,
        "64.0 GB available; 3.0 GB for SGLang itself",
    ),
]


@pytest.mark.parametrize(("less", "status"), [(0, Status.OK), (1, Status.ERROR)])
def test_memory_that_is_just_enough_is_enough(less: int, status: Status) -> None:
    machine = FakeMachine(memory=THREE_PROCESSES - less)
    assert find("SGE-MEM-001", machine, model={"path": "org/model"}).status is status


LARGE: dict[str, Any] = {
    "model": {"path": "Qwen/Qwen3-Embedding-8B"},
    "hardware": {"device": "cuda"},
    "limits": {"context_length": 32768, "mem_fraction_static": 0.7, "chunked_prefill_size": 4096},
}


@pytest.mark.parametrize(
    ("free", "status", "said"),
    [(80, Status.OK, "SGLang itself"), (30, Status.WARN, "tight"), (20, Status.ERROR, "weights")],
)
def test_the_plan_is_held_against_what_is_free_on_the_gpu(
    free: int, status: Status, said: str
) -> None:
    gpu = Gpu("NVIDIA A100-SXM4-80GB", 80 * 2**30, free * 2**30)
    finding = find("SGE-MEM-001", FakeMachine(devices=(gpu,)), **LARGE)
    assert finding.status is status
    if status is Status.ERROR:
        assert finding.found.startswith(f"{said}: ")
        assert finding.fix
    elif status is Status.WARN:
        assert "less than the" in finding.found


@pytest.mark.parametrize("name", ["minilm-cpu", "tiny-cpu", "06b-cpu"])
@pytest.mark.parametrize("gpu", known_gpus())
def test_what_quickstart_serves_fits_any_known_gpu_that_is_free(name: str, gpu: str) -> None:
    memory = known_gpus()[gpu].memory
    device = Gpu(known_gpus()[gpu].names[0], memory, memory - 600 * 2**20)
    profile = load_profile(name)
    model = profile.model.model_copy(update={"dtype": "auto"})
    hardware = profile.hardware.model_copy(update={"device": "cuda"})
    profile = profile.model_copy(update={"model": model, "hardware": hardware})
    machine = FakeMachine(devices=(device,))
    subject = Subject(profile, locate(profile.model.path), SGLANG, machine)
    assert BY_ID["SGE-MEM-001"].look(subject).status is Status.OK


def test_memory_counts_weights_and_pool_of_a_model_that_is_here(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "m", TinyModel())
    model, limits = {"path": str(tmp_path / "m")}, {"max_total_tokens": 20_000_000}
    # 2 x 2 layers x 2 heads x 32 x 2 bytes = 512 bytes a token: 10.2 GB of pool; 3 GB for
    # the processes, and 50 MB for activations and the table of requests.
    enough = find("SGE-MEM-001", FakeMachine(memory=14_000_000_000), model=model, limits=limits)
    short = find("SGE-MEM-001", FakeMachine(memory=13_000_000_000), model=model, limits=limits)
    assert (enough.status, short.status) == (Status.OK, Status.ERROR)
    assert "13.3 GB for SGLang, weights and KV pool" in short.found


@pytest.mark.parametrize(("memory", "texts"), [(13_000_000_000, 4730), (3_100_000_000, 9)])
def test_the_cure_is_the_largest_pool_of_whole_contexts_that_fits(
    tmp_path: Path, memory: int, texts: int
) -> None:
    make_tiny_model(tmp_path / "m", TinyModel())
    model, machine = {"path": str(tmp_path / "m")}, FakeMachine(memory=memory)
    short = find("SGE-MEM-001", machine, model=model, limits={"max_total_tokens": 20_000_000})
    tokens = texts * 4096
    assert short.fix == f"limits: {{max_total_tokens: {tokens}}}  # in the profile"
    for pool, status in ((tokens, Status.OK), (tokens + 4096, Status.ERROR)):
        limits = {"max_total_tokens": pool}
        assert find("SGE-MEM-001", machine, model=model, limits=limits).status is status


@pytest.mark.parametrize(
    ("memory", "limits", "device"),
    [
        (3_000_000_000, {"max_total_tokens": 20_000_000}, "cpu"),
        (3_081_000_000, {"max_total_tokens": 20_000_000}, "cpu"),
        (2_900_000_000, {"max_total_tokens": 20_000_000}, "cuda"),
        (2_900_000_000, {"mem_fraction_static": 0.5}, "cpu"),
    ],
)
def test_what_no_smaller_pool_cures_is_looked_for_among_the_processes(
    tmp_path: Path, memory: int, limits: dict[str, Any], device: str
) -> None:
    make_tiny_model(tmp_path / "m", TinyModel())
    finding = find(
        "SGE-MEM-001",
        FakeMachine(memory=memory, devices=(H200,) if device == "cuda" else ()),
        model={"path": str(tmp_path / "m")},
        limits=limits,
        hardware={"device": device},
    )
    assert finding.status is Status.ERROR
    assert finding.fix.startswith("ps aux --sort=-rss | head")


def test_a_chunk_that_leaves_nothing_at_all_is_the_other_checks_error() -> None:
    gpu = Gpu("a GPU", 12 * 2**30, 12 * 2**30 - 2**28)
    chunk: dict[str, Any] = {"hardware": {"device": "cuda"}}
    chunk["limits"] = {"chunked_prefill_size": 7455}  # 11.998 of 12 GiB
    other = find("SGE-LIM-003", FakeMachine(devices=(gpu,)), **chunk)
    assert other.found.endswith("so that its memory fraction is 0")
    assert find("SGE-MEM-001", FakeMachine(devices=(gpu,)), **chunk).status is Status.OK
