"""A GPU's memory: what the checks find."""

import dataclasses
from typing import Any

import pytest

from sgl_embed_kit.doctor.checks.gpu_memory import unseen_memory
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import Gpu, GpuProcess
from sgl_embed_kit.machine.cuda_probe import Probed
from sgl_embed_kit.plan.memory import driver_bytes
from tests.doctor.checks.cases import Case, find
from tests.machines import FakeMachine, healthy_gpu

GIB = 2**30
MIB = 2**20
CUDA = {"device": "cuda"}
A10 = healthy_gpu("NVIDIA A10")
EMPTY = A10.memory_free or 0
SMALL = {"model": {"path": "Qwen/Qwen3-Embedding-0.6B"}}
LIMITS = {"context_length": 8192, "mem_fraction_static": 0.55, "chunked_prefill_size": 4096}


def held(*holders: GpuProcess, unseen: int = 0, **changes: Any) -> Gpu:
    """Return an A10 of which these hold memory, and nobody who is seen holds some more."""
    taken = sum(one.memory or 0 for one in holders) + unseen
    return dataclasses.replace(A10, memory_free=EMPTY - taken, processes=holders, **changes)


def on(gpu: Gpu, *probed: Probed, **options: Any) -> dict[str, Any]:
    machine = FakeMachine(devices=(gpu,), probed=probed or None)
    return {"hardware": CUDA, "machine": machine, "limits": LIMITS, **SMALL, **options}


def block(largest: int, free: int = 20 * GIB, **more: Any) -> Probed:
    return Probed(0, "", free, free, largest, **more)


SERVER = GpuProcess(4242, 18 * GIB, "alice", "sglang::scheduler")
DESKTOP = GpuProcess(900, 300 * MIB, "root", "Xorg")

CASES: list[Case] = [
    ("SGE-VRAM-001", {}, Status.OK, "no GPU is asked for"),
    ("SGE-VRAM-001", on(A10), Status.OK, "21.90 GiB of 22.49 GiB are free; "),
    ("SGE-VRAM-001", on(held(DESKTOP)), Status.OK, "pid 900 (root, Xorg) holds 0.29 GiB"),
    ("SGE-VRAM-001", on(held(SERVER)), Status.WARN, "pid 4242 (alice, sglang::scheduler) holds 18"),
    ("SGE-VRAM-001", on(held(unseen=18 * GIB)), Status.WARN, "18.00 GiB are held by nobody"),
    ("SGE-VRAM-001", on(held(unseen=2 * GIB)), Status.INFO, "2.00 GiB are held by nobody"),
    ("SGE-VRAM-001", on(held(unseen=512 * MIB)), Status.INFO, "0.50 GiB are held by nobody"),
    ("SGE-VRAM-001", on(held(unseen=500 * MIB)), Status.OK, "are free"),
    ("SGE-VRAM-001", on(dataclasses.replace(A10, memory_free=None)), Status.SKIP, "not tell"),
    ("SGE-VRAM-001", {"hardware": CUDA}, Status.SKIP, "no GPU"),
    ("SGE-VRAM-002", {}, Status.OK, "no GPU is asked for"),
    ("SGE-VRAM-002", on(A10, block(20 * GIB)), Status.OK, "fragmentation 1 - 1.00 = 0.00"),
    ("SGE-VRAM-002", on(A10, block(18 * GIB)), Status.OK, "fragmentation 1 - 0.90 = 0.10"),
    ("SGE-VRAM-002", on(A10, block(15 * GIB)), Status.WARN, "one block of 15.00 GiB can be had"),
    ("SGE-VRAM-002", on(A10, Probed(0, error="cuInit")), Status.SKIP, "gives no context: cuInit"),
    ("SGE-VRAM-002", on(A10, Probed(0, "", 9 * MIB)), Status.SKIP, "9.0 MiB are free, too little"),
    ("SGE-VRAM-002", {"hardware": CUDA}, Status.SKIP, "no GPU"),
]


def test_what_nobody_holds_is_the_rest_of_the_sum() -> None:
    assert unseen_memory(A10) == 0
    assert unseen_memory(held(SERVER, DESKTOP)) == 0
    assert unseen_memory(held(SERVER, unseen=3 * GIB)) == 3 * GIB


def test_where_the_drivers_own_share_is_not_told_it_is_estimated() -> None:
    gpu = held(unseen=5 * GIB, memory_reserved=None)
    assert gpu.memory_total is not None
    assert gpu.memory_free is not None
    used = gpu.memory_total - gpu.memory_free
    assert unseen_memory(gpu) == used - driver_bytes(gpu.memory_total)


