"""What people trip over is handled: each pitfall by checks and tests that there are."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from sgl_embed_kit.doctor.catalogue import catalogue
from tests.conftest import ROOT
from tests.doctor.checks.fixes import HARMFUL

TESTS = ROOT / "tests"
PITFALLS: dict[str, dict[str, Any]] = yaml.safe_load((TESTS / "pitfalls.yaml").read_text())
each = pytest.mark.parametrize("name", PITFALLS)


@cache
def functions(file: str) -> frozenset[str]:
    """Return the names of the tests in a file, also of those in classes."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def faults(entry: dict[str, Any]) -> list[str]:
    """Return what an entry names that is not there, and what it puts off that is."""
    found = []
    for check in entry.get("checks", ()):
        found += [] if check in catalogue() else [f"there is no check {check}"]
    for test in entry.get("tests", ()):
        file, _, function = test.partition("::")
        is_there = (TESTS / file).is_file() and function in functions(file)
        found += [] if is_there and function.startswith("test_") else [f"there is no test {test}"]
    for text in entry.get("later", ()):
        is_here = text in catalogue()
        found += [f"{text} is here: move it to `checks`"] if is_here else []
    return found


def test_every_pitfall_is_in_the_list_and_none_is_invented() -> None:
    assert list(PITFALLS) == [f"P{number:02}" for number in range(1, 28)]


@each
def test_what_handles_it_is_there_or_yet_to_come(name: str) -> None:
    entry = PITFALLS[name]
    assert set(entry) <= {"title", "checks", "tests", "later"}
    assert entry["title"]
    assert any(entry.get(kind) for kind in ("checks", "tests", "later"))
    assert faults(entry) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"checks": ["SGE-NET-999"]},
        {"tests": ["test_pitfalls.py::test_that_is_not_there"]},
        {"tests": ["test_gone.py::test_x"]},
        {"tests": ["test_pitfalls.py::functions"]},
        {"tests": ["test_pitfalls.py"]},
        {"later": ["SGE-NET-001"]},
    ],
    ids=str,
)
def test_the_list_can_be_wrong(entry: dict[str, Any]) -> None:
    assert len(faults(entry)) == 1


def shipped_texts() -> list[Path]:
    """Return all that the toolkit can tell anybody: its code, its data, its pages."""
    package = ROOT / "sgl_embed_kit"
    files = [path for end in ("*.py", "*.yaml") for path in package.rglob(end)]
    return [*files, *ROOT.glob("docs/*.md"), ROOT / "README.md"]


def test_nothing_that_is_told_proposes_a_cure_that_does_harm() -> None:
    for path in shipped_texts():
        assert HARMFUL.search(path.read_text(encoding="utf-8")) is None, path
