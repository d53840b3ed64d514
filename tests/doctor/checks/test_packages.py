"""Python and its packages: what the checks find."""

import dataclasses
import os
from pathlib import Path

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import Distribution, Folder, RealMachine
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.profile import load_profile
from sgl_embed_kit.sglang.installed import find_installed
from tests.doctor.checks.cases import BY_ID, SGLANG, Case, find
from tests.machines import PACKAGES, SITE, VARIABLES, FakeMachine

OLDER = Distribution("0.5.20", Path("/usr/lib/python3/dist-packages"))


def with_packages(**changes: str | Distribution | None) -> FakeMachine:
    """Return a machine with other packages: of a version, as they are given, or none."""
    packages: dict[str, tuple[Distribution, ...]] = dict(PACKAGES)
    for name, here in changes.items():
        one = Distribution(here, SITE) if isinstance(here, str) else here
        packages[name] = (one,) if one else ()
    return FakeMachine(packages=packages)


CASES: list[Case] = [
    ("SGE-PY-001", {}, Status.OK, "Python 3.12.1 on linux"),
    ("SGE-PKG-001", {}, Status.OK, "SGLang 0.5.23"),
    ("SGE-GRD-001", {}, Status.OK, "will load the guard"),
    ("SGE-PY-001", {"machine": FakeMachine(version=(3, 10, 9))}, Status.ERROR, "3.10.9"),
    ("SGE-PY-001", {"machine": FakeMachine(version=(3, 11, 0))}, Status.OK, "3.11.0"),
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
    ("SGE-GRD-001", {"guard": {"enabled": False}}, Status.WARN, "switched off"),
    ("SGE-GRD-001", {"installed": None}, Status.SKIP, "not installed"),
    (
        "SGE-GRD-001",
        {"installed": dataclasses.replace(SGLANG, sees_guard=False)},
        Status.ERROR,
        "does not find the guard",
    ),
    ("SGE-PKG-002", {"installed": dataclasses.replace(SGLANG, kernels="")}, Status.OK, "nothing"),
    ("SGE-PKG-002", {}, Status.OK, "the stand-in serves on a CPU (no driver)"),
    ("SGE-PKG-002", {"hardware": {"device": "cuda"}}, Status.ERROR, "no driver"),
    ("SGE-PKG-002", {"installed": None}, Status.SKIP, "not installed"),
    ("SGE-PKG-003", {}, Status.OK, "tokenizers 0.23.2"),
    ("SGE-PKG-003", {"machine": with_packages(sglang=None)}, Status.SKIP, "not installed"),
    (
        "SGE-PKG-003",
        {"machine": with_packages(sglang=Distribution("0.5.23", SITE, ("numpy",)))},
        Status.SKIP,
        "does not say",
    ),
    ("SGE-PKG-003", {"machine": with_packages(torch="2.13.0")}, Status.WARN, "torch 2.13.0"),
    ("SGE-PKG-003", {"machine": with_packages(torch=None)}, Status.ERROR, "torch is missing"),
    ("SGE-PKG-004", {}, Status.OK, f"one SGLang, in {SITE}"),
    ("SGE-PKG-004", {"machine": with_packages(sglang=None)}, Status.SKIP, "not installed"),
    (
        "SGE-PKG-004",
        {"machine": FakeMachine(packages={"sglang": (*PACKAGES["sglang"], OLDER)})},
        Status.WARN,
        "SGLang 0.5.20 in /usr/lib/python3/dist-packages",
    ),
    ("SGE-PKG-004", {"env": {"PYTHONPATH": "/src/python"}}, Status.WARN, "/src/python, which"),
    ("SGE-PKG-005", {}, Status.OK, "are compiled"),
    ("SGE-PKG-005", {"machine": FakeMachine(packages={})}, Status.SKIP, "not installed"),
    ("SGE-PKG-005", {"machine": FakeMachine(missing=(".pyc",))}, Status.OK, "6 of 6 modules"),
    (
        "SGE-PKG-005",
        {
            "machine": FakeMachine(missing=(".pyc",)),
            "env": {"PYTHONDONTWRITEBYTECODE": "1"},
        },
        Status.WARN,
        "PYTHONDONTWRITEBYTECODE is set",
    ),
    (
        "SGE-PKG-005",
        {
            "machine": FakeMachine(
                missing=("functional.cpython-311.pyc", "functional.cpython-312.pyc"),
                folders={
                    f"{SITE}/torch/nn/__pycache__": Folder(SITE, fault="Read-only file system")
                },
            )
        },
        Status.WARN,
        "1 of 6 modules have no bytecode, and no start writes it: Read-only",
    ),
    ("SGE-PKG-006", {}, Status.OK, "share an environment"),
    (
        "SGE-PKG-006",
        {"installed": dataclasses.replace(SGLANG, foreign_python=Path("/opt/bin/python3"))},
        Status.ERROR,
        "/bin/sglang is of another environment",
    ),
    (
        "SGE-PKG-006",
        {"installed": None, "machine": FakeMachine(programs=frozenset({"sglang"}))},
        Status.ERROR,
        "/usr/bin/sglang is of another environment",
    ),
    ("SGE-PKG-006", {"installed": None}, Status.SKIP, "not installed"),
    (
        "SGE-PKG-006",
        {"installed": dataclasses.replace(SGLANG, command=None)},
        Status.SKIP,
        "no command",
    ),
]


