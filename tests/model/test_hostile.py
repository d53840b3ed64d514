"""Model folders made to do harm: a clear sentence, in bounded time and memory.

Each is looked at by a process of its own, which reports the most memory that it had; a
healthy model takes some 35 MB.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sgl_embed_kit.model.facts import TOKENIZER_CONFIG_LIMIT
from sgl_embed_kit.model.files import CONFIG_LIMIT
from sgl_embed_kit.model.safetensors import HEADER_LIMIT
from sgl_embed_kit.model.tokenizer import TOKENIZER_LIMIT
from sgl_embed_kit.model.weights import INDEX_FILE, INDEX_LIMIT
from tests.memory import PEAK
from tests.model.builders import qwen_8b, write_header

MEMORY_LIMIT = 150_000_000
TIME_LIMIT = 20
"""Seconds: a hang, not a benchmark."""

SHOW = f"""{PEAK}
import atexit, json, sys
def report():
    print(json.dumps([peak(), sorted(sys.modules)]), file=sys.stderr)
atexit.register(report)
from sgl_embed_kit.cli.main import main
main(["model", "show", sys.argv[1]])
"""


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _header(make: Callable[[], str], claimed: int | None = None) -> Callable[[Path], None]:
    return lambda path: write_header(path, make().encode(), 0, claimed)


def _text(make: Callable[[], str]) -> Callable[[Path], object]:
    return lambda path: path.write_text(make(), encoding="utf-8")


def _sparse(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


def _sparse_header(path: Path) -> None:
    write_header(path, b"", 2 * 10**9, claimed=10**9)


def _filled(start: str, unit: str, end: str, limit: int) -> str:
    """Return the longest text below a limit that repeats a unit."""
    return start + unit * ((limit - len(start) - len(end)) // len(unit) - 1) + end


def _keys(entry: str, limit: int) -> str:
    """Return JSON objects' insides below a limit, each key its own."""
    parts: list[str] = []
    size = 0
    for number in range(10_000_000):
        part = f'"{number:x}":{entry}'
        size += len(part) + 1
        if size > limit - 100:
            break
        parts.append(part)
    return ",".join(parts)


CASES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "config: a million keys": (
        "config.json",
        _text(lambda: "{" + ",".join(f'"k{n}":{n}' for n in range(10**6)) + "}"),
        "no more than 1 MiB are read",
    ),
    "config: many keys, below the limit": (
        "config.json",
        _text(lambda: "{" + _keys("[]", CONFIG_LIMIT) + "}"),
        "names no architecture",
    ),
    "config: many small lists": (
        "config.json",
        _text(lambda: _filled('{"a":[0', ",[]", "]}", CONFIG_LIMIT)),
        "names no architecture",
    ),
    "config: deep": ("config.json", _text(lambda: '{"a":' * 100_000), "nested too deeply"),
    "config: FIFO": ("config.json", _fifo, "It is a FIFO"),
    "config: loop": ("config.json", _loop, "leads back to itself"),
    "config: device": ("config.json", _endless, "is a device"),
    "config: sparse": ("config.json", _sparse(10**12), "no more than 1 MiB are read"),
    "weights: header length 2^63": (
        "model.safetensors",
        _header(lambda: "{}", 2**63),
        "claims 9223372036854775808 bytes",
    ),
    "weights: huge header": (
        "model.safetensors",
        _sparse_header,
        "no more than",
    ),
    "weights: many tensors": (
        "model.safetensors",
        _header(lambda: "{" + _keys("{}", HEADER_LIMIT) + "}"),
        "unknown type",
    ),
    "weights: many small lists": (
        "model.safetensors",
        _header(lambda: _filled('{"a":[0', ",[]", "]}", HEADER_LIMIT)),
        "cannot be read",
    ),
    "weights: long shape": (
        "model.safetensors",
        _header(lambda: _filled('{"a":{"dtype":"F32","shape":[9', ",9", "]}}", HEADER_LIMIT)),
        "do not fill",
    ),
    "weights: deep": (
        "model.safetensors",
        _header(lambda: '{"a":{"b":' * 400_000),
        "too deeply|be read",
    ),
    "weights: FIFO": ("model.safetensors", _fifo, "FIFO"),
    "weights: loop": ("model.safetensors", _loop, "leads back to itself"),
    "index: many tensors": (
        INDEX_FILE,
        _text(lambda: '{"weight_map":{' + _keys('"m"', INDEX_LIMIT) + "}}"),
        "lacks m",
    ),
    "index: many files": (
        INDEX_FILE,
        _text(lambda: '{"weight_map":{' + ",".join(f'"{n}":"f{n}"' for n in range(200_000)) + "}}"),
        "and 199997 more",
    ),
    "tokenizer: 200 MB": ("tokenizer.json", _sparse(200_000_000), "no more than 64 MiB are read"),
    "tokenizer: a TB": ("tokenizer.json", _sparse(10**12), "no more than 64 MiB are read"),
    "tokenizer: deep": ("tokenizer.json", _text(lambda: '{"a":' * 100_000), "It is no tokenizer"),
    "tokenizer: FIFO": ("tokenizer.json", _fifo, "FIFO"),
    "tokenizer: loop": ("tokenizer.json", _loop, "leads back to itself"),
    "tokenizer_config: many small lists": (
        "tokenizer_config.json",
        _text(lambda: _filled('{"a":[0', ",[]", "]}", TOKENIZER_CONFIG_LIMIT)),
        "Nothing is wrong",
    ),
    "modules: FIFO": ("modules.json", _fifo, "FIFO"),
    "modules: deep": ("modules.json", _text(lambda: "[" * 500_000), "is not JSON"),
    "modules: many": (
        "modules.json",
        _text(lambda: _filled("[0", ",{}", "]", CONFIG_LIMIT)),
        "modules without a type",
    ),
}


