"""The processes of this machine: real ones, and files like those of /proc."""

import subprocess
import sys
from pathlib import Path

from sgl_embed_kit.machine.processes import Running, running_with


def test_a_real_process_is_found_by_a_word_of_its_arguments() -> None:
    word = "a-word-of-this-test"
    code = "print(flush=True); input()"
    argv = [sys.executable, "-c", code, word, "two words", ""]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = running_with(word)
        process.kill()
    assert found is not None
    assert Running(process.pid, tuple(argv[:-1])) in found


def test_what_is_no_process_or_hidden_is_passed_over(tmp_path: Path) -> None:
    for name in ("self", "1", "2", "sys"):
        (tmp_path / name).mkdir()
    (tmp_path / "1" / "cmdline").write_bytes(b"sglang\0serve\0")
    (tmp_path / "sys" / "cmdline").write_bytes(b"sglang\0")
    assert running_with("sglang", tmp_path) == (Running(1, ("sglang", "serve")),)
    assert running_with("vllm", tmp_path) == ()


def test_without_proc_nothing_can_be_told(tmp_path: Path) -> None:
    assert running_with("sglang", tmp_path) is None