def test_what_is_asked_for_depends_on_the_device() -> None:
    machine = with_packages(**{"flashinfer-python": "0.6.0", "sglang-kernel": None})
    assert find("SGE-PKG-003", machine).status is Status.OK
    on_gpu = find("SGE-PKG-003", machine, hardware={"device": "cuda"})
    assert on_gpu.status is Status.ERROR
    assert on_gpu.found.endswith("flashinfer-python 0.6.0, sglang-kernel is missing")
    assert on_gpu.fix == "pip install sglang-kernel==0.4.10 flashinfer-python==0.7.2"
    other = with_packages(**{"flashinfer-python": "0.6.0"})
    assert find("SGE-PKG-003", other, hardware={"device": "cuda"}).status is Status.WARN


@pytest.mark.parametrize("version", ["2.14.1", "2.14.1+cpu"])
def test_a_build_for_another_device_is_the_same_version(version: str) -> None:
    assert find("SGE-PKG-003", with_packages(torch=version)).status is Status.OK


def test_what_an_extra_or_another_system_needs_is_not_asked_for() -> None:
    requires = (
        "torch==2.14.1",
        "torch==9; extra == 'x'",
        "torchaudio==1",
        "tokenizers; python_version < '3'",
    )
    machine = with_packages(sglang=Distribution("0.5.23", SITE, requires))
    requires_wrong = (*requires, "transformers==9; sys_platform == 'none'")
    assert find("SGE-PKG-003", machine).found == "torch 2.14.1+cu130"
    machine = with_packages(sglang=Distribution("0.5.23", SITE, requires_wrong))
    assert find("SGE-PKG-003", machine).status is Status.OK


def test_the_real_sglang_has_what_it_asks_for() -> None:
    if not RealMachine().distributions("sglang"):
        pytest.skip("SGLang is not installed; get it with: make test")
    for name in ("SGE-PKG-003", "SGE-PKG-004", "SGE-PKG-006"):
        subject = Subject(
            load_profile("tiny-cpu"), locate("tiny:"), find_installed(), RealMachine()
        )
        assert BY_ID[name].look(subject).status is Status.OK


def test_what_the_profile_sets_is_cured_in_the_profile() -> None:
    finding = find("SGE-PKG-004", env={"PYTHONPATH": "/src/python"})
    assert finding.fix == "env: {PYTHONPATH: ''}  # in the profile"
    variables = VARIABLES | {"PYTHONPATH": "/src/python"}
    assert find("SGE-PKG-004", FakeMachine(variables=variables)).fix == "unset PYTHONPATH"


