"""A machine that says what a test wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sgl_embed_kit.machine import (
    Distribution,
    File,
    Folder,
    Gpu,
    Group,
    Nvidia,
    OpenFiles,
    PortRules,
    PortUse,
    Running,
    ServerRecord,
)
from sgl_embed_kit.machine.cuda_probe import SPARE, Probed
from sgl_embed_kit.machine.gpus import known_gpus
from sgl_embed_kit.machine.kernel_log import Xid

LINUX_PORTS = PortRules()
H200 = Gpu("NVIDIA H200", 150_754_820_096, 150_000_000_000)
CONTEXT = 450 * 2**20
"""What the fake's CUDA context takes of a GPU."""


def healthy_gpu(name: str = "NVIDIA H200", index: int = 0) -> Gpu:
    """Return a known GPU that nobody uses, with every answer that a driver can give."""
    known = next(gpu for gpu in known_gpus().values() if name in gpu.names)
    reserved = 600 * 2**20
    return Gpu(
        name,
        known.memory,
        known.memory - reserved,
        memory_reserved=reserved,
        index=index,
        uuid=f"GPU-{index}0000000-0000-0000-0000-000000000000",
        bus=f"0000:{index:02x}:00",
        compute_capability=known.compute_capability,
        persistence=True,
        mig=False,
        uncorrected_errors=0,
        repair_pending=False,
        repair_failed=False,
        slowdowns=(),
        processes=(),
    )


SITE = Path("/venv/lib/python3.12/site-packages")
PROGRAMS = frozenset({"cc", "gcc", "c++", "ninja", "nvcc", "lscpu", "numactl"})
PACKAGES = {
    "sglang": (
        Distribution(
            "0.5.23",
            SITE,
            (
                "torch==2.14.1",
                "transformers==5.19.0",
                "tokenizers==0.23.2",
                "flashinfer_python[cu13]==0.7.2",
                "sglang-kernel==0.4.10",
                "av==16.1.0; extra == 'diffusion'",
            ),
        ),
    ),
    "torch": (Distribution("2.14.1+cu130", SITE),),
    "transformers": (Distribution("5.19.0", SITE),),
    "tokenizers": (Distribution("0.23.2", SITE),),
    "flashinfer-python": (Distribution("0.7.2", SITE),),
    "sglang-kernel": (Distribution("0.4.10", SITE),),
}
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
    taken_at: dict[tuple[str, int], PortUse] = field(default_factory=dict)
    rules: PortRules | None = LINUX_PORTS
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    own_servers: tuple[ServerRecord, ...] = ()
    cpus: float = 8
    features: frozenset[str] = frozenset({"avx512_bf16"})
    shm: int | None = 8_000_000_000
    variables: dict[str, str] = field(default_factory=lambda: dict(VARIABLES))
    folders: dict[str, Folder] = field(default_factory=dict)
    files: dict[str, File | None] = field(default_factory=dict)
    missing: tuple[str, ...] = ("/node1",)
    programs: frozenset[str] = PROGRAMS
    packages: dict[str, tuple[Distribution, ...]] = field(default_factory=lambda: dict(PACKAGES))
    processes: tuple[Running, ...] | None = ()
    files_limit: OpenFiles | None = OpenFiles(1024, 524_288)  # noqa: RUF009 - it is frozen
    group: Group = Group()  # noqa: RUF009 - it is frozen
    swap: int = 0
    time: float = 1_800_000_000.0
    driver: Nvidia | None = None
    probed: tuple[Probed, ...] | None = None
    reported: tuple[Xid, ...] | None = ()

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

    def file(self, path: Path) -> File | None:
        if str(path).endswith(self.missing):
            return None
        return self.files.get(str(path), File(path))

    def program(self, name: str, search: str | None) -> Path | None:
        return Path("/usr/bin") / name if name in self.programs else None

    def distributions(self, name: str) -> tuple[Distribution, ...]:
        return self.packages.get(name, ())

    def running(self, word: str) -> tuple[Running, ...] | None:
        return self.processes

    def open_files(self) -> OpenFiles | None:
        return self.files_limit

    def control_group(self) -> Group:
        return self.group

    def swap_free(self) -> int:
        return self.swap

    def now(self) -> float:
        return self.time

    def gpus(self) -> tuple[Gpu, ...]:
        return self.nvidia().visible(self.variables).gpus

    def nvidia(self) -> Nvidia:
        if self.driver is not None:
            return self.driver
        if not self.devices:
            return Nvidia(trouble="NVML: NVML Shared Library Not Found")
        return Nvidia(self.devices, driver="580.95.05", cuda=(13, 0), source="NVML")

    def probe_cuda(
        self, ordinals: tuple[int, ...], variables: Mapping[str, str]
    ) -> tuple[Probed, ...]:
        if self.probed is not None:
            return self.probed
        free = [(self.nvidia().gpus[number].memory_free or 0) - CONTEXT for number in ordinals]
        return tuple(
            Probed(number, "", left, left - SPARE, left - SPARE)
            for number, left in zip(ordinals, free, strict=True)
        )

    def xids(self) -> tuple[Xid, ...] | None:
        return self.reported

    def processors(self) -> float:
        return self.cpus

    def processor_features(self) -> frozenset[str]:
        return self.features

    def shared_memory(self) -> int | None:
        return self.shm

    def port_use(self, host: str, port: int) -> PortUse | None:
        return self.taken.get(port) or self.taken_at.get((host, port))

    def port_rules(self) -> PortRules | None:
        return self.rules

    def addresses(self, host: str) -> tuple[str, ...]:
        return self.names.get(host, ("127.0.0.1",) if host == "localhost" else (host,))

    def servers(self) -> tuple[ServerRecord, ...]:
        return self.own_servers


UNREACHABLE = "http://127.0.0.1:9"
"""An address that refuses connections: the discard port, which nothing serves here."""
