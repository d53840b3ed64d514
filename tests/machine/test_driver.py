"""The NVIDIA driver as the machine asks it: once for all, by what answers, and not for ever."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgl_embed_kit.machine import Gpu, GpuProcess, Nvidia, RealMachine
from sgl_embed_kit.machine.nvml import read_nvml
from tests.machine.replay import Replay
from tests.machine.stubs import NVML, compiled


def recorded(name: str) -> Nvidia:
    """Return what a recorded driver says."""
    return read_nvml(Replay.of(name))


def test_the_machine_asks_once_for_all_who_ask_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def once() -> Nvidia:
        asked.append(1)
        return recorded("a10-two-busy")

    monkeypatch.setattr("sgl_embed_kit.machine.driver.read_nvml", once)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    machine = RealMachine()
    assert [gpu.index for gpu in machine.gpus()] == [1]
    assert len(machine.nvidia().gpus) == 2
    assert asked == [1]
    monkeypatch.setattr("sgl_embed_kit.machine.machine.FRESH_SECONDS", -1.0)
    machine.gpus()
    assert asked == [1, 1]


def test_a_process_of_this_machine_has_a_name_and_one_of_elsewhere_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replay = Replay.of("a10-two-busy")
    answer = [{"pid": os.getpid(), "usedGpuMemory": 1}, {"pid": 2**22 + 1, "usedGpuMemory": 2}]
    replay.answers["nvmlDeviceGetComputeRunningProcesses(gpu:0)"] = answer
    replay.answers["nvmlDeviceGetGraphicsRunningProcesses(gpu:0)"] = []
    monkeypatch.setattr("sgl_embed_kit.machine.driver.read_nvml", lambda: read_nvml(replay))
    processes = RealMachine().nvidia().gpus[0].processes
    assert processes is not None
    assert processes[0].user
    assert processes[0].command
    assert processes[1] == GpuProcess(2**22 + 1, 2)


def test_without_nvml_the_program_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Nvidia((Gpu("NVIDIA L4", 1, 1),), source="nvidia-smi")
    nowhere = Nvidia(trouble="nvidia-smi: not found")
    monkeypatch.setattr("sgl_embed_kit.machine.driver.read_nvml", lambda: recorded("mismatch"))
    monkeypatch.setattr("sgl_embed_kit.machine.driver.read_nvidia_smi", lambda: there)
    assert RealMachine().nvidia().gpus == there.gpus
    monkeypatch.setattr("sgl_embed_kit.machine.driver.read_nvidia_smi", lambda: nowhere)
    assert "mismatch" in RealMachine().nvidia().trouble


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A driver that never answers; yields a number for each time that it is asked."""
    asked: list[int] = []
    for_ever = threading.Event()

    def never() -> Nvidia:
        asked.append(1)
        for_ever.wait()
        return Nvidia()

    monkeypatch.setattr("sgl_embed_kit.machine.driver.read_nvml", never)
    monkeypatch.setattr("sgl_embed_kit.machine.driver.SECONDS", 0.1)
    yield asked
    for_ever.set()


def test_a_driver_that_never_answers_is_told_as_such(stuck: list[int]) -> None:
    said = RealMachine().nvidia()
    assert said == Nvidia(trouble="NVML: no answer within 0.1 s", is_silent=True)
    assert RealMachine().gpus() == ()


def test_a_driver_that_never_answers_is_waited_for_once(
    stuck: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sgl_embed_kit.machine.machine.FRESH_SECONDS", -1.0)
    machine = RealMachine()
    assert machine.gpus() == machine.gpus() == ()
    assert machine.nvidia().is_silent
    assert stuck == [1]


def test_a_missing_driver_is_not_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sgl_embed_kit.machine.driver.read_nvml", lambda: recorded("mismatch"))
    assert not RealMachine().nvidia().is_silent


def test_what_breaks_while_it_is_asked_is_not_taken_for_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks() -> Nvidia:
        raise ZeroDivisionError

    monkeypatch.setattr("sgl_embed_kit.machine.driver.read_nvml", breaks)
    with pytest.raises(ZeroDivisionError):
        RealMachine().nvidia()


STUCK = """
from sgl_embed_kit.machine import RealMachine, driver
driver.SECONDS = 0.2
print(RealMachine().nvidia().trouble)
"""


def test_a_library_that_never_returns_holds_up_neither_the_answer_nor_the_end(
    tmp_path: Path,
) -> None:
    """With pynvml itself, which is stuck in C and not in Python."""
    init = "int nvmlInitWithFlags(unsigned flags) { "
    source = NVML.replace(f"{init}return 0;", f"{init}for (;;) pause();")
    assert source != NVML
    library = compiled(tmp_path, libnvidia_ml=source)
    done = subprocess.run(
        [sys.executable, "-c", STUCK],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "LD_LIBRARY_PATH": str(library)},
    )
    assert (done.returncode, done.stdout) == (0, "NVML: no answer within 0.2 s\n")
