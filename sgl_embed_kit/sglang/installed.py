"""The SGLang of this environment, found without importing it (which takes ten seconds)."""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sgl_embed_kit.sglang.versions import release_of

TESTED_FROM = (0, 5, 23)
TESTED_BELOW = (0, 5, 24)
"""The range that the test suite has run against; pyproject.toml pins the same."""

PLUGIN_GROUP = "sglang.srt.plugins"
GUARD_PLUGIN = "sgl_embed_guard"
LONG_SHEBANG = re.compile(
    rb"#!/bin/sh\n'''exec' (?P<quote>[\"']?)(?P<python>.+?)(?P=quote) \"\$0\""
)
"""How pip and uv begin a script whose Python has a path too long for the kernel."""


@dataclass(frozen=True)
class Installed:
    """The SGLang of this environment.

    Attributes:
        version: Its version, such as "0.5.23".
        package: The folder of its Python package.
        command: Its command-line program, or None where the environment has none.
        kernels: Why the real `sgl_kernel` cannot be loaded; empty where it can be.
        sees_guard: Whether its plugin framework will find the guard.
        foreign_python: The Python that its command runs in, where that is of another
            environment than this one.
        torch_cuda: The CUDA that its torch is built for, such as "13.0"; empty where torch is
            built without, None where there is no torch.
    """

    version: str
    package: Path
    command: Path | None
    kernels: str
    sees_guard: bool
    foreign_python: Path | None = None
    torch_cuda: str | None = None

    @property
    def is_tested(self) -> bool:
        """Whether the version lies in the tested range."""
        return TESTED_FROM <= release_of(self.version) < TESTED_BELOW


def tested_range() -> str:
    """Return the tested range for people and pip: ">=0.5.23,<0.5.24"."""
    low, high = (".".join(map(str, version)) for version in (TESTED_FROM, TESTED_BELOW))
    return f">={low},<{high}"


def find_installed() -> Installed | None:
    """Look for SGLang in this environment; None where it is not installed."""
    try:
        version = metadata.version("sglang")
        spec = importlib.util.find_spec("sglang")
    except metadata.PackageNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    beside_python = Path(sys.executable).parent / "sglang"
    found = str(beside_python) if beside_python.is_file() else shutil.which("sglang")
    return Installed(
        version=version,
        package=Path(spec.origin).parent,
        command=Path(found) if found else None,
        kernels=_why_kernels_cannot_load(),
        sees_guard=any(
            entry.name == GUARD_PLUGIN for entry in metadata.entry_points(group=PLUGIN_GROUP)
        ),
        foreign_python=_foreign_python(Path(found)) if found else None,
        torch_cuda=_torch_cuda(),
    )


def _foreign_python(script: Path) -> Path | None:
    """Return the Python that runs a script, unless it is of this very environment."""
    try:
        with script.open("rb") as file:
            begin = file.read(4096)
    except OSError:
        return None
    if not begin.startswith(b"#!"):
        return None
    long = LONG_SHEBANG.match(begin)
    line = long["python"] if long else begin[2:].splitlines()[0]
    python = Path(line.decode("utf-8", "replace").strip())
    if python.name.startswith("env "):
        return None  # whichever Python comes first on the server's PATH
    # python and python3 of an environment are links to one another.
    is_here = os.path.realpath(python.parent) == os.path.realpath(Path(sys.executable).parent)
    return None if is_here else python


def _torch_cuda() -> str | None:
    """Read which CUDA torch is built for from its version.py, which needs no import of it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^cuda\b[^=]*=\s*(?:'([\d.]+)'|None)", text, re.MULTILINE)
    return (found[1] or "") if found else None


def _why_kernels_cannot_load() -> str:
    """Say why importing `sgl_kernel` would fail; empty where nothing speaks against it.

    Importing it costs seconds (it imports torch), so its libraries are asked instead:
    the CUDA builds on PyPI name the driver library `libcuda.so.1` among those they need,
    CPU builds from source do not.
    """
    spec = importlib.util.find_spec("sgl_kernel")
    if spec is None or spec.origin is None:
        return "sgl_kernel is not installed"
    libraries = list(Path(spec.origin).parent.rglob("common_ops*.so"))
    if not libraries:
        return "sgl_kernel has no compiled kernels"
    if not any(_names(library, b"libcuda.so.1\0") for library in libraries):
        return ""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "its CUDA kernels need libcuda.so.1, which the NVIDIA driver brings"
    return ""


def _names(library: Path, needed: bytes) -> bool:
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(needed) >= 0
