"""The entry point: cheap and without effect unless it is switched on."""

import json
import subprocess
import sys
from importlib import metadata

import pytest

from sgl_embed_kit import guard

NEW_MODULES = """
import json, os, sys, typing  # SGLang has these long before it looks for plugins
before = set(sys.modules)
from sgl_embed_kit.guard import activate
activate()
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_switched_off_it_imports_nothing_but_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NEW_MODULES], capture_output=True, text=True, check=True, env={}
    )
    assert json.loads(done.stdout) == ["__future__", "sgl_embed_kit", "sgl_embed_kit.guard"]


def test_only_the_value_1_switches_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(guard.SWITCH, "0")
    monkeypatch.setitem(sys.modules, "sgl_embed_kit.guard.encoder", None)  # importing it raises
    guard.activate()
    monkeypatch.setenv(guard.SWITCH, "1")
    with pytest.raises(ImportError):
        guard.activate()


def test_sglang_finds_it_by_its_entry_point() -> None:
    entries = metadata.entry_points(group="sglang.srt.plugins", name="sgl_embed_guard")
    assert [entry.load() for entry in entries] == [guard.activate]
