"""Every check: a case where it passes, and each case where it does not."""

import dataclasses
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.host import LONGEST_SOCKET_PATH, NAME_IN_TEMP
from sgl_embed_kit.machine import Gpu, PortUse
from sgl_embed_kit.machine.gpus import known_gpus
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.profile import Profile, load_profile
from sgl_embed_kit.sglang.installed import Installed
from tests.machines import H200, FakeMachine

SGLANG = Installed("0.5.23", Path("/x"), Path("/bin/sglang"), kernels="no driver", sees_guard=True)
BY_ID = {check.id: check for check in CHECKS}


def find(
    check: str,
    machine: FakeMachine | None = None,
    *,
    installed: Installed | None = SGLANG,
    **sections: dict[str, Any],
) -> Finding:
    """Run one check on a profile for the CPU, with these sections in place of its own."""
    content = {"model": {"path": "tiny:"}, "hardware": {"device": "cpu"}, **sections}
    profile = Profile.model_validate(content)
    subject = Subject(profile, locate(profile.model.path), installed, machine or FakeMachine())
    return BY_ID[check].look(subject)


def test_a_healthy_machine_gets_only_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGL_EMBED_CACHE", str(tmp_path))
    profile = Profile.model_validate({"model": {"path": "tiny:"}, "hardware": {"device": "cpu"}})
    report = run_checks(Subject.of(profile, SGLANG, FakeMachine()), CHECKS)
    assert [result.finding.status for result in report.results] == [Status.OK] * len(CHECKS)


def test_ids_and_names_are_unique() -> None:
    assert len(BY_ID) == len({check.about.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize(
    ("check", "options", "status", "text"),
    [
        ("SGE-CPU-001", {}, Status.OK, "8 processors, bfloat16 by avx512_bf16"),
        (
            "SGE-CPU-001",
            {"machine": FakeMachine(features=frozenset({"avx2"}))},
            Status.OK,
            "no bfloat16 instructions",
        ),
        ("SGE-CPU-001", {"machine": FakeMachine(features=frozenset())}, Status.OK, "8 proc"),
        ("SGE-CPU-001", {"machine": FakeMachine(cpus=1.5)}, Status.WARN, "1.5 processors"),
        ("SGE-SHM-001", {"machine": FakeMachine(shm=2**26)}, Status.OK, "0.1 GiB"),
        ("SGE-SHM-001", {"machine": FakeMachine(shm=None)}, Status.SKIP, "cannot be looked at"),
        (
            "SGE-SHM-001",
            {
                "machine": FakeMachine(shm=2**26),
                "hardware": {"gpus": 2},
                "parallel": {"data": 2},
            },
            Status.WARN,
            "0.1 GiB in /dev/shm",
        ),
        ("SGE-PY-001", {"machine": FakeMachine(version=(3, 10, 9))}, Status.ERROR, "3.10.9"),
        ("SGE-PY-001", {"machine": FakeMachine(system="darwin arm64")}, Status.ERROR, "darwin"),
        ("SGE-PKG-001", {"installed": None}, Status.ERROR, "not installed"),
        (
            "SGE-PKG-001",
            {"installed": dataclasses.replace(SGLANG, version="0.5.22")},
            Status.ERROR,
            "0.5.22",
        ),
        (
            "SGE-PKG-001",
            {"sglang": {"version": ">=0.6"}},
            Status.ERROR,
            "SGLang 0.5.23",
        ),
        (
            "SGE-PKG-001",
            {"installed": dataclasses.replace(SGLANG, command=None)},
            Status.ERROR,
            "without its command",
        ),
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
                "machine": FakeMachine(
                    devices=(Gpu("NVIDIA A10", 24_146_608_128, 23_000_000_000),)
                ),
            },
            Status.OK,
            "GPU: NVIDIA A10",
        ),
        ("SGE-GRD-001", {"guard": {"enabled": False}}, Status.WARN, "switched off"),
        ("SGE-GRD-001", {"installed": None}, Status.SKIP, "not installed"),
        (
            "SGE-GRD-001",
            {"installed": dataclasses.replace(SGLANG, sees_guard=False)},
            Status.ERROR,
            "does not find the guard",
        ),
        (
            "SGE-NET-001",
            {"machine": FakeMachine(taken={30000: PortUse("in use", 7, "nginx")})},
            Status.ERROR,
            "nginx (pid 7) listens there",
        ),
        (
            "SGE-NET-001",
            {"machine": FakeMachine(taken={30000: PortUse("Permission denied")})},
            Status.ERROR,
            "Permission denied",
        ),
        ("SGE-DISK-001", {"machine": FakeMachine(disk=50_000_000)}, Status.ERROR, "0.1 GB free"),
        (
            "SGE-MEM-001",
            {"machine": FakeMachine(memory=2_000_000_000)},
            Status.ERROR,
            "2.0 GB available",
        ),
        ("SGE-MOD-001", {"model": {"path": "org/model"}}, Status.OK, "from the hub"),
    ],
)
def test_each_finding(check: str, options: dict[str, Any], status: Status, text: str) -> None:
    finding = find(check, **options)
    assert finding.status is status
    assert text in finding.found
    if status in {Status.ERROR, Status.WARN}:
        assert finding.needed
        assert finding.fix


