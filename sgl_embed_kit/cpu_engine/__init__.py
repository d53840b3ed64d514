"""The CPU engine: what lets stock SGLang from PyPI run on a machine without a GPU.

The `sglang-kernel` wheel on PyPI holds CUDA code only: importing it without
`libcuda.so.1` raises ImportError, and SGLang imports it on every device. On a CPU
without AMX kernels SGLang calls none of it for dense Qwen3 and BERT models, because
it has PyTorch fallbacks of its own. So a package of the same name whose functions
refuse to be called is enough. It lies in `overlay/`, which `launch` prepends to the
PYTHONPATH of the server process alone; nothing is installed.
"""

from __future__ import annotations

from pathlib import Path

OVERLAY = Path(__file__).parent / "overlay"
"""Folder to put on the server's PYTHONPATH, ahead of site-packages."""
