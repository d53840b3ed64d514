"""Ask NVML, the driver's own library, for all that the checks want to know of its GPUs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from sgl_embed_kit.machine.nvidia import Gpu, GpuProcess, Nvidia

SLOWDOWNS = {
    0x8: "hardware slowdown",
    0x20: "too hot (driver)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
}
"""Bits of nvmlDeviceGetCurrentClocksEventReasons that mean trouble. The others, such as idle
clocks and the power cap under full load, are how a GPU works."""


def read_nvml(nvml: Any = None) -> Nvidia:
    """Return what NVML says; without it, why not.

    Args:
        nvml: Stands in for the module pynvml in tests and recordings.
    """
    if nvml is None:
        import pynvml  # late: a dry run asks the machine nothing

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Nvidia(trouble=f"NVML: {error}")
    try:
        ask = _asking(nvml)
        cuda = ask(nvml.nvmlSystemGetCudaDriverVersion_v2)
        lost: list[str] = []
        return Nvidia(
            gpus=tuple(_gpus(nvml, ask, lost)),
            driver=ask(nvml.nvmlSystemGetDriverVersion),
            cuda=(cuda // 1000, cuda % 1000 // 10) if cuda else None,
            source="NVML",
            trouble=", ".join(lost),
        )
    except nvml.NVMLError as error:
        return Nvidia(trouble=f"NVML: {error}")
    finally:
        nvml.nvmlShutdown()


Ask = Callable[..., Any]


def _asking(nvml: Any) -> Ask:
    """Return a function that calls one of NVML's, and returns None where it does not tell.

    An answer that is refused is no fault of the GPU: NOT_SUPPORTED for this one, NO_PERMISSION
    for this user, FUNCTION_NOT_FOUND in this driver, for which pynvml has an exception of its
    own where there are several versions of a function.
    """

    def ask(function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):
            return None

    return ask


def _gpus(nvml: Any, ask: Ask, lost: list[str]) -> Iterator[Gpu]:
    """Yield the GPUs; those that answer no more are told in `lost`."""
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_NO_PERMISSION:  # not this user's, and not lost
                lost.append(f"GPU {index}: {error}")
            continue
        modes = ask(nvml.nvmlDeviceGetMigMode, handle)
        mig = None if modes is None else modes[0] == nvml.NVML_DEVICE_MIG_ENABLE
        capability = ask(nvml.nvmlDeviceGetCudaComputeCapability, handle)
        describe = functools.partial(_describe, nvml, ask, index=index, capability=capability)
        pci = ask(nvml.nvmlDeviceGetPciInfo, handle)
        persistence = ask(nvml.nvmlDeviceGetPersistenceMode, handle)
        pending, failed = _repairs(nvml, ask, handle)
        yield describe(
            handle,
            bus=bus_address(pci.busId) if pci else None,
            persistence=None if persistence is None else bool(persistence),
            mig=mig,
            instances=tuple(map(describe, _instances(nvml, ask, handle))) if mig else (),
            uncorrected_errors=ask(
                nvml.nvmlDeviceGetTotalEccErrors,
                handle,
                nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                nvml.NVML_VOLATILE_ECC,
            ),
            repair_pending=pending,
            repair_failed=failed,
            slowdowns=_slowdowns(ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)),
        )


def _describe(
    nvml: Any,
    ask: Ask,
    handle: Any,
    *,
    index: int,
    capability: tuple[int, int] | None,
    **more: Any,
) -> Gpu:
    """Return what holds for a GPU and for an instance of one alike."""
    memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
    reserved = int(memory.reserved) if memory else None
    memory = memory or ask(nvml.nvmlDeviceGetMemoryInfo, handle)  # before driver 510
    return Gpu(
        str(ask(nvml.nvmlDeviceGetName, handle) or "NVIDIA GPU"),
        int(memory.total) if memory else None,
        int(memory.free) if memory else None,
        memory_reserved=reserved,
        index=index,
        uuid=ask(nvml.nvmlDeviceGetUUID, handle),
        compute_capability=tuple(capability) if capability else None,  # type: ignore[arg-type]
        processes=_processes(nvml, ask, handle),
        **more,
    )


def _instances(nvml: Any, ask: Ask, handle: Any) -> list[Any]:
    count = ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    found = (ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, i) for i in range(count))
    return [instance for instance in found if instance is not None]


def _repairs(nvml: Any, ask: Ask, handle: Any) -> tuple[bool | None, bool | None]:
    """Return whether a repair of its memory is pending, and whether one has failed.

    From Ampere on faulty rows are remapped, before that pages are retired; either is asked
    of the GPUs that know it.
    """
    rows = ask(nvml.nvmlDeviceGetRemappedRows, handle)
    if rows is not None:
        _, _, pending, failed = rows
        return bool(pending), bool(failed)
    retired = ask(nvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
    return (None if retired is None else bool(retired)), None


def _slowdowns(reasons: int | None) -> tuple[str, ...] | None:
    if reasons is None:
        return None
    return tuple(text for bit, text in SLOWDOWNS.items() if reasons & bit)


def _processes(nvml: Any, ask: Ask, handle: Any) -> tuple[GpuProcess, ...] | None:
    answers = [
        ask(function, handle)
        for function in (
            nvml.nvmlDeviceGetComputeRunningProcesses,
            nvml.nvmlDeviceGetGraphicsRunningProcesses,
            nvml.nvmlDeviceGetMPSComputeRunningProcesses,
        )
    ]
    if answers[0] is None:
        return None
    # One that computes and draws is in both lists, with the same memory.
    found = {each.pid: each.usedGpuMemory for answer in answers for each in answer or ()}
    return tuple(
        GpuProcess(pid, None if used is None else int(used)) for pid, used in found.items()
    )


def bus_address(text: str | bytes) -> str:
    """Return a PCI address as the kernel's log has it: "0000:65:00".

    NVML and nvidia-smi write "00000000:65:00.0".
    """
    text = text.decode() if isinstance(text, bytes) else text
    domain, _, rest = text.lower().partition(":")
    return f"{domain[-4:]}:{rest.partition('.')[0]}"
