"""A machine that says what a test wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sgl_embed_kit.machine import Folder, Gpu, PortUse

H200 = Gpu("NVIDIA H200", 150_754_820_096, 150_000_000_000)

VARIABLES = {"HOME": "/home/user", "PATH": "/usr/bin:/bin"}


@dataclass
class FakeMachine:
    """A healthy Linux machine without a GPU, unless told otherwise."""

    system: str = "linux x86_64"
    version: tuple[int, int, int] = (3, 12, 1)
    memory: int = 64_000_000_000
    total: int = 64_000_000_000
    disk: int = 500_000_000_000
    devices: tuple[Gpu, ...] = ()
    taken: dict[int, PortUse] = field(default_factory=dict)
    cpus: float = 8
    features: frozenset[str] = frozenset({"avx512_bf16"})
    shm: int | None = 8_000_000_000
    variables: dict[str, str] = field(default_factory=lambda: dict(VARIABLES))
    folders: dict[str, Folder] = field(default_factory=dict)

    def platform(self) -> str:
        return self.system

    def python(self) -> tuple[int, int, int]:
        return self.version

    def memory_total(self) -> int:
        return self.total

    def memory_available(self) -> int:
        return self.memory

    def disk_free(self, path: Path) -> int:
        return self.disk

    def environment(self) -> dict[str, str]:
        return self.variables

    def folder(self, path: Path) -> Folder:
        return self.folders.get(str(path), Folder(path, free=self.disk))

    def gpus(self) -> tuple[Gpu, ...]:
        return self.devices

    def processors(self) -> float:
        return self.cpus

    def processor_features(self) -> frozenset[str]:
        return self.features

    def shared_memory(self) -> int | None:
        return self.shm

    def port_use(self, host: str, port: int) -> PortUse | None:
        return self.taken.get(port)


UNREACHABLE = "http://127.0.0.1:9"
"""An address that refuses connections: the discard port, which nothing serves here."""
