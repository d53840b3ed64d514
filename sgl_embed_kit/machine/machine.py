"""The seam to this machine: a protocol, and the one that asks the real machine."""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sgl_embed_kit.machine.cgroup import Group, own_group
from sgl_embed_kit.machine.cuda_probe import Probed, probe_cuda
from sgl_embed_kit.machine.driver import ask_driver
from sgl_embed_kit.machine.files import File, file_at
from sgl_embed_kit.machine.folders import Folder, look_at
from sgl_embed_kit.machine.kernel_log import Xid, read_xids
from sgl_embed_kit.machine.nvidia import Gpu, Nvidia
from sgl_embed_kit.machine.packages import Distribution, distributions_named
from sgl_embed_kit.machine.ports import PortRules, PortUse, addresses_of, port_rules, port_use
from sgl_embed_kit.machine.processes import Running, running_with
from sgl_embed_kit.machine.servers import ServerRecord, running_servers

FRESH_SECONDS = 5.0
"""How long an answer of the NVIDIA driver is good for: as long as the checks of one run."""


@dataclass(frozen=True)
class OpenFiles:
    """How many files a process may have open: now, and at most if it asks for more."""

    soft: int
    hard: int


class Machine(Protocol):
    """What the checks ask of a machine."""

    def platform(self) -> str:
        """Return system and processor, such as "linux x86_64"."""

    def python(self) -> tuple[int, int, int]:
        """Return the version of the Python that runs."""

    def memory_total(self) -> int:
        """Return the bytes of memory, as far as this process may use them."""

    def memory_available(self) -> int:
        """Return the bytes of memory that can be had without swapping."""

    def disk_free(self, path: Path) -> int:
        """Return the bytes free where `path` is, or will be."""

    def environment(self) -> Mapping[str, str]:
        """Return the variables that a server would inherit."""

    def folder(self, path: Path) -> Folder:
        """Return what can be done in a folder, or where it is not, in the one above it."""

    def file(self, path: Path) -> File | None:
        """Return what the system says of a file or folder; None where there is none."""

    def program(self, name: str, search: str | None) -> Path | None:
        """Return where a program is; None where no folder of `search` (a PATH) has it."""

    def distributions(self, name: str) -> tuple[Distribution, ...]:
        """Return what this environment has of a Python package, the one that counts first."""

    def running(self, word: str) -> tuple[Running, ...] | None:
        """Return the processes with a word in their arguments; None where none is shown."""

    def open_files(self) -> OpenFiles | None:
        """Return how many files a server may open; None where the system has no limit."""

    def control_group(self) -> Group:
        """Return the limits of the container that this process is in."""

    def swap_free(self) -> int:
        """Return the bytes of swap space that are free."""

    def now(self) -> float:
        """Return what the clock says, in seconds since 1970."""

    def gpus(self) -> tuple[Gpu, ...]:
        """Return the GPUs that this process may use; none where there is no driver."""

    def nvidia(self) -> Nvidia:
        """Return what the NVIDIA driver says of itself and of all its GPUs."""

    def probe_cuda(
        self, ordinals: tuple[int, ...], variables: Mapping[str, str]
    ) -> tuple[Probed, ...]:
        """Make a real CUDA context on each GPU, and return what it could have."""

    def xids(self) -> tuple[Xid, ...] | None:
        """Return what the driver reported to the kernel's log; None where it cannot be read."""

    def processors(self) -> float:
        """Return how many processors' worth of time this process may have."""

    def processor_features(self) -> frozenset[str]:
        """Return the processor's features by Linux's names; none where it does not tell."""

    def shared_memory(self) -> int | None:
        """Return the bytes of /dev/shm, or None where there is none."""

    def port_use(self, host: str, port: int) -> PortUse | None:
        """Return why a port cannot be listened on, or None where it can."""

    def port_rules(self) -> PortRules | None:
        """Return which ports the system treats in a way of its own; None where untold."""

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses that a host's name stands for; none where it has none."""

    def servers(self) -> tuple[ServerRecord, ...]:
        """Return the servers that this toolkit runs here for this user."""


