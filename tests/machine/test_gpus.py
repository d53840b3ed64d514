"""The known GPUs, and which of them a profile may meet."""

import pytest

from sgl_embed_kit.machine.gpus import known_gpus, known_gpus_named, least_memory


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ("Tesla T4", ["T4"]),
        ("NVIDIA L4", ["L4", "L40", "L40S"]),
        ("A10", ["A10", "A10G", "A100-40GB", "A100-80GB"]),
        ("A40", ["A40"]),
        ("A30", ["A30"]),
        ("NVIDIA L40", ["L40", "L40S"]),
        ("GH200", ["GH200"]),
        ("RTX 6000", ["RTX 6000 Ada"]),
        ("a100", ["A100-40GB", "A100-80GB"]),
        ("RTX 4090", ["RTX 4090"]),
        ("H100", ["H100", "H100 NVL"]),
        ("V100", []),
    ],
)
def test_a_part_of_the_name_stands_for_every_gpu_that_has_it(part: str, keys: list[str]) -> None:
    assert list(known_gpus_named(part)) == keys


def test_no_two_gpus_have_a_name_in_common() -> None:
    names = [name for gpu in known_gpus().values() for name in gpu.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("key", known_gpus())
def test_memory_is_that_of_a_gpu_in_mebibytes(key: str) -> None:
    gpu = known_gpus()[key]
    assert 8 * 2**30 < gpu.memory < 300 * 2**30
    assert gpu.memory == gpu.memory_mib * 2**20


def test_only_the_t4_lacks_bfloat16() -> None:
    assert [key for key, gpu in known_gpus().items() if not gpu.has_bfloat16] == ["T4"]


def test_the_least_memory_of_a_name_is_its_smallest_gpus_less_a_tenth() -> None:
    smallest = known_gpus()["A10"].memory
    assert least_memory("A10") == smallest * 9 // 10
    assert least_memory("V100") is None
