"""What compiles at first use, and where that is kept: what the checks find."""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.doctor.checks.toolchain import LEAST_SPACE, LINKERS_FOLDERS
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import Folder
from tests.doctor.checks.cases import Case, find
from tests.machines import PROGRAMS, VARIABLES, FakeMachine

GPU = {"device": "cuda"}
ALONE = FakeMachine(programs=frozenset(), missing=("/nvcc", "/ninja", "/Python.h"))
ELSEWHERE = tuple(f"{folder}/libcudart.so" for folder in LINKERS_FOLDERS)
NODES = ("/nodes-that-are-missing",)
READ_ONLY = "Read-only file system"

CASES: list[Case] = [
    ("SGE-JIT-001", {}, Status.OK, "compiles nothing; lscpu is here"),
    ("SGE-JIT-001", {"machine": ALONE}, Status.ERROR, "lscpu is not on PATH"),
    ("SGE-JIT-001", {"hardware": GPU}, Status.OK, "C and C++ compiler"),
    (
        "SGE-JIT-001",
        {"hardware": GPU, "machine": ALONE},
        Status.ERROR,
        "missing: a C compiler, a C++ compiler, Python.h, ninja, /usr/local/cuda/bin/nvcc",
    ),
    (
        "SGE-JIT-001",
        {"hardware": GPU, "machine": ALONE, "model": {"path": "demo:all-minilm-l6-v2"}},
        Status.WARN,
        "missing: a C compiler",
    ),
    ("SGE-JIT-002", {}, Status.OK, "/home/user/.cache/sglang can be written"),
    (
        "SGE-JIT-002",
        {
            "machine": FakeMachine(
                folders={"/home/user/.cache/sglang": Folder(Path("/home"), fault=READ_ONLY)}
            )
        },
        Status.ERROR,
        "/home/user/.cache/sglang cannot be written: Read-only file system",
    ),
    (
        "SGE-JIT-002",
        {
            "hardware": GPU,
            "machine": FakeMachine(
                folders={"/home/user/.cache/sglang/jit": Folder(Path("/home"), noexec=True)}
            ),
        },
        Status.ERROR,
        "/home, for /home/user/.cache/sglang/jit, is mounted noexec",
    ),
    (
        "SGE-JIT-002",
        {"hardware": GPU, "machine": FakeMachine(disk=LEAST_SPACE - 1)},
        Status.WARN,
        "1.0 GB free for /home/user/.cache/sglang",
    ),
    (
        "SGE-JIT-002",
        {"hardware": GPU, "machine": FakeMachine(disk=LEAST_SPACE)},
        Status.OK,
        "/home/user/.cache/sglang can be written",
    ),
    ("SGE-NUMA-001", {}, Status.OK, "not bound"),
    ("SGE-NUMA-001", {"hardware": GPU}, Status.OK, "one NUMA node"),
    (
        "SGE-NUMA-001",
        {"hardware": GPU, "machine": FakeMachine(missing=("system/node",))},
        Status.SKIP,
        "does not show",
    ),
    (
        "SGE-NUMA-001",
        {"hardware": GPU, "machine": FakeMachine(missing=NODES)},
        Status.OK,
        "numactl to bind",
    ),
    (
        "SGE-NUMA-001",
        {"hardware": GPU, "machine": FakeMachine(missing=NODES, programs=frozenset())},
        Status.INFO,
        "no numactl",
    ),
    (
        "SGE-NUMA-001",
        {
            "hardware": GPU,
            "machine": FakeMachine(missing=NODES, programs=frozenset()),
            "sglang": {"extra_args": {"numa-node": [0]}},
        },
        Status.WARN,
        "no numactl",
    ),
]


@pytest.mark.parametrize(
    ("changes", "missing", "fix"),
    [
        ({"programs": PROGRAMS - {"gcc"}}, "a C compiler", "build-essential"),
        ({"programs": PROGRAMS - {"gcc"} | {"clang"}}, "", ""),
        ({"programs": PROGRAMS - {"gcc"}, "CC": "/opt/cc"}, "", ""),
        ({"programs": PROGRAMS - {"c++"}}, "a C++ compiler", "build-essential"),
        ({"programs": PROGRAMS - {"c++"} | {"g++-13"}, "CXX": "g++-13"}, "", ""),
        ({"missing": ("/Python.h",)}, "Python.h", "-dev"),
        ({"programs": PROGRAMS - {"ninja"}}, "", ""),
        ({"missing": ("/ninja",)}, "", ""),
        (
            {"programs": PROGRAMS - {"ninja"}, "missing": ("/ninja",)},
            "ninja",
            "pip install ninja",
        ),
        ({"missing": ("/nvcc",)}, "/usr/bin/nvcc", "https://"),
        ({"missing": ("/usr/bin/nvcc",)}, "/usr/bin/nvcc", "CUDA_HOME=/usr/local/cuda"),
        ({"programs": PROGRAMS - {"nvcc"}}, "", ""),
        (
            {"programs": PROGRAMS - {"nvcc"}, "missing": ("cuda/bin/nvcc",)},
            "/usr/local/cuda/bin/nvcc",
            "https://",
        ),
        (
            {"missing": ("/opt/cuda/bin/nvcc",), "CUDA_HOME": "/opt/cuda"},
            "/opt/cuda/bin/nvcc",
            "CUDA_HOME",
        ),
        (
            {"missing": ("/opt/cuda/bin/nvcc",), "CUDA_PATH": "/opt/cuda"},
            "/opt/cuda/bin/nvcc",
            "CUDA_HOME",
        ),
        ({"missing": ("/libcudart.so",)}, "/usr/lib64/libcudart.so", "https://"),
        ({"missing": ("/usr/lib64/libcudart.so",)}, "", ""),
        ({"missing": ("/opt/lib64/libcudart.so",), "CUDA_HOME": "/opt"}, "", ""),
        (
            {"missing": ("/opt/lib64/libcudart.so", *ELSEWHERE), "CUDA_HOME": "/opt"},
            "/opt/lib64/libcudart.so",
            "CUDA_HOME=/usr/local/cuda",
        ),
        (
            {
                "missing": ("/opt/lib64/libcudart.so", *ELSEWHERE),
                "CUDA_HOME": "/opt",
                "LIBRARY_PATH": "/a:/b",
            },
            "",
            "",
        ),
    ],
)
def test_what_is_missing_to_compile_for_a_gpu(
    changes: dict[str, Any], missing: str, fix: str
) -> None:
    variables = VARIABLES | {name: text for name, text in changes.items() if name.isupper()}
    fields = {name: value for name, value in changes.items() if name.islower()}
    finding = find("SGE-JIT-001", FakeMachine(variables=variables, **fields), hardware=GPU)
    assert finding.status is (Status.ERROR if missing else Status.OK)
    assert finding.found == f"missing: {missing}" or not missing
    assert fix in finding.fix


