"""The command line: fast help, sentences for errors, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sgl_embed_kit import __version__
from sgl_embed_kit.cli import main as module
from sgl_embed_kit.cli.main import COMMANDS, cli, main
from sgl_embed_kit.errors import ExitCode, KitError, NotReadyError, ServerDiedError
from tests.conftest import run


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys; from sgl_embed_kit.cli.main import cli; "
        "cli.main(['--help'], standalone_mode=False); "
        "print(sorted(m for m in sys.modules if m.startswith('sgl_embed_kit.')"
        " or m in ('numpy', 'pydantic', 'rich', 'httpx')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *shown, modules = done.stdout.splitlines()
    names = ["cli", "cli.colour", "cli.main", "errors"]
    assert modules == str([f"sgl_embed_kit.{name}" for name in names])
    for name, text in COMMANDS.items():
        assert any(line.strip().startswith(name) and text in line for line in shown)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_short_help_is_the_commands_own_first_line(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").splitlines()[0] == COMMANDS[name]


def test_the_version() -> None:
    assert run("--version").stdout == f"sgl-embed, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("nosuch",), 2),
        (("launch",), 2),
        (("launch", "--no-such-option", "x"), 2),
        (("launch", "no-such-profile", "--dry-run"), 2),
        (("quickstart", "--port", "70000"), 2),
        (("quickstart", "--model", "/no/such/folder"), 1),
        (("model", "tiny", "x", "--hidden-size", "3"), 2),
    ],
)
def test_wrong_use_ends_with_its_code_and_no_traceback(
    arguments: tuple[str, ...], code: int
) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KitError("what", why="why\nmore", cure="cure"), ExitCode.FAILED),
        (ServerDiedError("what", why="why\nmore", cure="cure"), ExitCode.SERVER_DIED),
        (NotReadyError("what", why="why\nmore", cure="cure"), ExitCode.NOT_READY),
    ],
)
def test_errors_are_shown_as_what_why_and_cure(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: KitError,
    code: ExitCode,
) -> None:
    monkeypatch.setattr(module.cli, "main", _raising(error))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == code
    assert capsys.readouterr().err == "error: what\n  why:  why\n        more\n  cure: cure\n"


def test_ctrl_c_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module.cli, "main", _raising(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_a_bug_is_a_sentence_unless_debug_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module.cli, "main", _raising(ZeroDivisionError("division by zero")))
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == ExitCode.FAILED
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in shown
    assert "cure: sgl-embed --debug doctor" in shown
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "doctor"])


def _raising(error: BaseException) -> object:
    def run_command(*_args: object, **_kwargs: object) -> None:
        raise error

    return run_command


def test_a_reader_that_goes_away_makes_no_noise() -> None:
    argv = f"{sys.executable} -m sgl_embed_kit.cli.main launch 06b-a10 --dry-run | true"
    done = subprocess.run(["sh", "-c", argv], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_model_tiny_writes_a_model(tmp_path: Path) -> None:
    done = run("model", "tiny", str(tmp_path / "m"), "--hidden-size", "64", "--layers", "1")
    assert done.returncode == 0
    assert done.stdout == f"{tmp_path / 'm'}: 1 layers, 64 dimensions, random weights\n"
    assert json.loads((tmp_path / "m" / "config.json").read_text())["hidden_size"] == 64


def test_doctor_prints_json_alone_on_stdout() -> None:
    done = run("doctor", "tiny-cpu", "--format", "json")
    report = json.loads(done.stdout)
    assert report["schema"] == "sgl-embed.doctor/1"
    assert report["profile"] == "tiny-cpu"
    failed = report["summary"]["error"] + report["summary"]["crash"]
    assert done.returncode == (1 if failed else 0)


HANDLED = """
from sgl_embed_kit.cli import main

def asked_to_stop(*_arguments, **_more):
    try:
        exec("raise KeyboardInterrupt")  # as when a signal comes while a dataclass is made
    except KeyboardInterrupt:
        return 0

main.cli.main = asked_to_stop
main.main([])
"""


def test_an_interrupt_that_was_handled_does_not_end_the_program_once_more(tmp_path: Path) -> None:
    (tmp_path / "handled.py").write_text(HANDLED)
    done = subprocess.run([sys.executable, "-m", "handled"], cwd=tmp_path, check=False)
    assert done.returncode == 0
