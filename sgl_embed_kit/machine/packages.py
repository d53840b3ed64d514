"""The Python packages of this environment, by what their metadata says."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Distribution:
    """An installed package.

    Attributes:
        version: Its version.
        folder: The folder that its modules lie in.
        requires: What it needs, as its metadata writes it (PEP 508).
    """

    version: str
    folder: Path
    requires: tuple[str, ...] = ()


def distributions_named(name: str) -> tuple[Distribution, ...]:
    """Return what is installed under a name, in the order in which Python finds it.

    That is more than one where several folders of Python's path hold it. A folder counts
    once: lib64 of a virtual environment is often a link to its lib.
    """
    found: dict[tuple[str, Path], Distribution] = {}
    for each in metadata.distributions(name=name):
        folder = Path(str(each.locate_file(""))).resolve()
        written = each.metadata  # parsed anew at each access
        version = written["Version"] or ""
        requires = tuple(written.get_all("Requires-Dist") or ())
        found.setdefault((version, folder), Distribution(version, folder, requires))
    return tuple(found.values())
