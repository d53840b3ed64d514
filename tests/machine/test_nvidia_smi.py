"""nvidia-smi where NVML is not there: a program of that name on PATH."""

import os
from pathlib import Path

import pytest

from sgl_embed_kit.machine import Gpu, GpuProcess
from sgl_embed_kit.machine.nvidia_smi import read_nvidia_smi

MIB = 2**20
# As the program of driver 580 prints with --format=csv,noheader,nounits; two L4 cards.
BASIC = """\
0, GPU-1111, 00000000:17:00.0, NVIDIA L4, 23034, 22563, 580.95.05
1, GPU-2222, 00000000:65:00.0, NVIDIA L4, 23034, 12000, 580.95.05"""
ANSWERS = {
    "--query-gpu=index,uuid,pci.bus_id,name,memory.total,memory.free,driver_version": BASIC,
    "--query-gpu=compute_cap": "8.9\n8.9",
    "--query-gpu=persistence_mode": "Enabled\nDisabled",
    "--query-gpu=memory.reserved": "471\n471",
    "--query-gpu=ecc.errors.uncorrected.volatile.total": "0\n2",
    "--query-gpu=retired_pages.pending": "No\n[N/A]",
    "--query-compute-apps=gpu_uuid,pid,used_memory": "GPU-2222, 4242, 10000\nGPU-2222, 77, [N/A]",
}


def program(folder: Path, answers: dict[str, str], otherwise: str) -> str:
    """Write a stand-in that answers the queries, and does something else for any other."""
    cases = "".join(f"'{query}') cat <<'END'\n{text}\nEND\n;;\n" for query, text in answers.items())
    path = folder / "nvidia-smi"
    path.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}*) {otherwise} ;;\nesac\n')
    path.chmod(0o755)
    return str(path)


REFUSES = """echo "Field \\"x\\" is not a valid field to query."; exit 2"""


def test_all_that_it_tells_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, ANSWERS, REFUSES)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    said = read_nvidia_smi()
    assert (said.source, said.driver, said.cuda, said.trouble) == (
        "nvidia-smi",
        "580.95.05",
        None,
        "",
    )
    first = Gpu(
        "NVIDIA L4",
        23034 * MIB,
        22563 * MIB,
        memory_reserved=471 * MIB,
        index=0,
        uuid="GPU-1111",
        bus="0000:17:00",
        compute_capability=(8, 9),
        persistence=True,
        uncorrected_errors=0,
        repair_pending=False,
        processes=(),
    )
    assert said.gpus[0] == first
    second = said.gpus[1]
    assert (second.persistence, second.uncorrected_errors, second.repair_pending) == (
        False,
        2,
        None,
    )
    assert second.processes == (GpuProcess(4242, 10000 * MIB), GpuProcess(77, None))


def test_fields_that_an_older_one_does_not_know_are_left_out(tmp_path: Path) -> None:
    known = {query: text for query, text in ANSWERS.items() if "index" in query}
    said = read_nvidia_smi(program(tmp_path, known, REFUSES))
    assert [gpu.memory_total for gpu in said.gpus] == [23034 * MIB] * 2
    assert said.gpus[0].compute_capability is None
    assert said.gpus[0].processes is None


@pytest.mark.parametrize(
    ("otherwise", "trouble"),
    [
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "mismatch"),
        ("exit 1", "nvidia-smi: no word (status 1)"),
        ("kill -9 $$", "status -9"),
    ],
)
def test_one_that_fails_says_why(tmp_path: Path, otherwise: str, trouble: str) -> None:
    said = read_nvidia_smi(program(tmp_path, {}, otherwise))
    assert (said.gpus, said.source) == ((), "")
    assert trouble in said.trouble


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sgl_embed_kit.machine.nvidia_smi.SECONDS", 0.2)
    said = read_nvidia_smi(program(tmp_path, {}, "exec sleep 60"))
    assert said.trouble == "nvidia-smi: no answer within 0.2 s"


def test_without_the_program_there_is_none(tmp_path: Path) -> None:
    assert read_nvidia_smi(str(tmp_path / "none")).trouble == "nvidia-smi: not found"


@pytest.mark.parametrize("text", ["", "garbage", "1, 2, 3", "No devices were found"])
def test_garbage_is_no_gpu(tmp_path: Path, text: str) -> None:
    answers = dict.fromkeys(ANSWERS, text)
    said = read_nvidia_smi(program(tmp_path, answers, REFUSES))
    assert said.gpus == ()
