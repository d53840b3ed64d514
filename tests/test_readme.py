"""The README is true: every command in it is run, and its output compared.

In expected output, `…` stands for what varies: any text, or as a line of its own any
number of lines. The port 30000 stands for the port of the server that the tests started.
`make quickstart` runs with `--once` and without a model hub; of `make test`, which would
run this test, only the recipe is looked at.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sgl_embed_kit.model.source import locate
from tests.conftest import ROOT, START_LIMIT, Launched, free_port
from tests.machines import UNREACHABLE

LAUNCH = "sgl-embed launch minilm-cpu"
README = (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its content, and the line where it stands."""

    language: str
    content: str
    line: int


def blocks() -> list[Block]:
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [Block(f[1], f[2], README[: f.start()].count("\n") + 1) for f in fences]


def commands() -> list[tuple[int, str, str]]:
    """Return line, command and expected output of every `$` line in a console block."""
    found = []
    for block in blocks():
        if block.language == "console":
            for part in re.split(r"^\$ ", block.content, flags=re.MULTILINE)[1:]:
                match = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n?(.*)", part, re.DOTALL)
                assert match is not None
                found.append((block.line, match[1], match[2]))
    return found


def assert_matches(expected: str, printed: str) -> None:
    """Compare line by line, where `…` stands for anything."""
    lines = []
    for line in expected.strip().splitlines():
        pieces = [re.escape(piece) for piece in line.split("…")]
        lines.append(r"(?:.*\n?)*?" if line == "…" else ".*".join(pieces) + r"\n")
    shown = "\n".join(line.rstrip() for line in printed.strip().splitlines()) + "\n"
    assert re.fullmatch("".join(lines), shown), f"expected\n{expected}\nprinted\n{shown}"


def shell(command: str, cwd: Path) -> str:
    """Run a command as a reader would, and return what it prints on either stream."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # These tests may run under make themselves; a reader's make does not.
    inherited = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL"}}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_LIMIT,
        check=False,
        env={**inherited, "PATH": path, "HF_ENDPOINT": UNREACHABLE},
    )
    return done.stdout


def is_heavy(command: str) -> bool:
    return command.startswith("make ") or command == LAUNCH


def test_it_leads_with_the_two_commands() -> None:
    assert [command for _, command, _ in commands()][:2] == ["make quickstart", "make test"]


@pytest.mark.server
def test_make_quickstart_prints_what_the_readme_shows() -> None:
    (block,) = (b for b in blocks() if b.language == "text" and "quickstart" in b.content)
    port = str(free_port())
    printed = shell(f"make quickstart ARGS='--once --port {port}'", ROOT)
    assert_matches(block.content.replace("30000", port), printed)


def test_make_test_runs_pytest() -> None:
    recipe = shell("make --dry-run test", ROOT)
    assert "bootstrap.py server dev" in recipe
    assert ".venv/bin/pytest" in recipe


@pytest.mark.server
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(command, expected, id=f"line {line}")
        for line, command, expected in commands()
        if not is_heavy(command)
    ],
)
def test_each_command_prints_what_the_readme_shows(
    command: str, expected: str, minilm: Launched, tmp_path: Path
) -> None:
    for block in blocks():
        if block.language == "yaml":  # its first line names the file that it is
            name = block.content.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(block.content, encoding="utf-8")
    port = minilm.url.rsplit(":", 1)[1]
    if "127.0.0.1:30000/" in command:  # asks the running server
        command = command.replace("30000", port)
    assert_matches(expected, shell(command, tmp_path))


@pytest.mark.server
def test_launch_prints_what_the_readme_shows(minilm: Launched) -> None:
    (expected,) = (
        out for _, command, out in commands() if command == "sgl-embed launch minilm-cpu"
    )
    port = minilm.url.rsplit(":", 1)[1]
    assert_matches(expected.replace("30000", port), minilm.printed)


@pytest.mark.server
def test_the_python_example_prints_what_the_readme_shows(minilm: Launched, tmp_path: Path) -> None:
    every = blocks()
    (at,) = (n for n, block in enumerate(every) if block.language == "python")
    (tmp_path / "example.py").write_text(
        every[at].content.replace("http://127.0.0.1:30000", minilm.url), encoding="utf-8"
    )
    assert_matches(every[at + 1].content, shell("python example.py", tmp_path))


def test_every_link_to_a_file_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a … c", "a b c", True),
        ("a … c", "a b d", False),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\n…", "a", True),
        ("a", "a\nb", False),
        ("a.c", "abc", False),
    ],
)
def test_the_comparison_can_fail(expected: str, printed: str, same: bool) -> None:
    if same:
        assert_matches(expected, printed)
    else:
        with pytest.raises(AssertionError):
            assert_matches(expected, printed)


def test_minilm_is_where_the_readme_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SGL_EMBED_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    folder = locate("demo:all-minilm-l6-v2").folder
    assert folder is not None
    assert folder.is_relative_to(Path("~/.cache/sgl-embed").expanduser())