class RealMachine:
    """The machine that this process runs on."""

    def __init__(self) -> None:
        self._driver = threading.Lock()
        self._trial = threading.Lock()
        self._said: tuple[float, Nvidia] | None = None
        self._probes: dict[object, tuple[float, tuple[Probed, ...]]] = {}

    def platform(self) -> str:
        """Return system and processor, such as "linux x86_64"."""
        return f"{sys.platform} {platform.machine().lower()}"

    def python(self) -> tuple[int, int, int]:
        """Return the version of the Python that runs."""
        return sys.version_info[:3]

    def memory_total(self) -> int:
        """Return the bytes of memory, and no more than the control group allows."""
        import psutil  # late, here and below: a dry run asks the machine nothing

        limit = own_group().memory_limit
        total = int(psutil.virtual_memory().total)
        return total if limit is None else min(total, limit)

    def memory_available(self) -> int:
        """Return the bytes of memory that can be had without swapping.

        In a container, no more than its control group leaves.
        """
        import psutil

        available = int(psutil.virtual_memory().available)
        free = own_group().memory_free
        return available if free is None else min(available, free)

    def disk_free(self, path: Path) -> int:
        """Return the bytes free where `path` is, or will be."""
        while not path.exists() and path != path.parent:
            path = path.parent
        return shutil.disk_usage(path).free

    def environment(self) -> Mapping[str, str]:
        """Return the variables of this process."""
        return os.environ

    def folder(self, path: Path) -> Folder:
        """Try to make a file in a folder, or where it is not, in the one above it."""
        return look_at(path)

    def file(self, path: Path) -> File | None:
        """Return what the system says of a file or folder; None where there is none."""
        return file_at(path)

    def program(self, name: str, search: str | None) -> Path | None:
        """Return where a program is; None where no folder of `search` (a PATH) has it."""
        found = shutil.which(name, path=search)
        return Path(found) if found else None

    def distributions(self, name: str) -> tuple[Distribution, ...]:
        """Return what this environment has of a Python package, the one that counts first."""
        return distributions_named(name)

    def running(self, word: str) -> tuple[Running, ...] | None:
        """Return the processes with a word in their arguments; None where none is shown."""
        return running_with(word)

    def open_files(self) -> OpenFiles | None:
        """Return how many files a server may open; None where the system has no limit."""
        try:
            import resource  # not on Windows
        except ImportError:
            return None
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = resource.RLIM_INFINITY
        return OpenFiles(*(sys.maxsize if each == unlimited else each for each in (soft, hard)))

    def control_group(self) -> Group:
        """Return the limits of the container that this process is in."""
        return own_group()

    def swap_free(self) -> int:
        """Return the bytes of swap space that are free."""
        import psutil

        return int(psutil.swap_memory().free)

    def now(self) -> float:
        """Return what the clock says, in seconds since 1970."""
        return time.time()

    def gpus(self) -> tuple[Gpu, ...]:
        """Return the GPUs that CUDA_VISIBLE_DEVICES does not hide."""
        return self.nvidia().visible(self.environment()).gpus

    def nvidia(self) -> Nvidia:
        """Return what the driver says, by NVML or else by nvidia-smi.

        All who ask within `FRESH_SECONDS` get one answer, which can take seconds, and comes
        in time (machine/driver.py). None is asked for while a probe holds the memory that it
        is about.
        """
        with self._driver:
            return self._ask_driver()

    def probe_cuda(
        self, ordinals: tuple[int, ...], variables: Mapping[str, str]
    ) -> tuple[Probed, ...]:
        """Make a real CUDA context on each GPU; the same answer for all who ask in a while."""
        key = (ordinals, *sorted(variables.items()))
        with self._driver:
            self._ask_driver()  # before the probe's own memory shows in the answer
            found = self._probes.get(key)
            if found is None or time.monotonic() - found[0] > FRESH_SECONDS:
                answer = probe_cuda(ordinals, variables)
                found = self._probes[key] = time.monotonic(), answer  # fresh from its end on
            return found[1]

    def xids(self) -> tuple[Xid, ...] | None:
        """Return what the driver reported to the kernel's log; None where it cannot be read."""
        return read_xids()

    def _ask_driver(self) -> Nvidia:
        if self._said is None or time.monotonic() - self._said[0] > FRESH_SECONDS:
            found = ask_driver()
            # One that is silent is not waited for again: it was given its time.
            self._said = math.inf if found.is_silent else time.monotonic(), found
        return self._said[1]

    def processors(self) -> float:
        """Return how many processors' worth of time this process may have."""
        count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        quota = own_group().cpus
        return float(count if quota is None else min(count, quota))

    def processor_features(self) -> frozenset[str]:
        """Return the processor's features by Linux's names; none where it does not tell."""
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        except OSError:
            return frozenset()
        flags = next((line for line in lines if line.startswith("flags")), "")
        return frozenset(flags.partition(":")[2].split())

    def shared_memory(self) -> int | None:
        """Return the bytes of /dev/shm, or None where there is none."""
        try:
            return shutil.disk_usage("/dev/shm").total  # noqa: S108 - looked at, not used
        except OSError:
            return None

    def port_use(self, host: str, port: int) -> PortUse | None:
        """Try to listen on the port, as the server will; say who has it if that fails.

        One after the other: checks run side by side, and each would be in the other's way.
        """
        with self._trial:
            return port_use(host, port)

    def port_rules(self) -> PortRules | None:
        """Return which ports the system treats in a way of its own; None where untold."""
        return port_rules()

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses that a host's name stands for; none where it has none."""
        return addresses_of(host)

    def servers(self) -> tuple[ServerRecord, ...]:
        """Return the servers that this toolkit runs here for this user."""
        return running_servers()