def test_bytecode_that_has_no_place_gets_one_and_what_is_not_wanted_is_made_once() -> None:
    site = {f"{SITE}/torch/__pycache__": Folder(SITE, fault="Read-only file system")}
    bare = FakeMachine(missing=(".pyc",), folders=site)
    assert find("SGE-PKG-005", bare).fix == "export PYTHONPYCACHEPREFIX=/a/folder/you/own"
    unwanted = VARIABLES | {"PYTHONDONTWRITEBYTECODE": "1"}
    bare = FakeMachine(missing=(".pyc",), variables=unwanted)
    assert find("SGE-PKG-005", bare).fix == f"python -m compileall -q -j 0 {SITE}"


@pytest.mark.parametrize("path", ["", "/empty", f"{SITE}"])
def test_folders_on_the_path_without_another_sglang_are_fine(path: str) -> None:
    machine = FakeMachine(missing=("/empty/sglang/__init__.py",))
    assert find("SGE-PKG-004", machine, env={"PYTHONPATH": path}).status is Status.OK


def test_a_link_to_the_folder_of_the_installed_one_is_no_other(tmp_path: Path) -> None:
    (tmp_path / "site" / "sglang").mkdir(parents=True)
    (tmp_path / "site" / "sglang" / "__init__.py").touch()
    (tmp_path / "link").symlink_to("site")
    machine = with_packages(sglang=Distribution("0.5.23", tmp_path / "site"))
    machine.file = RealMachine().file  # type: ignore[method-assign]
    env = {"PYTHONPATH": str(tmp_path / "link")}
    assert find("SGE-PKG-004", machine, env=env).status is Status.OK
    machine = with_packages(sglang=Distribution("0.5.23", tmp_path))
    machine.file = RealMachine().file  # type: ignore[method-assign]
    assert find("SGE-PKG-004", machine, env=env).status is Status.WARN


def test_an_empty_part_of_the_path_is_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    machine = FakeMachine(missing=("/empty/sglang/__init__.py",))
    finding = find("SGE-PKG-004", machine, env={"PYTHONPATH": f"/empty{os.pathsep}"})
    assert finding.status is Status.WARN
    assert finding.found.startswith(str(tmp_path))


def test_a_newer_sglang_is_a_warning_that_says_what_was_compared(tmp_path: Path) -> None:
    (tmp_path / "srt").mkdir()
    (tmp_path / "srt" / "server_args.py").write_text(
        "class ServerArgs:\n"
        "    port: A[int, 'The port.'] = 30000\n"
        "    nnodes: A[int, 'The number of nodes.'] = 1\n"
        "    host: A[int, 'Was a text.'] = 1\n"
        "    brand_new: A[bool, 'x'] = False\n"
    )
    newer = dataclasses.replace(SGLANG, version="0.6.0", package=tmp_path)
    finding = find("SGE-PKG-001", installed=newer)
    assert finding.status is Status.WARN
    assert "newer than tested: against 0.5.23, 1 flags gained, 556 lost, 1 changed" in finding.found


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("libcuda.so.1 cannot be opened", "nvidia-smi"),
        ("there is no sgl_kernel", "pip install --force-reinstall sglang-kernel"),
    ],
)
def test_kernels_that_want_the_driver_are_cured_by_no_package(reason: str, fix: str) -> None:
    installed = dataclasses.replace(SGLANG, kernels=reason)
    finding = find("SGE-PKG-002", installed=installed, hardware={"device": "cuda"})
    assert finding.fix == fix


def test_the_cure_for_a_guard_that_is_off_switches_it_on() -> None:
    finding = find("SGE-GRD-001", guard={"enabled": False})
    assert finding.fix == "guard: {enabled: true}  # in the profile"