def test_a_share_that_is_not_told_may_be_all_of_it() -> None:
    secret = GpuProcess(77)
    gpu = held(secret, unseen=5 * GIB)
    assert unseen_memory(gpu) == 0
    found = find("SGE-VRAM-001", **on(gpu))
    assert "pid 77 (not of this container) holds memory" in found.found


def test_only_the_largest_holders_are_named() -> None:
    many = [GpuProcess(pid, pid * MIB, "bob", "python") for pid in range(101, 107)]
    found = find("SGE-VRAM-001", **on(held(*many))).found
    assert [pid for pid in range(101, 107) if f"pid {pid} " in found] == [103, 104, 105, 106]
    assert found.index("pid 106") < found.index("pid 105")


def test_the_cure_is_for_who_holds_most() -> None:
    assert find("SGE-VRAM-001", **on(held(SERVER))).fix == "kill 4242  # if it is yours"
    both = dataclasses.replace(SERVER, memory=9 * GIB)
    assert find("SGE-VRAM-001", **on(held(both, unseen=9 * GIB))).fix.startswith("kill 4242")
    elsewhere = find("SGE-VRAM-001", **on(held(DESKTOP, unseen=18 * GIB))).fix
    assert elsewhere.startswith("nvidia-smi  # on the machine itself")


def test_a_profile_that_would_not_fit_an_empty_gpu_is_no_fault_of_others() -> None:
    large: dict[str, Any] = {"model": {"path": "Qwen/Qwen3-Embedding-8B"}, "hardware": CUDA}
    machine = FakeMachine(devices=(held(DESKTOP),))
    found = find("SGE-VRAM-001", machine, **large, limits={**LIMITS, "mem_fraction_static": 0.5})
    assert found.status is Status.OK


@pytest.mark.parametrize(
    ("fraction", "taken", "status"),
    [(0.65, GIB, Status.INFO), (0.65, 2 * GIB, Status.WARN), (0.7, 2 * GIB, Status.INFO)],
)
def test_a_plan_that_only_others_make_tight_is_a_warning(
    fraction: float, taken: int, status: Status
) -> None:
    limits = {**LIMITS, "mem_fraction_static": fraction}
    finding = find("SGE-VRAM-001", **on(held(unseen=taken), limits=limits))
    assert finding.status is status
    memory = find("SGE-MEM-001", **on(held(unseen=taken), limits=limits))
    assert memory.status is (Status.OK if taken == GIB else Status.WARN)
    assert "a full chunk may run out of memory" in memory.found or taken == GIB


def test_without_a_known_model_it_still_tells_who_holds_what() -> None:
    found = find("SGE-VRAM-001", **on(held(SERVER), model={"path": "someone/unknown"}))
    assert found.status is Status.OK
    assert "pid 4242" in found.found


def test_what_a_context_takes_is_in_the_arithmetic() -> None:
    found = find("SGE-VRAM-002", **on(A10, block(EMPTY - 700 * MIB, EMPTY - 700 * MIB))).found
    assert found.endswith("A CUDA context takes 0.68 GiB")


@pytest.mark.parametrize("free", [None, EMPTY, EMPTY - 1])
def test_what_a_context_takes_is_left_out_where_it_cannot_be_told(free: int | None) -> None:
    gpu = dataclasses.replace(A10, memory_free=free)
    finding = find("SGE-VRAM-002", **on(gpu, block(EMPTY, EMPTY)))
    assert finding.status is Status.OK
    assert "context" not in finding.found


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({}, "limits: {mem_fraction_static: 0.41}  # in the profile"),
        ({"limits": {}}, "limits: {chunked_prefill_size: 2048}  # in the profile"),
        (
            {"env": {"PYTORCH_ALLOC_CONF": "max_split_size_mb:128"}},
            "env: {PYTORCH_ALLOC_CONF: 'expandable_segments:True'}  # in the profile",
        ),
        ({"parallel": {"tensor": 2}}, "limits: {mem_fraction_static: 0.41}  # in the profile"),
    ],
)
def test_the_cure_of_fragmentation_is_one_that_is_not_in_place_yet(
    options: dict[str, Any], fix: str
) -> None:
    assert find("SGE-VRAM-002", **on(A10, block(15 * GIB), **options)).fix == fix
