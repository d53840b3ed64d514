"""Pages that show commands: each is run, and its output compared with what the page shows.

In expected output, `…` stands for what varies: any text, or as a line of its own any
number of lines. A block of YAML or text whose first line is a comment with a file's name
is that file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, START_LIMIT
from tests.machines import UNREACHABLE


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its content, and the line where it stands."""

    language: str
    content: str
    line: int


@dataclass(frozen=True)
class Shown:
    """A command that a page shows, with the output that it shows, and its line."""

    line: int
    command: str
    output: str


class Page:
    """A page of Markdown, by its path in the repository."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.text = (ROOT / path).read_text(encoding="utf-8")
        fences = re.finditer(r"^```(\w*)\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        self.blocks = [Block(f[1], f[2], self.text[: f.start()].count("\n") + 1) for f in fences]

    @property
    def commands(self) -> list[Shown]:
        """Every `$` line in a console block, with what stands below it."""
        found = []
        for block in self.blocks:
            if block.language == "console":
                for part in re.split(r"^\$ ", block.content, flags=re.MULTILINE)[1:]:
                    match = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n?(.*)", part, re.DOTALL)
                    assert match is not None
                    found.append(Shown(block.line, match[1], match[2]))
        return found

    @property
    def links_to_files(self) -> list[Path]:
        """Files that the page links to."""
        folder = (ROOT / self.path).parent
        return [folder / to for to in re.findall(r"\]\((?!https?:)([^)#]+)\)", self.text)]

    def write_files(self, folder: Path) -> None:
        """Write the files that the page shows into a folder."""
        for block in self.blocks:
            first = block.content.splitlines()[0]
            if block.language in {"yaml", "text"} and re.fullmatch(r"# [\w.-]+\.\w+", first):
                path = folder / first.removeprefix("# ")
                path.write_text(block.content, encoding="utf-8")


def assert_matches(expected: str, printed: str) -> None:
    """Compare line by line, where `…` stands for anything."""
    lines = []
    for line in expected.strip().splitlines():
        pieces = [re.escape(piece) for piece in line.split("…")]
        lines.append(r"(?:.*\n)*?" if line == "…" else ".*".join(pieces) + r"\n")
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
