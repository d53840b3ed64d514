"""How long a server's start may take before something must be wrong. Pure; times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from sgl_embed_kit.model.shape import ModelShape

IMPORTS = 240.0
"""58 s were measured on two cores with nothing byte-compiled; other work on them may take
three quarters of their time."""
READ_RATE = 50e6
"""Bytes a second that a network disk or an old hard disk gives."""
FETCH_RATE = 5e6
"""Bytes a second from a hub, over a line of 40 Mbit/s."""
GPU_KERNELS = 300.0
"""CUDA context, kernels compiled at their first use, graphs captured."""
CPU_KERNELS = 60.0
GPU_TOKENS = 1000.0
CPU_TOKENS = 20.0
"""Tokens a second that the probe's text is worked on at."""
UNKNOWN_WEIGHTS = 16_000_000_000
"""Bytes of weights where the model is not known: of eight billion parameters."""
STORED_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class StartTime:
    """What a start may take, part by part.

    Attributes:
        weight_bytes: Bytes of weights that are read.
        imports: Until SGLang's processes are up.
        weights: Until the weights are read.
        fetching: Until they are here; 0 where they are.
        kernels: For what is compiled and captured, and the first embedding.
        probe: For the embedding of a long text.
    """

    weight_bytes: int
    imports: float
    weights: float
    fetching: float
    kernels: float
    probe: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.imports + self.fetching + self.weights + self.kernels + self.probe

    def __str__(self) -> str:
        gigabytes = f"{self.weight_bytes / 1e9:.1f} GB of weights"
        parts = {
            "imports": self.imports,
            f"fetching {gigabytes}": self.fetching,
            f"reading {gigabytes}": self.weights,
            "kernels": self.kernels,
            "the probe": self.probe,
        }
        return " + ".join(f"{part:.0f} s for {name}" for name, part in parts.items() if part)


def start_time(
    shape: ModelShape | None, *, is_cpu: bool, is_here: bool, probe_tokens: int = 0
) -> StartTime:
    """Return what the start of a server may take on the slowest machine that works.

    It is `IMPORTS` + bytes / `READ_RATE` + `GPU_KERNELS` or `CPU_KERNELS` + the probe's tokens
    / `GPU_TOKENS` or `CPU_TOKENS`; where SGLang fetches the weights itself, bytes /
    `FETCH_RATE` more. The bytes are those of the files: parameters times the stored type's.
    Of Qwen3-Embedding-8B on a GPU, 15.1 GB: 240 + 303 + 300 + 41 for 40960 tokens = 884 s.

    Args:
        shape: Shape of the model; None where it is not known.
        is_cpu: Whether it runs on the CPU.
        is_here: Whether the weights are on this machine.
        probe_tokens: Tokens of the probe's text.
    """
    size = UNKNOWN_WEIGHTS
    if shape is not None:
        size = shape.parameters * STORED_BYTES.get(shape.stored_dtype, 2)
    return StartTime(
        weight_bytes=size,
        imports=IMPORTS,
        weights=size / READ_RATE,
        fetching=0.0 if is_here else size / FETCH_RATE,
        kernels=CPU_KERNELS if is_cpu else GPU_KERNELS,
        probe=probe_tokens / (CPU_TOKENS if is_cpu else GPU_TOKENS),
    )
