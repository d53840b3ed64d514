"""The engine: GPUs, or the CPU's stand-in: what the checks find."""

import dataclasses
from typing import Any

import pytest
import yaml

from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import Gpu
from sgl_embed_kit.machine.gpus import least_memory
from tests.doctor.checks.cases import SGLANG, Case, find
from tests.machines import H200, FakeMachine

CASES: list[Case] = [
    ("SGE-ENG-001", {}, Status.OK, "stand-in for sgl_kernel"),
    (
        "SGE-ENG-001",
        {"installed": dataclasses.replace(SGLANG, kernels="")},
        Status.OK,
        "with the installed sgl_kernel",
    ),
    (
        "SGE-ENG-001",
        {"machine": FakeMachine(devices=(H200,))},
        Status.ERROR,
        "sgl_kernel cannot be loaded (no driver)",
    ),
    ("SGE-ENG-001", {"hardware": {"device": "cuda"}}, Status.ERROR, "no NVIDIA GPU"),
    (
        "SGE-ENG-001",
        {"hardware": {"device": "cuda"}, "machine": FakeMachine(devices=(H200,))},
        Status.OK,
        "GPU: NVIDIA H200",
    ),
    (
        "SGE-ENG-001",
        {"hardware": {"device": "cuda", "gpu": "A10"}, "machine": FakeMachine(devices=(H200,))},
        Status.WARN,
        "GPU: NVIDIA H200",
    ),
    (
        "SGE-ENG-001",
        {
            "hardware": {"device": "cuda", "gpu": "A10"},
            "machine": FakeMachine(devices=(Gpu("NVIDIA A10", 24_146_608_128, 23_000_000_000),)),
        },
        Status.OK,
        "GPU: NVIDIA A10",
    ),
    (
        "SGE-ENG-001",
        {"machine": FakeMachine(devices=(H200,)), "installed": None},
        Status.ERROR,
        "sgl_kernel cannot be loaded (SGLang is not here)",
    ),
]


def test_a_gpu_with_the_least_memory_of_its_name_is_the_one_expected() -> None:
    least = least_memory("A10")
    assert least is not None
    hardware = {"device": "cuda", "gpu": "A10"}
    for memory, status in ((least, Status.OK), (least - 1, Status.WARN)):
        machine = FakeMachine(devices=(Gpu("NVIDIA A10", memory, memory),))
        assert find("SGE-ENG-001", machine, hardware=hardware).status is status


def test_fewer_gpus_than_the_profile_needs_is_an_error() -> None:
    hardware = {"device": "cuda", "gpus": 2}
    one, two = FakeMachine(devices=(H200,)), FakeMachine(devices=(H200, H200))
    short = find("SGE-ENG-001", one, hardware=hardware)
    assert (short.status, short.needed) == (Status.ERROR, "2 GPUs, as the profile says")
    edits = ("hardware: {gpus: 1}", "parallel: {tensor: 1, data: 1}")
    assert short.fix == "\n".join(f"{edit}  # in the profile" for edit in edits)
    assert find("SGE-ENG-001", two, hardware=hardware).status is Status.OK


@pytest.mark.parametrize(
    ("extra", "here", "needed"),
    [
        ({"base-gpu-id": 1}, 1, "2 GPUs: with base-gpu-id 1 and gpu-id-step 1 the server takes n"),
        ({"base-gpu-id": 1}, 2, ""),
        ({"gpu-id-step": 2}, 2, ""),
        ({"base-gpu-id": 2, "gpu-id-step": 2}, 2, "3 GPUs: with base-gpu-id 2 and gpu-id-step 2"),
    ],
)
def test_a_server_that_counts_beyond_the_last_gpu_is_an_error(
    extra: dict[str, int], here: int, needed: str
) -> None:
    machine = FakeMachine(devices=(H200,) * here)
    options: dict[str, Any] = {"hardware": {"device": "cuda"}, "sglang": {"extra_args": extra}}
    finding = find("SGE-ENG-001", machine, **options)
    assert finding.status is (Status.ERROR if needed else Status.OK)
    assert finding.needed.startswith(needed)
    if needed:
        edit = yaml.safe_load(finding.fix)
        assert find("SGE-ENG-001", machine, **{**options, **edit}).status is Status.OK


@pytest.mark.parametrize(
    ("name", "memory", "status"),
    [
        ("NVIDIA GeForce RTX 4090", 24564, Status.OK),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, Status.WARN),
    ],
)
def test_a_gpu_of_the_right_name_with_less_memory_is_not_the_one_expected(
    name: str, memory: int, status: Status
) -> None:
    machine = FakeMachine(devices=(Gpu(name, memory * 2**20, memory * 2**20),))
    finding = find("SGE-ENG-001", machine, hardware={"device": "cuda", "gpu": "RTX 4090"})
    assert finding.status is status
    if status is Status.WARN:
        assert "with 15.99 GiB" in finding.found
        assert "RTX 4090, which the profile's numbers are for, with 21.59 GiB" in finding.needed
        assert finding.fix
