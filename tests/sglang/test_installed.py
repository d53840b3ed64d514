"""Finding SGLang without importing it."""

import ctypes
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from sgl_embed_kit.sglang import installed
from sgl_embed_kit.sglang.installed import Installed, find_installed, tested_range
from sgl_embed_kit.sglang.versions import release_of

ROOT = Path(__file__).parents[2]


def _installed(version: str) -> Installed:
    return Installed(version, Path("/x"), Path("/bin/sglang"), kernels="", sees_guard=True)


def test_the_tested_range_is_the_one_that_gets_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (server,) = project["optional-dependencies"]["server"]
    assert server.startswith(f"sglang{tested_range()};")


def test_the_lock_lies_in_the_tested_range() -> None:
    lock = (ROOT / "constraints" / "server.txt").read_text()
    (version,) = re.findall(r"^sglang==(\S+)", lock, re.MULTILINE)
    assert _installed(version).is_tested


@pytest.mark.parametrize(
    ("version", "tested"),
    [("0.5.23", True), ("0.5.23.post1", True), ("0.5.22", False), ("0.5.24", False), ("", False)],
)
def test_versions_are_compared_by_their_numbers(version: str, tested: bool) -> None:
    assert _installed(version).is_tested is tested


def test_a_release_is_its_numbers() -> None:
    assert release_of("0.5.10.post1") == (0, 5, 10)


def test_the_installed_one_is_found_without_importing_it() -> None:
    found = find_installed()
    if found is None:
        pytest.skip("SGLang is not installed; get it with: make test")
    assert found.version == metadata.version("sglang")
    assert found.command is not None
    assert found.command.is_file()
    assert found.sees_guard
    assert "sglang" not in sys.modules


def test_an_environment_without_sglang_is_said_to_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(_name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", absent)
    assert find_installed() is None


@pytest.mark.parametrize(
    ("content", "driver", "reason"),
    [
        (b"..libc.so.6\0libcuda.so.1\0..", False, "need libcuda.so.1"),
        (b"..libc.so.6\0libcuda.so.1\0..", True, ""),
        (b"..libc.so.6\0..", False, ""),
        (None, False, "no compiled kernels"),
    ],
    ids=["CUDA build, no driver", "CUDA build, driver", "CPU build", "no library"],
)
def test_kernels_load_only_with_what_they_need(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    driver: bool,
    reason: str,
) -> None:
    package = tmp_path / "sgl_kernel"
    (package / "sm100").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    if content is not None:
        (package / "sm100" / "common_ops.abi3.so").write_bytes(content)

    def load(name: str) -> None:
        assert name == "libcuda.so.1"
        if not driver:
            raise OSError(name)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ctypes, "CDLL", load)
    found = installed._why_kernels_cannot_load()
    assert found == reason if reason == "" else reason in found


@pytest.mark.parametrize(
    ("script", "other"),
    [
        ("#!{here}/python3\nimport sys\n", None),
        ("#!{here}/python3.99 -E\n", None),
        ("#!/opt/other/bin/python3\n", "/opt/other/bin/python3"),
        ('#!/bin/sh\n\'\'\'exec\' "/opt/a b/bin/python" "$0" "$@"\n', "/opt/a b/bin/python"),
        ("#!/bin/sh\n'''exec' /opt/long/bin/python \"$0\" \"$@\"\n", "/opt/long/bin/python"),
        ("#!/bin/sh\n'''exec' '/opt/uv/bin/python' \"$0\" \"$@\"\n", "/opt/uv/bin/python"),
        ("#!/bin/sh\n'''exec' {here}/python \"$0\" \"$@\"\n", None),
        ("#!/usr/bin/env python3\n", None),
        ("\x7fELF", None),
        ("", None),
    ],
)
def test_a_command_of_another_environment_is_told_by_its_first_lines(
    tmp_path: Path, script: str, other: str | None
) -> None:
    path = tmp_path / "sglang"
    path.write_text(script.format(here=Path(sys.executable).parent))
    found = installed._foreign_python(path)
    assert found == (Path(other) if other else None)


def test_an_environment_that_is_reached_through_a_link_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / "sglang").write_text(f"#!{tmp_path}/bin/python\n")
    assert installed._foreign_python(tmp_path / "sglang") is None
    assert installed._foreign_python(tmp_path / "gone") is None
