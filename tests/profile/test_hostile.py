"""Profiles made to cost memory or time: a sentence, at once, in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MEBIBYTE = 1024 * 1024
LOAD = """
import json, sys
from pathlib import Path
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.profile import read_runnable

def most_megabytes():
    # Not ru_maxrss, which begins with the memory of the process that forked this one.
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) // 1024

for path in sys.argv[1:]:
    try:
        read_runnable(path, (), None)
        said = "loaded"
    except KitError as error:
        said = error.why
    print(json.dumps([said[:200], most_megabytes()]))
"""

HOSTILE = {
    "flow-list": "model: {path: x}\nenv: [" + "a," * (MEBIBYTE // 2 - 20) + "]",
    "block-list": "model: {path: x}\nenv:\n" + "- a\n" * (MEBIBYTE // 4 - 20),
    "many-keys": "".join(f"k{n}: v\n" for n in range(80_000)),
    "nested": "model: " + "[" * 900 + "]" * 900,
    "nested-flow-mappings": "{a: " * 900 + "b" + "}" * 900,
    "long-text": "model: {path: '" + "x" * (MEBIBYTE - 40) + "'}",
    "long-key": "x" * (MEBIBYTE - 40) + ": 1",
    "blanks": " " * (MEBIBYTE - 10),
    "variables": "model: {path: '" + "${A:-" * (8000 // 5) + "'}",
    "escapes": 'model: "' + "\\u0041" * (MEBIBYTE // 7) + '"',
    "anchors": "".join(f"a{n}: &a{n} x\n" for n in range(50_000)),
    "unknown-flags": "model: {path: org/m}\nsglang:\n extra_args:\n"
    + "".join(f"  enable-metrics-{n}: v\n" for n in range(480)),
    "path-too-long": "model: {path: '" + "x" * 8000 + "'}",
    "path-with-zero": 'model: {path: "a\\0b"}',
    "nobodys-home": "model: {path: ~nobody-of-this-name/m}",
}


@pytest.mark.timeout(60)
def test_no_profile_takes_the_loader_long_or_200_megabytes(tmp_path: Path) -> None:
    paths = []
    for name, text in HOSTILE.items():
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(HOSTILE)
    assert max(megabytes for _, megabytes in results) < 200
    said = dict(zip(HOSTILE, (text for text, _ in results), strict=True))
    assert "more than 1000 keys and values" in said["flow-list"]
    assert "a text of more than 8192 characters" in said["long-text"]
    assert "nested too deep" in said["nested"]
    # These are profiles; that there is no such model is for the checks to say.
    assert said["path-too-long"] == said["path-with-zero"] == said["nobodys-home"] == "loaded"
