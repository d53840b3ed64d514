"""The stand-in for sgl_kernel."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.sglang.installed import find_installed

FAKE_DRIVER = """
int cuInit(unsigned int flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
"""


def _python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(OVERLAY), "PATH": "/usr/bin:/bin", **env},
    )


def _driver(folder: Path, init: int, count: int) -> Path:
    """Compile a libcuda.so.1 that reports `count` devices, and return its folder."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler; get one with: apt-get install gcc libc6-dev")
    source = folder / "driver.c"
    source.write_text(FAKE_DRIVER.replace("INIT", str(init)).replace("COUNT", str(count)))
    target = folder / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(target), str(source)], check=True)
    return folder


def test_any_name_can_be_imported_and_says_what_is_missing_when_called() -> None:
    done = _python("from sgl_kernel import rmsnorm, some_new_kernel; some_new_kernel(1, eps=2)")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "NotImplementedError: The CPU stand-in for sgl_kernel has no kernel 'some_new_kernel'"
    )


def test_modules_of_the_real_package_are_absent_not_faked() -> None:
    done = _python("import sgl_kernel.flash_attn")
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError")


@pytest.mark.server
@pytest.mark.skipif(find_installed() is None, reason="torch is not installed; run: make test")
def test_torch_ops_are_missing_with_the_same_sentence() -> None:
    done = _python(
        "import sgl_kernel, torch\n"
        "print(hasattr(torch.ops.sgl_kernel, 'convert_weight_packed'))\n"
        "torch.ops.sgl_kernel.gelu_and_mul_cpu(1)"
    )
    assert done.stdout == "False\n", done.stderr
    assert "AttributeError: The CPU stand-in for sgl_kernel has no kernel" in done.stderr


def test_it_refuses_to_load_where_a_cuda_device_is_visible(tmp_path: Path) -> None:
    done = _python("import sgl_kernel", LD_LIBRARY_PATH=str(_driver(tmp_path, init=0, count=1)))
    assert "ImportError: The CPU stand-in for sgl_kernel was loaded where" in done.stderr


@pytest.mark.parametrize(("init", "count"), [(100, 0), (0, 0)], ids=["no device", "none visible"])
def test_a_driver_without_a_visible_device_is_no_obstacle(
    tmp_path: Path, init: int, count: int
) -> None:
    done = _python("import sgl_kernel", LD_LIBRARY_PATH=str(_driver(tmp_path, init, count)))
    assert done.returncode == 0, done.stderr


def test_it_is_not_importable_from_the_toolkit_itself() -> None:
    done = _python("import sgl_kernel; print(sgl_kernel.__version__)", PYTHONPATH="")
    assert "sgl-embed" not in done.stdout
