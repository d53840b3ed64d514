"""Which GPUs CUDA shows a process."""

import pytest

from sgl_embed_kit.machine import Gpu, Nvidia
from sgl_embed_kit.machine.cuda_drivers import least_driver
from sgl_embed_kit.machine.nvidia import choose

ZERO = Gpu("A", 1, 1, index=0, uuid="GPU-aaaa1111-0000")
ONE = Gpu("B", 1, 1, index=1, uuid="GPU-aaaa2222-0000")
TWO = Gpu("C", 1, 1, index=2, uuid="GPU-bbbb3333-0000")
ALL = (ZERO, ONE, TWO)

PART = Gpu("D MIG 1g", 1, 1, uuid="MIG-cccc4444-0000")
OTHER = Gpu("D MIG 2g", 1, 1, uuid="MIG-cccc5555-0000")
DIVIDED = Gpu("D", None, None, uuid="GPU-dddd6666-0000", mig=True, instances=(PART, OTHER))
EMPTY = Gpu("E", None, None, uuid="GPU-eeee7777-0000", mig=True)


@pytest.mark.parametrize(
    ("setting", "shown", "fault"),
    [
        (None, ALL, ""),
        ("", (), ""),
        (" ", (), ""),
        ("-1", (), ""),
        ("0,1,2", ALL, ""),
        ("2, 1", (TWO, ONE), ""),
        ("0,2,-1,1", (ZERO, TWO), ""),  # the example of NVIDIA's guide
        ("3", (), "there is no GPU '3': 3 here, counted from 0"),
        ("1,3,0", (ONE,), "there is no GPU '3'"),
        ("0,0", (ZERO,), "'0' names a GPU for the second time"),
        ("GPU-bbbb", (TWO,), ""),
        ("GPU-aaaa2222-0000,0", (ONE, ZERO), ""),
        ("GPU-aaaa", (), "'GPU-aaaa' is the beginning of 2 GPUs' UUIDs"),
        ("GPU-ffff", (), "there is no GPU 'GPU-ffff'"),
        ("0,all", (ZERO,), "there is no GPU 'all'"),
        ("0,,1", (ZERO,), "there is no GPU ''"),
    ],
)
def test_it_shows_what_comes_before_the_first_wrong_name(
    setting: str | None, shown: tuple[Gpu, ...], fault: str
) -> None:
    found = choose(ALL, setting)
    assert found.gpus == shown
    assert found.fault.startswith(fault)
    assert bool(found.fault) is bool(fault)


@pytest.mark.parametrize(
    ("setting", "shown", "fault"),
    [
        (None, (PART,), ""),
        ("0", (PART,), ""),
        ("MIG-cccc5555", (OTHER,), ""),
        ("MIG-cccc", (), "'MIG-cccc' is the beginning of 2 GPUs' UUIDs"),
        ("GPU-dddd", (PART,), ""),
        ("1", (), "GPU 1 is in MIG mode and has no instance here"),
        ("MIG-cccc4444,MIG-cccc5555", (PART,), ""),
    ],
)
def test_of_a_divided_gpu_one_instance_is_shown(
    setting: str | None, shown: tuple[Gpu, ...], fault: str
) -> None:
    found = choose((DIVIDED, EMPTY), setting)
    assert (found.gpus, found.fault) == (shown, fault)


def test_the_variable_is_found_among_others() -> None:
    said = Nvidia(ALL)
    assert said.visible({"CUDA_VISIBLE_DEVICES": "1", "HOME": "/"}).gpus == (ONE,)
    assert said.visible({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}).gpus == ALL


@pytest.mark.parametrize(
    ("cuda", "driver"), [((13, 0), "580"), ((13, 4), "580"), ((12, 8), "525"), ((99, 0), None)]
)
def test_a_release_of_cuda_needs_a_driver(cuda: tuple[int, int], driver: str | None) -> None:
    assert least_driver(cuda) == driver
