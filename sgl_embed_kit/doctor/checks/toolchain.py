"""Checks of what a server compiles with at its first requests, and of where that is kept."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from sgl_embed_kit.doctor.checks.variables import set_variable
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.folders import expand_home
from sgl_embed_kit.plan.plan import gigabytes

LINKERS_FOLDERS = (
    *("/usr/local/lib/x86_64-linux-gnu", "/usr/local/lib64", "/usr/local/lib"),
    *("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"),
)
"""Where ld looks without being told (ld --verbose)."""
USUAL_TOOLKIT = Path("/usr/local/cuda")
LEAST_SPACE = 10**9
"""Bytes for compiled kernels on a GPU: a judgement, nobody in this project has measured it."""
SECOND_NODE = Path("/sys/devices/system/node/node1")
"""What SGLang takes for a machine with several NUMA nodes (srt/utils/numa_utils.py)."""


def compilers(subject: Subject) -> Finding:
    """Look for the programs that SGLang calls while it starts, and at its first requests.

    On a CPU that is lscpu alone: a server came up and embedded without any compiler on its
    PATH (SGLang 0.5.23).
    """
    if subject.profile.hardware.device == "cpu":
        if subject.machine.program("lscpu", subject.environment.get("PATH")) is None:
            return Finding(
                Status.ERROR,
                "lscpu is not on PATH",
                "lscpu, by which SGLang counts processors and memory on a CPU",
                "apt-get install -y util-linux",
            )
        return Finding(Status.OK, "a server on the CPU compiles nothing; lscpu is here")
    missing = dict(_missing(subject))
    if not missing:
        return Finding(Status.OK, "C and C++ compiler, Python.h, ninja, nvcc and libcudart")
    # A BERT model's layers are PyTorch's own (srt/models/bert.py): only its attention is
    # compiled, and not on every GPU.
    encoder = subject.bounds is not None and subject.bounds.is_encoder
    return Finding(
        Status.WARN if encoder else Status.ERROR,
        f"missing: {', '.join(missing)}",
        "what SGLang, FlashInfer and Triton compile GPU kernels with at their first use",
        next(iter(missing.values())),
    )


def _missing(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield what is missing to compile for a GPU, each with what brings it.

    Looked for as they are looked for there: kernels/jit/utils/compile/toolchain.py and
    ninja.py of SGLang, jit/cpp_ext.py of FlashInfer, runtime/build.py of Triton.
    """
    machine, env = subject.machine, subject.environment
    path = env.get("PATH")
    install = "apt-get install -y build-essential python3-dev"
    if not env.get("CC") and not any(machine.program(name, path) for name in ("gcc", "clang")):
        yield "a C compiler", install
    if machine.program(env.get("CXX") or "c++", path) is None:
        yield "a C++ compiler", install
    if machine.file(Path(sysconfig.get_paths()["include"]) / "Python.h") is None:
        yield (
            "Python.h",
            f"apt-get install -y python{sys.version_info[0]}.{sys.version_info[1]}-dev",
        )
    # The launcher puts the programs of its own environment first on the server's PATH.
    beside = machine.file(Path(sys.executable).parent / "ninja")
    if beside is None and machine.program("ninja", path) is None:
        yield "ninja", "pip install ninja"
    home = _cuda_home(subject)
    usual = _has_compiler(subject, USUAL_TOOLKIT) and _can_link(subject, USUAL_TOOLKIT)
    toolkit = (
        set_variable(subject, "CUDA_HOME", str(USUAL_TOOLKIT))
        if usual
        else "apt-get install -y cuda-toolkit-13-0  # see https://developer.nvidia.com/cuda-downloads"
    )
    if not _has_compiler(subject, home):
        yield f"{home}/bin/nvcc", toolkit
    elif not _can_link(subject, home):
        yield f"{home}/lib64/libcudart.so", toolkit


