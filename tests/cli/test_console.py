"""How the commands show their work: on a terminal, and anywhere else."""

import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from rich.console import Console

from sgl_embed_kit.cli import console
from sgl_embed_kit.cli.console import (
    BAR_WIDTH,
    LABEL_WIDTH,
    LiveLine,
    Steps,
    show_log,
    steps,
    timing,
)
from sgl_embed_kit.launch.events import LogTrouble, Noticed, PhaseBegan, Progress, Ready
from sgl_embed_kit.launch.output import Line
from sgl_embed_kit.sglang.log import start_phases
from tests.conftest import ROOT

FIRST, SECOND = start_phases()[:2]
READY = Ready("http://h:1", "m", 4, 1.0, (), 1, Path("/x.log"))


def noticed(severity: str) -> Noticed:
    return Noticed("x", severity, "The pool is far smaller than a text may be.", "lower it", "line")


@pytest.mark.parametrize(
    ("elapsed", "expected", "shown"),
    [
        (7.9, None, "0:07"),
        (7.9, 12.4, "0:07 of about 0:12"),
        (12.9, 12.4, "0:12 of about 0:12"),
        (13.5, 12.4, "0:13 usually 0:12"),
        (65.0, 3601.0, "1:05 of about 60:01"),
        (0.2, 0.9, "0:00"),
    ],
)
def test_what_is_expected_is_told_where_it_is_known(
    elapsed: float, expected: float | None, shown: str
) -> None:
    assert timing(elapsed, expected) == shown


def drawn(line: LiveLine, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(line)
    return out.getvalue()


def test_the_live_line_has_its_time_and_a_bar_where_there_is_progress() -> None:
    line = LiveLine("Loading weights", 12.0)
    assert "Loading weights" in drawn(line)
    assert "0:00 of about 0:12" in drawn(line)
    assert "━" not in drawn(line)
    line.progress = (3, 8)
    assert "3/8" in drawn(line)
    assert "━" in drawn(line)


def test_the_longest_live_line_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    line = LiveLine("x" * LABEL_WIDTH, 5999.0)
    line.progress = (9999, 9999)
    monkeypatch.setattr(line, "_began", line._began - 5990)
    (only,) = drawn(line).splitlines()
    assert "99:50 of about 99:59" in only
    assert "9999/9999" in only
    assert "━" * BAR_WIDTH in only
    assert len(only) <= 80
    assert len(drawn(line, width=40).splitlines()) == 1
    assert max(len(phase.label) for phase in start_phases()) <= LABEL_WIDTH


def test_elsewhere_a_step_is_one_whole_line_with_its_time(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with steps() as shown:
        shown.follow(PhaseBegan(FIRST, 12.0))
        assert FIRST.label in capfd.readouterr().err  # at once, for who waits
        shown.follow(Progress(FIRST, 1, 2))
        shown.follow(PhaseBegan(SECOND))
    err = capfd.readouterr().err
    assert re.fullmatch(rf" +\d+\.\d s\n  {SECOND.label} +\d+\.\d s\n", err)


def test_where_others_write_too_lines_are_whole(capfd: pytest.CaptureFixture[str]) -> None:
    with steps(whole_lines=True) as shown:
        shown.follow(PhaseBegan(FIRST))
        assert capfd.readouterr().err == ""
    assert re.fullmatch(rf"  {FIRST.label} +\d+\.\d s\n", capfd.readouterr().err)


def test_a_clock_that_jumps_changes_no_time(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    days = iter(range(10**6, 0, -(10**4)))
    monkeypatch.setattr("time.time", lambda: next(days))
    with steps() as shown:
        shown.begin("A step")
    assert re.fullmatch(r"  A step +[0-9]\.\d s\n", capfd.readouterr().err)


def test_a_warning_stands_on_lines_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with steps() as shown:
        shown.follow(PhaseBegan(FIRST))
        shown.follow(noticed("warn"))
        shown.follow(LogTrouble(Path("/state/x.log"), "No space left on device"))
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].strip() == FIRST.label
    assert lines[1].startswith("  warning: The pool is far")
    assert "cure: lower it" in " ".join(" ".join(lines[1:3]).split()).lower()
    assert "The log /state/x.log misses lines: No space left on device." in " ".join(
        " ".join(lines).split()
    )
    assert re.fullmatch(rf"  {FIRST.label} +\d+\.\d s", lines[-1])
    assert max(map(len, lines)) <= 80


def test_an_error_is_told_only_if_the_server_lives_in_spite_of_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    shown = Steps()
    shown.follow(noticed("error"))
    assert capfd.readouterr().err == ""  # where it dies, the diagnosis tells
    shown.follow(READY)
    shown.follow(READY)
    assert capfd.readouterr().err.count("The pool is far smaller") == 1


def test_the_servers_log_is_shown_without_what_a_terminal_obeys(
    capfd: pytest.CaptureFixture[str],
) -> None:
    show_log([Line(0.0, "a\tb \x1b[31mred\udcff"), Line(0.0, "苹果")])
    assert capfd.readouterr().err == "a    b \ufffd[31mred\ufffd\n苹果\n"


ON_A_TERMINAL = """
import time
from sgl_embed_kit.cli.console import show_log, steps
from sgl_embed_kit.launch.events import PhaseBegan, Progress, Noticed
from sgl_embed_kit.launch.output import Line
from sgl_embed_kit.sglang.log import start_phases
with steps() as shown:
    shown.follow(PhaseBegan(start_phases()[1], 12.0))
    shown.follow(Progress(start_phases()[1], 3, 8))
    time.sleep(0.5)
    shown.follow(Noticed("x", "warn", "A warning.", "none", ""))
    show_log([Line(0.0, "a line of the log")])
    time.sleep(0.5)
print("end")
"""


def on_terminal(**env: str) -> str:
    kept = {name: text for name, text in os.environ.items() if name != "NO_COLOR"}
    out = io.StringIO()
    child = pexpect.spawn(
        sys.executable,
        ["-c", ON_A_TERMINAL],
        env={**kept, "PYTHONPATH": str(ROOT), **env},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=60,
        logfile=out,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, out.getvalue()
    return out.getvalue()


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_shows_a_live_line_and_whole_lines_above_it() -> None:
    seen = on_terminal(TERM="xterm-256color")
    plain = without_codes(seen)
    assert f"{SECOND.label} " in plain
    assert "0:00 of about 0:12" in plain
    assert "3/8" in plain
    lines = [line.rpartition("\r")[2].rstrip() for line in plain.replace("\r\n", "\n").split("\n")]
    assert "  warning: A warning. Cure: none" in lines
    assert "a line of the log" in lines
    assert re.search(rf"  {SECOND.label} +\d+\.\d s", plain)
    assert max(len(part) for line in plain.split("\n") for part in line.split("\r")) <= 80


def test_no_colour_is_no_colour() -> None:
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", on_terminal(TERM="xterm-256color"))
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]m", on_terminal(TERM="xterm", NO_COLOR="1"))


def test_a_dumb_terminal_gets_plain_lines() -> None:
    assert "\x1b" not in on_terminal(TERM="dumb")


def test_nothing_live_is_made_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(console, "LiveLine", never)
    with steps() as shown:
        shown.begin("A step")
    assert not shown._is_live
