"""The short-lived process that makes a real CUDA context and allocates: run, never imported.

It knows the driver's library only, no torch and no package of ours, so that it starts at once
and what goes wrong in the driver ends nothing but itself. Its arguments are the time after
which it ends itself, the bytes to leave alone, and the GPUs by CUDA's own numbers. It prints
a line of JSON for each GPU.
"""

from __future__ import annotations

import ctypes
import json
import resource
import signal
import sys
from typing import Any

STEP = 2 << 20
"""The driver hands out memory in pages of 2 MiB."""
PRECISION = 1024
"""The largest block is found to this part of what is free."""
TRIAL = 1 << 20
OUT_OF_MEMORY = 2


class CudaError(Exception):
    """A call of the driver failed; says which, and why."""


class Driver:
    """The functions of libcuda.so.1 that are needed, each raising what it returns."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.library, name)

        def call(*args: Any) -> None:
            status = function(*args)
            if status != 0:
                raise CudaError(f"{name} says {self.name_of(status)}")

        return call

    def name_of(self, status: int) -> str:
        """Return the name of an error, such as "CUDA_ERROR_OUT_OF_MEMORY (2)"."""
        text = ctypes.c_char_p()
        self.library.cuGetErrorName(status, ctypes.byref(text))
        return f"{(text.value or b'error').decode()} ({status})"


def probe(driver: Driver, ordinal: int, spare: int) -> dict[str, Any]:
    """Return what a context on a GPU can have of its memory.

    Args:
        driver: The driver.
        ordinal: CUDA's number of the GPU.
        spare: Bytes of what is free that are left to other programs throughout.
    """
    device, context = ctypes.c_int(), ctypes.c_void_p()
    driver.cuDeviceGet(ctypes.byref(device), ordinal)
    uuid = ctypes.create_string_buffer(16)
    driver.cuDeviceGetUuid(uuid, device)
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    try:
        driver.cuCtxSetCurrent(context)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        try_memory(driver)
        asked = max(free.value - spare, 0) // STEP * STEP
        largest = largest_block(driver, asked)
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
    return {
        "ordinal": ordinal,
        "uuid": uuid.raw.hex(),
        "total": total.value,
        "free": free.value,
        "asked": asked,
        "largest": largest,
    }


def try_memory(driver: Driver) -> None:
    """Write to a little of the GPU's memory and read it back."""
    pointer, back = ctypes.c_uint64(), ctypes.create_string_buffer(TRIAL)
    driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(TRIAL))
    driver.cuMemsetD8_v2(pointer, ctypes.c_ubyte(0xA5), ctypes.c_size_t(TRIAL))
    driver.cuMemcpyDtoH_v2(back, pointer, ctypes.c_size_t(TRIAL))
    driver.cuMemFree_v2(pointer)
    if back.raw != b"\xa5" * TRIAL:
        raise CudaError("memory does not hold what was written to it")


def largest_block(driver: Driver, asked: int) -> int:
    """Return the bytes of the largest block that can be allocated, by bisection.

    All of it is asked for first, which is what succeeds where nothing is fragmented.
    """
    if can_allocate(driver, asked):
        return asked
    can, cannot = 0, asked
    while cannot - can > max(STEP, asked // PRECISION):
        middle = (can + cannot) // 2 // STEP * STEP
        if can_allocate(driver, middle):
            can = middle
        else:
            cannot = middle
    return can


def can_allocate(driver: Driver, size: int) -> bool:
    """Allocate a block and give it back at once; say whether there was one."""
    if size == 0:
        return True
    pointer = ctypes.c_uint64()
    status = driver.library.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size))
    if status == OUT_OF_MEMORY:
        return False
    if status != 0:
        raise CudaError(f"cuMemAlloc says {driver.name_of(status)}")
    driver.cuMemFree_v2(pointer)
    return True


def say(answer: dict[str, Any]) -> None:
    """Print an answer at once: the next GPU may end this process."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Probe each GPU that the arguments name."""
    seconds, spare, *ordinals = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash here is a result, not a file
    signal.alarm(seconds)  # ends it even if nobody waits any more
    try:
        driver = Driver()
        driver.cuInit(0)
    except (OSError, CudaError) as error:
        say({"error": str(error)})
        return
    for ordinal in ordinals:
        try:
            say(probe(driver, ordinal, spare))
        except (CudaError, AttributeError) as error:
            say({"ordinal": ordinal, "error": str(error)})


if __name__ == "__main__":
    main()
