"""The README is true: every command in it is run, and its output compared (tests/pages.py).

The port 30000 stands for the port of the server that the tests started. `make quickstart`
runs with `--once` and without a model hub; of `make test`, which would run this test, only
the recipe is looked at.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sgl_embed_kit.model.source import locate
from tests.conftest import ROOT, Launched, free_port
from tests.pages import Page, Shown, assert_matches, shell

LAUNCH = "sgl-embed launch minilm-cpu"
README = Page("README.md")


def is_heavy(command: str) -> bool:
    return command.startswith("make ") or command == LAUNCH


def test_it_leads_with_the_two_commands() -> None:
    assert [shown.command for shown in README.commands][:2] == ["make quickstart", "make test"]


@pytest.mark.server
def test_make_quickstart_prints_what_the_readme_shows() -> None:
    (block,) = (b for b in README.blocks if b.language == "text" and "quickstart" in b.content)
    port = str(free_port())
    printed = shell(f"make quickstart ARGS='--once --port {port}'", ROOT)
    assert_matches(block.content.replace("30000", port), printed)


def test_make_test_runs_pytest() -> None:
    recipe = shell("make --dry-run test", ROOT)
    assert "bootstrap.py server dev" in recipe
    assert ".venv/bin/pytest" in recipe


@pytest.mark.server
@pytest.mark.parametrize(
    "shown",
    [shown for shown in README.commands if not is_heavy(shown.command)],
    ids=lambda shown: f"line {shown.line}",
)
def test_each_command_prints_what_the_readme_shows(
    shown: Shown, minilm: Launched, tmp_path: Path
) -> None:
    README.write_files(tmp_path)
    command, port = shown.command, minilm.url.rsplit(":", 1)[1]
    if "127.0.0.1:30000/" in command:  # asks the running server
        command = command.replace("30000", port)
    assert_matches(shown.output, shell(command, tmp_path))


@pytest.mark.server
def test_launch_prints_what_the_readme_shows(minilm: Launched) -> None:
    (expected,) = (shown.output for shown in README.commands if shown.command == LAUNCH)
    port = minilm.url.rsplit(":", 1)[1]
    assert_matches(expected.replace("30000", port), minilm.printed)


@pytest.mark.server
def test_the_python_example_prints_what_the_readme_shows(minilm: Launched, tmp_path: Path) -> None:
    every = README.blocks
    (at,) = (n for n, block in enumerate(every) if block.language == "python")
    (tmp_path / "example.py").write_text(
        every[at].content.replace("http://127.0.0.1:30000", minilm.url), encoding="utf-8"
    )
    assert_matches(every[at + 1].content, shell("python example.py", tmp_path))


def test_minilm_is_where_the_readme_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SGL_EMBED_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    folder = locate("demo:all-minilm-l6-v2").folder
    assert folder is not None
    assert folder.is_relative_to(Path("~/.cache/sgl-embed").expanduser())
