"""Stand-in for the CUDA-only `sgl_kernel`, put in place by sgl-embed on a CPU.

It has no kernels. SGLang binds some names when it is imported; each of them is a
function here that says, when called, that the kernel is missing. It contains nothing
of the real package.
"""

from __future__ import annotations

import ctypes
from typing import Any, NoReturn

__version__ = "0.0.0+sgl-embed.cpu"

_MISSING = (
    "The CPU stand-in for sgl_kernel has no kernel '{name}': this model or flag needs one. "
    "Use a GPU, or an SGLang that was built for CPUs from source."
)


def _visible_cuda_devices() -> int:
    """Count the CUDA devices that this process may use, asking the driver itself."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


if _visible_cuda_devices() > 0:
    raise ImportError(
        "The CPU stand-in for sgl_kernel was loaded where a CUDA device is visible. "
        "Take its folder off PYTHONPATH to use the GPU, or set CUDA_VISIBLE_DEVICES='' "
        "to use the CPU."
    )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def missing_kernel(*_args: object, **_kwargs: object) -> NoReturn:
        raise NotImplementedError(_MISSING.format(name=name))

    missing_kernel.__name__ = name
    return missing_kernel


def _explain_missing_ops() -> None:
    """Let `torch.ops.sgl_kernel.<name>` fail with the same sentence.

    It stays an AttributeError, because SGLang asks with `hasattr` which kernels exist.
    """
    try:
        import torch
        from torch._ops import _OpNamespace
    except ImportError:  # nothing can be called through torch.ops then
        return

    class _MissingOps(_OpNamespace):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError as error:
                raise AttributeError(_MISSING.format(name=name)) from error

    torch.ops.sgl_kernel = _MissingOps("sgl_kernel")


_explain_missing_ops()
