"""The rules of the test suite itself: under CI, nothing may be missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SKIPS = """
import pytest

@pytest.mark.skipif(True, reason="nginx is not installed; get it with: apt-get install nginx")
def test_marked(): pass

def test_inside():
    pytest.skip("kubectl is not installed; get it with: apt-get install kubectl")

@pytest.mark.gpu
def test_deselected(): assert False
"""


@pytest.mark.parametrize(
    ("ci", "code", "closing"),
    [("true", 1, "1 failed, 1 deselected, 1 error"), ("", 0, "2 skipped, 1 deselected")],
)
def test_a_skip_says_what_is_missing_and_fails_only_under_ci(
    tmp_path: Path, ci: str, code: int, closing: str
) -> None:
    (tmp_path / "test_skips.py").write_text(SKIPS)
    argv = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-m", "not gpu"]
    argv += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == code, done.stdout
    assert closing in done.stdout
    assert "nginx is not installed; get it with: apt-get install nginx" in done.stdout
    assert "kubectl is not installed" in done.stdout
