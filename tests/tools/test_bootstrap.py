"""Setting up: what cannot work is said before anything is downloaded."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT, processes_with

SCRIPT = ROOT / "tools" / "bootstrap.py"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with its virtual environment in a folder of the test."""
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "LOG", tmp_path / ".venv" / "install.log")

    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("pip must not run")

    monkeypatch.setattr(module, "pip", never)
    return module


def refusal(bootstrap: ModuleType, capsys: pytest.CaptureFixture[str], *sets: str) -> str:
    """Run the script, which must refuse; return what it says."""
    sys_argv = sys.argv
    sys.argv = ["bootstrap.py", *sets]
    try:
        assert bootstrap.main() == 1
    finally:
        sys.argv = sys_argv
    shown = capsys.readouterr().err
    assert [line.split(":")[0].strip() for line in shown.splitlines()] == ["error", "why", "cure"]
    assert not bootstrap.VENV.exists()
    return shown


@pytest.mark.parametrize(
    ("system", "processor"), [("darwin", "arm64"), ("linux", "aarch64"), ("win32", "AMD64")]
)
def test_a_platform_that_sglang_does_not_serve_is_refused(
    bootstrap: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    processor: str,
) -> None:
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: processor)
    monkeypatch.setattr(bootstrap.sys, "platform", system)
    assert f"this is {system} {processor}" in refusal(bootstrap, capsys, "server")


def test_too_little_disk_is_refused_with_both_numbers(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _path: Usage(0, 0, 14_000_000_000))
    # Everything on one disk, as in most machines: the sizes add up.
    monkeypatch.setattr(bootstrap, "existing", lambda _path: Path("/"))
    assert "/ has 14.0 GB free, 15.0 GB are needed." in refusal(bootstrap, capsys, "server")


def test_each_disk_is_asked_for_its_own_share(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {"/small": 100_000_000, "/large": 500_000_000_000}

    class Place:
        def __init__(self, name: str) -> None:
            self.name = name

        def stat(self) -> os.stat_result:
            device = list(free).index(self.name)
            return os.stat_result((0, 0, device, *[0] * 7))

        def __str__(self) -> str:
            return self.name

    places = iter([Place("/large"), Place("/large"), Place("/small")])
    monkeypatch.setattr(bootstrap, "existing", lambda _path: next(places))
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda place: Usage(0, 0, free[str(place)]))
    assert "/small has 0.1 GB free, 0.5 GB are needed." in refusal(bootstrap, capsys, "server")


def test_a_python_without_venv_gets_the_package_to_install(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    said = refusal(bootstrap, capsys, "dev")
    assert f"python3.{sys.version_info.minor}-venv" in said


def test_what_is_installed_already_is_left_alone(bootstrap: ModuleType) -> None:
    bootstrap.VENV.mkdir()
    bootstrap.stamp_file("server").write_text(bootstrap.fingerprint())
    sys_argv, sys.argv = sys.argv, ["bootstrap.py", "server"]
    try:
        assert bootstrap.main() == 0
    finally:
        sys.argv = sys_argv


def test_a_changed_lock_is_installed_again(bootstrap: ModuleType) -> None:
    bootstrap.VENV.mkdir()
    bootstrap.stamp_file("server").write_text("what was pinned before")
    assert not bootstrap.is_installed("server", bootstrap.fingerprint())


def test_ctrl_c_while_pip_runs_ends_pip_and_says_how_to_go_on(tmp_path: Path) -> None:
    for name in ("tools", "constraints", "sgl_embed_kit", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    mark = f"bootstrap-{tmp_path}"
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", str(tmp_path / "tools" / "bootstrap.py"), "dev"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SGL_EMBED_TEST": mark},
        )
    log = tmp_path / ".venv" / "install.log"
    deadline = time.monotonic() + 120
    while not (log.is_file() and "Collecting" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    said = (tmp_path / "output").read_text()
    assert said.endswith("interrupted; the same command goes on from here\n")
    assert "Traceback" not in said
    assert processes_with(mark) == []
    assert not list((tmp_path / ".venv").glob(".installed-*"))


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["server", "nosuch"]])
def test_wrong_use_is_said(arguments: list[str]) -> None:
    argv = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 14, 0)])
def test_a_python_that_was_not_tested_is_refused_if_there_is_no_other(
    bootstrap: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, int, int],
) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", version)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda _name: None)
    with pytest.raises(SystemExit) as ended:
        bootstrap.use_tested_python()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert f"This is Python {'.'.join(map(str, version))}, and no other one was found." in said


@pytest.mark.parametrize("version", ["3.7", "3.8", "3.9", "3.10"])
def test_an_older_python_can_read_the_script_and_says_what_is_needed(version: str) -> None:
    # The grammar of each version, as far as this Python knows it, is the first hurdle.
    import ast

    minor = int(version.split(".")[1])
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, minor))