def look_at(folder: Path) -> tuple[int, str, int, set[str]]:
    """Return exit status, what was said, peak memory in bytes, and the modules imported."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW, str(folder)],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    *said, measured = done.stderr.splitlines()
    memory, modules = json.loads(measured)
    return done.returncode, done.stdout + "\n".join(said), memory, set(modules)


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_file_gets_a_sentence_in_bounded_time_and_memory(
    healthy: Path, tmp_path: Path, case: str
) -> None:
    name, harm, said = CASES[case]
    folder = shutil.copytree(healthy, tmp_path / "m")
    harm(folder / name)
    status, shown, memory, _ = look_at(folder)
    assert status in {0, 1}
    assert re.search(said, " ".join(shown.split())), shown
    assert "Traceback" not in shown
    assert "bug in itself" not in shown
    assert memory < MEMORY_LIMIT, f"{memory / 1e6:.0f} MB"


def test_a_model_of_8b_parameters_takes_little_memory_and_no_torch(tmp_path: Path) -> None:
    status, shown, memory, modules = look_at(qwen_8b(tmp_path / "m"))
    assert status == 0
    assert "7,567,295,488 of bfloat16" in shown
    assert memory < MEMORY_LIMIT
    never = {"torch", "sglang", "transformers", "safetensors"}
    never |= {"httpx", "huggingface_hub", "numpy", "pydantic", "rich"}  # nothing here needs them
    assert not modules & never


def test_nothing_of_the_model_is_run(healthy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(healthy, tmp_path / "m")
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()"
    (folder / "modeling_x.py").write_text(code)
    (folder / "__init__.py").write_text(code)
    # A pickle that writes the file when it is loaded: GLOBAL, MARK, arguments, REDUCE.
    (folder / "pytorch_model.bin").write_bytes(f"cbuiltins\nexec\n(S{code!r}\ntR.".encode())
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_x.X"}
    (folder / "config.json").write_text(json.dumps(config))
    _, shown, _, _ = look_at(folder)
    assert "modeling_x.py" in shown
    assert "pytorch_model.bin" in shown
    assert not mark.exists()


def test_the_limits_leave_room_for_real_files() -> None:
    """A tokenizer_config.json of 1.2 MB and a tokenizer.json of 33 MB exist (Gemma 3)."""
    assert TOKENIZER_CONFIG_LIMIT > 2_000_000
    assert TOKENIZER_LIMIT > 40_000_000