def test_a_newer_sglang_is_a_warning_that_says_what_was_compared(tmp_path: Path) -> None:
    (tmp_path / "srt").mkdir()
    (tmp_path / "srt" / "server_args.py").write_text(
        "class ServerArgs:\n"
        "    port: A[int, 'The port.'] = 30000\n"
        "    host: A[int, 'Was a text.'] = 1\n"
        "    brand_new: A[bool, 'x'] = False\n"
    )
    newer = dataclasses.replace(SGLANG, version="0.6.0", package=tmp_path)
    finding = find("SGE-PKG-001", installed=newer)
    assert finding.status is Status.WARN
    assert "newer than tested: against 0.5.23, 1 flags gained, 557 lost, 1 changed" in finding.found


def test_fewer_gpus_than_the_profile_needs_is_an_error() -> None:
    hardware = {"device": "cuda", "gpus": 2}
    one, two = FakeMachine(devices=(H200,)), FakeMachine(devices=(H200, H200))
    assert find("SGE-ENG-001", one, hardware=hardware).status is Status.ERROR
    assert find("SGE-ENG-001", two, hardware=hardware).status is Status.OK


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


def test_the_next_free_port_is_proposed() -> None:
    taken = {port: PortUse("in use") for port in (30000, 30001, 30002)}
    assert "quickstart --port 30003" in find("SGE-NET-001", FakeMachine(taken=taken)).fix


def test_a_port_at_the_very_end_has_no_next_one() -> None:
    machine = FakeMachine(taken={65535: PortUse("in use")})
    assert find("SGE-NET-001", machine, server={"port": 65535}).status is Status.ERROR


def test_memory_counts_weights_and_pool_of_a_model_that_is_here(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "m", TinyModel())
    model, limits = {"path": str(tmp_path / "m")}, {"max_total_tokens": 20_000_000}
    # 2 x 2 layers x 2 heads x 32 x 2 bytes = 512 bytes a token: 10.2 GB of pool; 3 GB for
    # the processes, and 50 MB for activations and the table of requests.
    enough = find("SGE-MEM-001", FakeMachine(memory=14_000_000_000), model=model, limits=limits)
    short = find("SGE-MEM-001", FakeMachine(memory=13_000_000_000), model=model, limits=limits)
    assert (enough.status, short.status) == (Status.OK, Status.ERROR)
    assert "13.3 GB for SGLang, weights and KV pool" in short.found


def test_a_broken_model_folder_is_named_with_its_cure(tmp_path: Path) -> None:
    finding = find("SGE-MOD-001", model={"path": str(tmp_path)})
    assert finding.status is Status.ERROR
    assert "no config.json" in finding.found
    assert finding.fix


def _bert(folder: Path, pooling: str) -> dict[str, str]:
    """Write the least of a BERT folder that declares a pooling."""
    make_tiny_model(folder, TinyModel(hidden_size=64, layers=1))
    config = folder / "config.json"
    config.write_text(config.read_text().replace("Qwen3ForCausalLM", "BertModel"))
    (folder / "1_Pooling" / "config.json").write_text(f'{{"pooling_mode": "{pooling}"}}')
    return {"path": str(folder)}


def test_mean_pooling_needs_the_guard(tmp_path: Path) -> None:
    model = _bert(tmp_path / "m", "mean")
    assert find("SGE-MOD-001", model=model).status is Status.OK
    without = find("SGE-MOD-001", model=model, guard={"enabled": False})
    assert without.status is Status.ERROR
    assert "declares mean pooling, SGLang would pool by cls" in without.found
    assert "guard.enabled: true" in without.fix


def test_cls_pooling_needs_no_guard(tmp_path: Path) -> None:
    model = _bert(tmp_path / "m", "cls")
    assert find("SGE-MOD-001", model=model, guard={"enabled": False}).status is Status.OK


def test_a_decoder_that_declares_mean_pooling_is_refused(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=64, layers=1))
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    finding = find("SGE-MOD-001", model={"path": str(tmp_path / "m")})
    assert finding.status is Status.ERROR
    assert "SGLang would pool by last" in finding.found


def test_a_temporary_folder_with_a_long_path_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * (96 - len(str(tmp_path))))
    short = tmp_path / ("x" * (93 - len(str(tmp_path))))
    for folder, status in ((long, Status.ERROR), (short, Status.OK)):
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        assert find("SGE-TMP-001").status is status


def test_the_limit_of_a_sockets_path_is_the_systems(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * (LONGEST_SOCKET_PATH - NAME_IN_TEMP - len(str(tmp_path)) - 1))
    folder.mkdir()
    fits = f"{folder}/tmpabcdefgh"
    assert len(fits) == LONGEST_SOCKET_PATH
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(fits)
    with socket.socket(socket.AF_UNIX) as listening, pytest.raises(OSError, match="too long"):
        listening.bind(f"{fits}i")


def test_a_temporary_folder_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    found = find("SGE-TMP-001")
    assert found.status is Status.ERROR
    assert "No such file" in found.found