def test_the_linker_looks_where_the_check_does() -> None:
    printed = subprocess.run(["ld", "--verbose"], capture_output=True, text=True, check=True)
    folders = set(re.findall(r'SEARCH_DIR\("=?([^"]+)"\)', printed.stdout))
    here = {folder for folder in LINKERS_FOLDERS if Path(folder).is_dir()}
    assert here
    assert here <= folders


def test_the_nvcc_that_comes_with_pip_has_no_library_to_link_with() -> None:
    folder = Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cu13"
    if not (folder / "bin" / "nvcc").is_file():
        pytest.skip("SGLang is not installed; get it with: make test")
    assert not list(folder.rglob("libcudart.so"))
    missing = (f"{folder}/lib64/libcudart.so", *ELSEWHERE)
    machine = FakeMachine(variables={"CUDA_HOME": str(folder)}, missing=missing)
    assert "libcudart.so" in find("SGE-JIT-001", machine, hardware=GPU).found


@pytest.mark.parametrize(
    ("variables", "device", "folder"),
    [
        ({"SGLANG_CACHE_DIR": "/c"}, "cpu", "/c"),
        ({"SGLANG_CACHE_DIR": "/c"}, "cuda", "/home/user/.cache/sglang/jit"),
        ({"SGLANG_JIT_CACHE_DIR": "/j"}, "cuda", "/j"),
        ({"TORCHINDUCTOR_CACHE_DIR": "/i"}, "cpu", "/i"),
        ({"FLASHINFER_WORKSPACE_BASE": "/f"}, "cpu", "/f"),
        ({"TRITON_CACHE_DIR": "~/t"}, "cuda", "/home/user/t"),
        ({"HOME": "/"}, "cpu", "/.cache/sglang"),
    ],
)
def test_each_folder_for_compiled_code_is_looked_at(
    variables: dict[str, str], device: str, folder: str
) -> None:
    folders = {folder: Folder(Path("/"), fault=READ_ONLY)}
    machine = FakeMachine(variables=VARIABLES | variables, folders=folders)
    finding = find("SGE-JIT-002", machine, hardware={"device": device})
    assert finding.status is Status.ERROR
    assert finding.found.startswith(f"{folder} cannot be written")
    name = next(iter(variables))
    named = "SGLANG_CACHE_DIR" if name == "HOME" else name
    if folder.endswith("jit"):
        named = "SGLANG_JIT_CACHE_DIR"
    assert finding.fix == f"export {named}=/a/folder/you/own"


def test_what_the_profile_sets_is_cured_in_the_profile() -> None:
    folders = {"/mine": Folder(Path("/"), fault=READ_ONLY)}
    machine = FakeMachine(folders=folders)
    finding = find("SGE-JIT-002", machine, env={"SGLANG_CACHE_DIR": "/mine"})
    assert finding.fix == "env: {SGLANG_CACHE_DIR: /a/folder/you/own}  # in the profile"


def test_the_cache_of_sglangs_own_kernels_is_for_gpus_alone() -> None:
    machine = FakeMachine(
        variables=VARIABLES | {"SGLANG_JIT_CACHE_DIR": "/j"},
        folders={"/j": Folder(Path("/j"), fault=READ_ONLY)},
    )
    assert find("SGE-JIT-002", machine).status is Status.OK


@pytest.mark.parametrize("folder", [Folder(Path("/"), noexec=True, free=10**12), Folder(Path("/"))])
def test_a_server_on_the_cpu_loads_nothing_from_its_caches(folder: Folder) -> None:
    machine = FakeMachine(folders={"/home/user/.cache/sglang": folder})
    assert find("SGE-JIT-002", machine).status is Status.OK


def test_sglang_names_the_folders_as_the_check_does() -> None:
    """Its own function, run on its source: srt/environ.py imports nothing heavy."""
    package = Path(sysconfig.get_paths()["purelib"]) / "sglang" / "srt" / "environ.py"
    if not package.is_file():
        pytest.skip("SGLang is not installed; get it with: make test")
    code = (
        "import runpy, sys\n"
        "names = runpy.run_path(sys.argv[1])\n"
        "print(*names['third_party_cache_defaults']().items(), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(package)],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": "/home/user"},
    )
    base = "/home/user/.cache/sglang"
    for line in (
        f"('TRITON_CACHE_DIR', '{base}/triton')",
        f"('TORCHINDUCTOR_CACHE_DIR', '{base}/inductor')",
        f"('FLASHINFER_WORKSPACE_BASE', '{base}')",
    ):
        assert line in done.stdout.splitlines()