def _cuda_home(subject: Subject) -> Path:
    env = subject.environment
    named = env.get("CUDA_HOME") or env.get("CUDA_PATH")
    if named:
        return Path(named)
    nvcc = subject.machine.program("nvcc", env.get("PATH"))
    return nvcc.parent.parent if nvcc else USUAL_TOOLKIT


def _has_compiler(subject: Subject, home: Path) -> bool:
    return subject.machine.file(home / "bin" / "nvcc") is not None


def _can_link(subject: Subject, home: Path) -> bool:
    """Say whether `-L{home}/lib64 -lcudart` finds its library."""
    named = subject.environment.get("LIBRARY_PATH", "").split(os.pathsep)
    folders = (str(home / "lib64"), *filter(None, named), *LINKERS_FOLDERS)
    return any(subject.machine.file(Path(folder) / "libcudart.so") for folder in folders)


def caches(subject: Subject) -> Finding:
    """Look whether what is compiled can be written, kept and loaded again."""
    on_gpu = subject.profile.hardware.device == "cuda"
    folders = _caches(subject)
    for name, path in folders.items():
        folder = subject.machine.folder(path)
        cure = set_variable(subject, name, "/a/folder/you/own")
        if folder.fault:
            return Finding(
                Status.ERROR,
                f"{path} cannot be written: {folder.fault}",
                "a cache that can be: torch and FlashInfer make theirs while they are imported",
                cure,
            )
        if on_gpu and folder.noexec:
            return Finding(
                Status.ERROR,
                f"{folder.path}, for {path}, is mounted noexec",
                "a cache from which compiled kernels can be loaded",
                cure,
            )
        if on_gpu and folder.free < LEAST_SPACE:
            return Finding(
                Status.WARN,
                f"{gigabytes(folder.free)} free for {path}",
                f"{gigabytes(LEAST_SPACE)} for compiled kernels",
                cure,
            )
    return Finding(Status.OK, f"{folders['SGLANG_CACHE_DIR']} can be written")


def _caches(subject: Subject) -> dict[str, Path]:
    """Return the folders for compiled code, by the variables that name them.

    SGLang puts those of Triton, Inductor and FlashInfer into its own
    (third_party_cache_defaults in srt/environ.py), unless they are named; that of its own
    kernels does not follow (cache_root in kernels/jit/utils/compile/cache.py), and is used
    on GPUs alone.
    """
    env = subject.environment
    folders = {"SGLANG_CACHE_DIR": env.get("SGLANG_CACHE_DIR") or "~/.cache/sglang"}
    if subject.profile.hardware.device == "cuda":
        own = env.get("SGLANG_JIT_CACHE_DIR") or "~/.cache/sglang/jit"
        folders["SGLANG_JIT_CACHE_DIR"] = own
    for name in ("TORCHINDUCTOR_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE", "TRITON_CACHE_DIR"):
        if env.get(name):
            folders[name] = env[name]
    return {name: Path(expand_home(path, env)) for name, path in folders.items()}


def numa(subject: Subject) -> Finding:
    """Look whether a scheduler can be bound to the processors and memory next to its GPU."""
    if subject.profile.hardware.device == "cpu":
        return Finding(Status.OK, "a server on the CPU is not bound to a NUMA node")
    if subject.machine.file(SECOND_NODE.parent) is None:
        return Finding(Status.SKIP, "this system does not show its NUMA nodes")
    if subject.machine.file(SECOND_NODE) is None:
        return Finding(Status.OK, "one NUMA node")
    if subject.machine.program("numactl", subject.environment.get("PATH")) is not None:
        return Finding(Status.OK, "several NUMA nodes, and numactl to bind to them")
    asked = "numa-node" in subject.profile.sglang.extra_args
    return Finding(
        Status.WARN if asked else Status.INFO,
        "several NUMA nodes, and no numactl: SGLang will not bind to the one of the GPU",
        "numactl, by which SGLang binds its schedulers; libnuma comes with it",
        "apt-get install -y numactl",
    )
