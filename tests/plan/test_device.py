"""Which device a plan is for."""

from __future__ import annotations

import pytest

from sgl_embed_kit.errors import UsageError
from sgl_embed_kit.machine import Gpu, RealMachine
from sgl_embed_kit.machine.gpus import known_gpus
from sgl_embed_kit.plan.device import device_for, device_of, named_gpu
from sgl_embed_kit.plan.memory import GIB, driver_bytes, free_for_server
from sgl_embed_kit.profile import Profile
from tests.machines import H200, FakeMachine

MIB = 2**20


def profile(**sections: object) -> Profile:
    return Profile.model_validate({"model": {"path": "org/model"}, **sections})


@pytest.mark.parametrize(
    ("text", "name", "memory"),
    [
        ("A10", "A10", 23028 * MIB),
        ("a10", "A10", 23028 * MIB),
        ("A100", "A100-40GB", 40960 * MIB),  # the smallest of the name
        ("GeForce RTX 4090", "RTX 4090", 24564 * MIB),
        ("H100", "H100", 81559 * MIB),
        ("24GiB", "24GiB GPU", 24 * GIB),
        ("24 gb", "24 gb GPU", 24 * 10**9),
        ("1.5GiB", "1.5GiB GPU", 3 * GIB // 2),
        ("16384MiB", "16384MiB GPU", 16 * GIB),
    ],
)
def test_a_gpu_is_named_by_its_name_a_part_of_it_or_its_size(
    text: str, name: str, memory: int
) -> None:
    device = named_gpu(text)
    assert (device.name, device.memory, device.free) == (name, memory, None)


@pytest.mark.parametrize("text", ["V100", "", "24", "0GiB", "-24GiB", "24GiB2", "1MiB"])
def test_what_is_neither_a_known_name_nor_a_size_is_refused_with_what_is_known(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        named_gpu(text)
    assert "A10" in refused.value.why
    assert refused.value.cure


def test_only_a_gpu_without_bfloat16_lacks_it() -> None:
    assert not named_gpu("T4").has_bfloat16
    assert named_gpu("A10").has_bfloat16


def test_a_gpu_of_this_machine_comes_before_the_one_that_the_profile_expects() -> None:
    device = device_for(profile(hardware={"gpu": "A10"}), FakeMachine(devices=(H200,)), None)
    assert (device.name, device.memory, device.free) == (
        H200.name,
        H200.memory_total,
        H200.memory_free,
    )


def test_without_a_gpu_it_is_the_smallest_that_the_profile_expects() -> None:
    device = device_for(profile(hardware={"gpu": "A100"}), FakeMachine(), None)
    assert (device.name, device.free) == ("A100-40GB", None)


@pytest.mark.parametrize("hardware", [{}, {"gpu": "V100"}])
def test_with_no_gpu_to_go_by_a_sentence_says_what_to_pass(hardware: dict[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        device_for(profile(hardware=hardware), FakeMachine(), None)
    assert "--gpu" in refused.value.cure


def test_the_cpu_is_planned_with_its_ram() -> None:
    machine = FakeMachine(memory=7, total=9, devices=(H200,))
    device = device_for(profile(hardware={"device": "cpu"}), machine, None)
    assert (device.is_cpu, device.memory, device.free) == (True, 9, 7)


def test_of_several_gpus_the_fullest_counts_and_only_those_that_the_server_takes() -> None:
    gpus = tuple(Gpu("NVIDIA A10", 24 * GIB, free * GIB) for free in (9, 20, 10, 1))
    wanted = profile(
        hardware={"gpus": 2},
        parallel={"tensor": 2},
        sglang={"extra_args": {"base-gpu-id": 1}},
    )
    device = device_for(wanted, FakeMachine(devices=gpus), None)
    assert device.free == 10 * GIB


@pytest.mark.parametrize(
    ("name", "capability", "has_bfloat16"),
    [
        ("Quadro RTX 6000", (7, 5), False),
        ("NVIDIA A30", (8, 0), True),
        ("NVIDIA A30", None, True),
        ("Tesla T4", None, False),
    ],
)
def test_a_gpus_kind_is_the_drivers_word_else_what_is_known_of_its_name(
    name: str, capability: tuple[int, int] | None, has_bfloat16: bool
) -> None:
    gpu = Gpu(name, 24 * GIB, 24 * GIB, compute_capability=capability)
    assert device_of(gpu).has_bfloat16 is has_bfloat16


@pytest.mark.gpu
def test_what_torch_finds_free_on_a_gpu_is_what_the_plan_expects() -> None:
    import torch

    gpu = RealMachine().gpus()[0]
    assert gpu.memory_total is not None
    assert gpu.memory_free is not None
    planned = free_for_server(gpu.memory_total, gpu.memory_free)
    taken = torch.empty(GIB, dtype=torch.uint8, device="cuda")
    free, _ = torch.cuda.mem_get_info()
    assert free + taken.numel() >= planned
    assert free + taken.numel() <= planned + driver_bytes(gpu.memory_total)
    now = RealMachine().gpus()[0].memory_free
    assert now is not None
    assert now <= gpu.memory_free - taken.numel()
    known = [known for known in known_gpus().values() if gpu.name in known.names]
    assert not known or abs(known[0].memory - gpu.memory_total) < known[0].memory // 10
