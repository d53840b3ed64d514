"""The real probe in its real process, on a driver library that the test compiles."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.machine.cuda_probe import SPARE, Probed, probe_cuda
from tests.machine.stubs import CUDA, compiled

MIB = 2**20
GIB = 2**30


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the driver's library, and return its folder."""
    return compiled(tmp_path_factory.mktemp("driver"), libcuda=CUDA)


def probe(
    library: Path, ordinals: tuple[int, ...] = (0,), *, seconds: int = 10, **fake: object
) -> tuple[Probed, ...]:
    settings = {"FREE": 22 * GIB, "LARGEST": 22 * GIB, **fake}
    variables = {f"FAKE_{name}": str(value) for name, value in settings.items()}
    return probe_cuda(ordinals, {"LD_LIBRARY_PATH": str(library), **variables}, seconds)


def test_where_nothing_is_fragmented_all_but_the_spare_is_one_block(library: Path) -> None:
    (one,) = probe(library)
    assert one == Probed(0, "10" * 16, 22 * GIB, 22 * GIB - SPARE, 22 * GIB - SPARE)
    assert one.fragmentation == 0


@pytest.mark.parametrize("largest", [11 * GIB, 3 * GIB, 21 * GIB, 40 * MIB, MIB])
def test_the_largest_block_is_found_by_trying(library: Path, largest: int) -> None:
    (one,) = probe(library, LARGEST=largest)
    assert one.error == ""
    assert one.largest <= largest
    assert largest - one.largest <= max(2 * MIB, one.asked // 1024)
    assert one.fragmentation == pytest.approx(1 - largest / one.asked, abs=0.002)


def test_where_less_than_the_spare_is_free_nothing_is_taken(library: Path) -> None:
    (one,) = probe(library, FREE=SPARE, LARGEST=MIB)
    assert (one.asked, one.largest, one.fragmentation, one.error) == (0, 0, 0.0, "")


def test_each_gpu_is_asked_by_cudas_own_number(library: Path) -> None:
    assert [one.uuid[:2] for one in probe(library, (1, 3))] == ["11", "13"]


def test_no_room_for_a_context_is_told_by_the_drivers_name(library: Path) -> None:
    (one,) = probe(library, CONTEXT=2)
    assert one.error == "cuDevicePrimaryCtxRetain says CUDA_ERROR_OUT_OF_MEMORY (2)"


def test_no_room_for_the_trial_is_told(library: Path) -> None:
    (one,) = probe(library, LARGEST=0)
    assert one.error == "cuMemAlloc_v2 says CUDA_ERROR_OUT_OF_MEMORY (2)"


def test_an_error_of_another_kind_is_not_taken_for_a_full_memory(library: Path) -> None:
    (one,) = probe(library, LARGEST=MIB, ALLOC=999)
    assert one.error == "cuMemAlloc says CUDA_ERROR_UNKNOWN (999)"


def test_memory_that_forgets_is_told(library: Path) -> None:
    (one,) = probe(library, ROTTEN=1)
    assert one.error == "memory does not hold what was written to it"


def test_a_driver_that_finds_no_gpu_is_told_for_each(library: Path) -> None:
    found = probe(library, (0, 1), INIT=100)
    assert {one.error for one in found} == {"cuInit says CUDA_ERROR_NO_DEVICE (100)"}
    assert [one.ordinal for one in found] == [0, 1]


def test_one_gpu_that_fails_leaves_the_others(library: Path) -> None:
    bad, good = probe(library, (9, 0))
    assert "cuDeviceGet says" in bad.error
    assert good.error == ""


def test_a_crash_in_the_driver_is_a_result(library: Path) -> None:
    before, crashed, after = probe(library, (0, 1, 2), CRASH=1)
    assert before.error == ""
    assert crashed.error == "the driver crashed the process that asked it (SIGSEGV)"
    assert after.error == crashed.error


def test_a_driver_that_hangs_is_given_up(library: Path) -> None:
    (one,) = probe(library, seconds=1, HANG=1)
    assert one.error == "no answer within 1 s"


def test_without_a_driver_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_text("no library")
    (one,) = probe(tmp_path)
    assert "libcuda.so.1" in one.error


def test_an_incomplete_driver_is_told(tmp_path: Path) -> None:
    compiled(tmp_path, libcuda="int cuInit(unsigned flags) { return 0; }")
    (one,) = probe(tmp_path)
    assert "cuDeviceGet" in one.error


def test_the_machine_probes_once_for_all_who_ask_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, ...]] = []

    def fake(ordinals: tuple[int, ...], variables: object) -> tuple[Probed, ...]:
        asked.append(ordinals)
        return (Probed(0),)

    monkeypatch.setattr("sgl_embed_kit.machine.machine.probe_cuda", fake)
    machine = RealMachine()
    assert machine.probe_cuda((0,), {}) == machine.probe_cuda((0,), {})
    machine.probe_cuda((1,), {})
    machine.probe_cuda((0,), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert asked == [(0,), (1,), (0,)]


def test_a_driver_that_hangs_keeps_only_the_first_who_asks_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]

    def slow(ordinals: tuple[int, ...], variables: object) -> tuple[Probed, ...]:
        now[0] += 20
        return (Probed(0, error="no answer within 20 s"),)

    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("sgl_embed_kit.machine.machine.time", clock)
    monkeypatch.setattr("sgl_embed_kit.machine.machine.probe_cuda", slow)
    machine = RealMachine()
    machine.probe_cuda((0,), {})
    machine.probe_cuda((0,), {})
    assert now[0] == 1020
    now[0] += 60
    machine.probe_cuda((0,), {})
    assert now[0] == 1100
