"""NVML's answers as recordings have them, and against CUDA on a real GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.machine import Gpu, GpuProcess, Nvidia, RealMachine
from sgl_embed_kit.machine.nvml import read_nvml
from tests.machine.replay import FROM_THE_DOCUMENTATION, RECORDINGS, Replay
from tests.machine.stubs import NVML, compiled

GIB = 2**30
MIB = 2**20


def read(name: str) -> Nvidia:
    return read_nvml(Replay.of(name))


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_recording_is_read_and_says_where_it_is_from(path: Path) -> None:
    recording = json.loads(path.read_text(encoding="utf-8"))
    assert recording["origin"] in {FROM_THE_DOCUMENTATION, "recorded"}
    replay = Replay(recording)
    said = read_nvml(replay)
    assert bool(said.source) is not said.trouble.startswith("NVML")
    assert replay.is_open == 0


def test_a_gpu_at_rest_tells_everything() -> None:
    said = read("h200")
    assert (said.driver, said.cuda, said.source, said.trouble) == (
        "580.95.05",
        (13, 0),
        "NVML",
        "",
    )
    assert said.gpus == (
        Gpu(
            "NVIDIA H200",
            143771 * MIB,
            (143771 - 633) * MIB,
            memory_reserved=633 * MIB,
            index=0,
            uuid="GPU-00000000-d72c-4106-c12f-20bd9faed9f6",
            bus="0000:19:00",
            compute_capability=(9, 0),
            persistence=True,
            mig=False,
            uncorrected_errors=0,
            repair_pending=False,
            repair_failed=False,
            slowdowns=(),
            processes=(),
        ),
    )


def test_each_gpu_tells_of_itself() -> None:
    busy, hot = read("a10-two-busy").gpus
    assert busy.processes == (GpuProcess(4242, 8 * GIB), GpuProcess(999999, 2 * GIB))
    assert busy.slowdowns == ()  # the power cap under load is how a GPU works
    assert (busy.index, busy.persistence) == (0, False)
    assert (hot.index, hot.bus) == (1, "0000:65:00")
    assert (hot.uncorrected_errors, hot.repair_pending, hot.repair_failed) == (3, True, False)
    assert hot.slowdowns == ("hardware slowdown", "too hot (hardware)")


def test_an_old_driver_is_asked_in_the_old_way() -> None:
    (gpu,) = read("t4-old-driver").gpus
    assert gpu.memory_total == 15109 * MIB
    assert gpu.memory_free == 15100 * MIB
    assert gpu.memory_reserved is None
    assert (gpu.repair_pending, gpu.repair_failed) == (True, None)


def test_what_a_card_does_not_tell_is_none() -> None:
    (gpu,) = read("geforce").gpus
    told = (gpu.mig, gpu.uncorrected_errors, gpu.repair_pending, gpu.repair_failed)
    assert told == (None, None, None, None)
    assert gpu.processes == (GpuProcess(4242, None),)


def test_a_card_that_tells_nothing_is_still_a_gpu() -> None:
    said = read("silent")
    assert said == Nvidia((Gpu("NVIDIA GPU", None, None, index=0),), source="NVML")


def test_a_divided_gpu_has_its_instances() -> None:
    (empty,) = read("a100-mig-empty").gpus
    assert (empty.mig, empty.instances, empty.memory_total, empty.processes) == (
        True,
        (),
        None,
        None,
    )
    (divided,) = read("a100-mig-two").gpus
    assert [(one.name[-11:], one.memory_total) for one in divided.instances] == [
        ("MIG 3g.20gb", 20 * GIB),
        ("MIG 2g.10gb", 10 * GIB),
    ]
    assert {one.compute_capability for one in divided.instances} == {(8, 0)}


def test_a_gpu_that_is_lost_is_named() -> None:
    said = read("lost")
    assert (said.gpus, said.source) == ((), "NVML")
    assert said.trouble == "GPU 0: GPU is lost"


def test_another_users_gpu_is_not_lost() -> None:
    replay = Replay.of("lost")
    replay.answers["nvmlDeviceGetHandleByIndex(0)"] = {"error": 4}
    assert read_nvml(replay).trouble == ""


def test_without_a_library_or_with_another_driver_it_says_why() -> None:
    assert "mismatch" in read("mismatch").trouble
    assert read("mismatch").source == ""


WHAT_IT_SAYS = """
import dataclasses, json
from sgl_embed_kit.machine import RealMachine
print(json.dumps(dataclasses.asdict(RealMachine().nvidia())))
"""


def test_pynvml_itself_is_called_as_it_wants_to_be(tmp_path: Path) -> None:
    library = compiled(tmp_path, libnvidia_ml=NVML)
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IT_SAYS],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(library)},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["driver"], said["cuda"], said["source"]) == ("580.95.05", [13, 0], "NVML")
    (gpu,) = said["gpus"]
    (process,) = gpu.pop("processes")
    assert (process["pid"], process["memory"]) == (1, 512 * MIB)
    assert gpu == {
        "name": "NVIDIA A10",
        "memory_total": 23028 * MIB,
        "memory_free": 22000 * MIB,
        "memory_reserved": 480 * MIB,
        "index": 0,
        "uuid": "GPU-10101010-1010-1010-1010-101010101010",
        "bus": "0000:17:00",
        "compute_capability": [8, 6],
        "persistence": True,
        "mig": None,
        "instances": [],
        "uncorrected_errors": 0,
        "repair_pending": False,
        "repair_failed": False,
        "slowdowns": ["power brake"],
    }


@pytest.mark.gpu
def test_a_real_driver_tells_what_a_card_must_have() -> None:
    said = RealMachine().nvidia()
    assert said.source == "NVML"
    assert said.driver
    assert said.cuda
    gpu = said.gpus[0]
    assert (gpu.uuid or "").startswith("GPU-")
    assert gpu.bus
    assert gpu.compute_capability is not None
    assert gpu.compute_capability >= (7, 5)


@pytest.mark.gpu
def test_a_real_context_finds_the_card_that_nvml_names_and_leaves_it_as_it_was() -> None:
    machine = RealMachine()
    before = machine.nvidia().gpus
    (one,) = machine.probe_cuda((0,), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert one.error == ""
    uuids = [(gpu.uuid or "").removeprefix("GPU-").replace("-", "") for gpu in before]
    assert one.uuid in uuids
    gpu = before[uuids.index(one.uuid)]
    assert gpu.memory_free is not None
    assert 0 < one.largest <= one.asked < one.free < gpu.memory_free
    after = RealMachine().nvidia().gpus[uuids.index(one.uuid)]
    assert after.memory_free is not None
    assert abs(after.memory_free - gpu.memory_free) < 64 * MIB
