"""What an NVIDIA driver says of itself and its GPUs, and which of them CUDA shows a process.

None stands for what the driver does not tell: not for this GPU, not to this user, or not in
this release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
BY_BUS = "PCI_BUS_ID"


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds memory of a GPU.

    Attributes:
        pid: Its id; of the host where the driver sees through a container's wall.
        memory: Bytes that it holds.
        user: Whose it is.
        command: The name of its program; its arguments are left out, which may hold a key.
    """

    pid: int
    memory: int | None = None
    user: str | None = None
    command: str | None = None


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU, or an instance of one (MIG), as its driver reports it.

    Attributes:
        name: What its maker calls it.
        memory_total: Bytes of memory.
        memory_free: Bytes of it that are free.
        memory_reserved: Bytes that the driver keeps for itself; neither free nor a program's.
        index: Its number in nvidia-smi, which counts along the PCI bus.
        uuid: Its identity, such as "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6".
        bus: Its address on the PCI bus, such as "0000:65:00".
        compute_capability: Major and minor number.
        persistence: Whether the driver stays set up when no program uses the GPU.
        mig: Whether it is divided into instances.
        instances: Those of its instances that can be seen from here.
        uncorrected_errors: Memory errors that could not be corrected, since the driver was
            loaded.
        repair_pending: Whether a faulty part of its memory is replaced at the next restart.
        repair_failed: Whether it has run out of spare memory for such repairs.
        slowdowns: What makes it slower than its clocks allow; empty where nothing does.
        processes: Who holds memory of it; empty where nobody is seen.
    """

    name: str
    memory_total: int | None
    memory_free: int | None
    memory_reserved: int | None = None
    index: int | None = None
    uuid: str | None = None
    bus: str | None = None
    compute_capability: tuple[int, int] | None = None
    persistence: bool | None = None
    mig: bool | None = None
    instances: tuple[Gpu, ...] = ()
    uncorrected_errors: int | None = None
    repair_pending: bool | None = None
    repair_failed: bool | None = None
    slowdowns: tuple[str, ...] | None = None
    processes: tuple[GpuProcess, ...] | None = None


@dataclass(frozen=True)
class Visible:
    """The GPUs that CUDA shows a process, in CUDA's order.

    Attributes:
        gpus: They.
        fault: What is wrong with the variable that chooses them; empty where nothing is.
    """

    gpus: tuple[Gpu, ...]
    fault: str = ""


@dataclass(frozen=True)
class Nvidia:
    """What the NVIDIA driver says.

    Attributes:
        gpus: All GPUs, in the order of nvidia-smi.
        driver: Its release, such as "580.95.05".
        cuda: The newest CUDA that it serves: major and minor number.
        source: Who told: "NVML" or "nvidia-smi"; empty where neither could.
        trouble: Why nobody could tell, or which GPUs do not answer; empty where all do.
        is_silent: Whether there is a driver, and it does not answer in time.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: tuple[int, int] | None = None
    source: str = ""
    trouble: str = ""
    is_silent: bool = False

    def visible(self, variables: Mapping[str, str]) -> Visible:
        """Return the GPUs that a process with these variables is shown."""
        return choose(self.gpus, variables.get(VISIBLE))


def choose(gpus: tuple[Gpu, ...], setting: str | None) -> Visible:
    """Return the GPUs that `CUDA_VISIBLE_DEVICES` leaves, and what is wrong with it.

    They are named by index or by as much of the UUID as tells it apart; what follows a name
    that means none is hidden without a word (CUDA C++ Programming Guide, 5.2.1.1). A process
    is shown one MIG instance at most, the first of several (MIG User Guide, Device
    Enumeration).

    Args:
        gpus: All GPUs, in the order of nvidia-smi. CUDA's own, by default, has the fastest
            first (CUDA_DEVICE_ORDER), which is the same where all are alike.
        setting: The variable's value, or None where it is not set.
    """
    if setting is None:
        found: list[Gpu] = [part for gpu in gpus for part in _parts(gpu)]
        return Visible(_one_instance(tuple(found)))
    chosen: list[Gpu] = []
    for name in [part.strip() for part in setting.split(",")] if setting.strip() else []:
        matches = list(_named(gpus, name))
        if len(matches) == 1 and matches[0] not in chosen:
            chosen.append(matches[0])
            continue
        fault = "" if name == "-1" else _fault(gpus, name, len(matches))
        return Visible(_one_instance(tuple(chosen)), fault)
    return Visible(_one_instance(tuple(chosen)))


def _parts(gpu: Gpu) -> tuple[Gpu, ...]:
    """Return what CUDA runs on: the GPU, or its instances where it is divided."""
    return gpu.instances if gpu.mig else (gpu,)


def _named(gpus: tuple[Gpu, ...], name: str) -> Iterator[Gpu]:
    if name.isdigit():
        yield from (part for gpu in gpus[int(name) :][:1] for part in _parts(gpu)[:1])
    elif name.startswith(("GPU-", "MIG-")):
        for gpu in gpus:
            if (gpu.uuid or "").startswith(name):
                yield from _parts(gpu)[:1]
            yield from (part for part in gpu.instances if (part.uuid or "").startswith(name))


def _fault(gpus: tuple[Gpu, ...], name: str, matches: int) -> str:
    if matches > 1:
        return f"{name!r} is the beginning of {matches} GPUs' UUIDs"
    if matches:
        return f"{name!r} names a GPU for the second time"
    if name.isdigit() and int(name) < len(gpus):
        return f"GPU {name} is in MIG mode and has no instance here"
    return f"there is no GPU {name!r}: {len(gpus)} here, counted from 0"


def _one_instance(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    instances = [gpu for gpu in gpus if (gpu.uuid or "").startswith("MIG-")]
    return tuple(instances[:1]) or gpus


def with_names(nvidia: Nvidia) -> Nvidia:
    """Return it with the users and commands of the processes, as far as this system tells."""
    return replace(nvidia, gpus=tuple(map(_with_names, nvidia.gpus)))


def _with_names(gpu: Gpu) -> Gpu:
    return replace(
        gpu,
        processes=gpu.processes and tuple(map(_with_name, gpu.processes)),
        instances=tuple(map(_with_names, gpu.instances)),
    )


def _with_name(process: GpuProcess) -> GpuProcess:
    import psutil

    try:
        found = psutil.Process(process.pid)
        with found.oneshot():
            return replace(process, user=found.username(), command=found.name())
    except (psutil.Error, KeyError):  # of another container, or it has just ended
        return process
