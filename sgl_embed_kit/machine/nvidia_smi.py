"""Ask the program nvidia-smi, where NVML itself cannot be loaded."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections.abc import Iterator

from sgl_embed_kit.machine.nvidia import Gpu, GpuProcess, Nvidia
from sgl_embed_kit.machine.nvml import bus_address

SECONDS = 5.0
MIB = 2**20
BASIC = ("index", "uuid", "pci.bus_id", "name", "memory.total", "memory.free", "driver_version")
"""Fields that nvidia-smi has always had. An unknown one makes it refuse the whole query, so
what came later is asked for apart, and each by itself."""
LATER = (
    "compute_cap",
    "persistence_mode",
    "memory.reserved",
    "ecc.errors.uncorrected.volatile.total",
    "retired_pages.pending",
)
ON = ("enabled", "yes", "active")
OFF = ("disabled", "no", "not active")


def read_nvidia_smi(program: str = "nvidia-smi") -> Nvidia:
    """Return what nvidia-smi says; without it, why not.

    Slowdowns, repairs that failed, and MIG are left to NVML.

    Args:
        program: It, on PATH.
    """
    try:
        rows = list(_query(program, "--query-gpu", BASIC))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Nvidia(trouble=f"nvidia-smi: {_reason(error)}")
    later = {name: _column(program, name, len(rows)) for name in LATER}
    processes = _processes(program)
    gpus = tuple(
        _gpu(row, {name: column[at] for name, column in later.items()}, processes)
        for at, row in enumerate(rows)
    )
    driver = rows[0]["driver_version"] if rows else None
    return Nvidia(gpus=gpus, driver=driver, source="nvidia-smi")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "not found"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {SECONDS:g} s"
    return str(error)


def _query(program: str, what: str, fields: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield a row for each line that nvidia-smi prints.

    Raises:
        OSError: it cannot be run.
        SubprocessError: it does not answer in time.
        ValueError: it fails; with what it says.
    """
    done = subprocess.run(
        [program, f"{what}={','.join(fields)}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stdout.strip() or done.stderr.strip() or "no word").splitlines()[0]
        raise ValueError(f"{said} (status {done.returncode})")
    for values in csv.reader(io.StringIO(done.stdout), skipinitialspace=True):
        if len(values) == len(fields):
            yield dict(zip(fields, values, strict=True))


def _column(program: str, name: str, count: int) -> list[str]:
    """Return a field of each GPU; empty texts where this nvidia-smi does not know it."""
    try:
        found = [row[name] for row in _query(program, "--query-gpu", (name,))]
    except (OSError, ValueError, subprocess.SubprocessError):
        found = []
    return found if len(found) == count else [""] * count


def _gpu(row: dict[str, str], later: dict[str, str], processes: _Processes | None) -> Gpu:
    capability = re.fullmatch(r"(\d+)\.(\d+)", later["compute_cap"])
    index = row["index"]
    return Gpu(
        row["name"],
        _mebibytes(row["memory.total"]),
        _mebibytes(row["memory.free"]),
        memory_reserved=_mebibytes(later["memory.reserved"]),
        index=int(index) if index.isdigit() else None,
        uuid=row["uuid"],
        bus=bus_address(row["pci.bus_id"]),
        compute_capability=(int(capability[1]), int(capability[2])) if capability else None,
        persistence=_flag(later["persistence_mode"]),
        uncorrected_errors=_number(later["ecc.errors.uncorrected.volatile.total"]),
        repair_pending=_flag(later["retired_pages.pending"]),
        processes=None if processes is None else tuple(processes.get(row["uuid"], ())),
    )


_Processes = dict[str, list[GpuProcess]]


def _processes(program: str) -> _Processes | None:
    found: _Processes = {}
    try:
        for row in _query(program, "--query-compute-apps", ("gpu_uuid", "pid", "used_memory")):
            if row["pid"].isdigit():
                process = GpuProcess(int(row["pid"]), _mebibytes(row["used_memory"]))
                found.setdefault(row["gpu_uuid"], []).append(process)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return found


def _number(text: str) -> int | None:
    """Return a number; None for "[N/A]", "[Not Supported]" and their like."""
    return int(text) if text.isdigit() else None


def _mebibytes(text: str) -> int | None:
    number = _number(text)
    return None if number is None else number * MIB


def _flag(text: str) -> bool | None:
    if text.lower() in ON:
        return True
    return False if text.lower() in OFF else None
