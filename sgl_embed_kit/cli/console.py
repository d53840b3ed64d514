"""How the commands show their work: steps with their time, on a terminal or in a log."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TextIO

import click

from sgl_embed_kit.cli.colour import wants_colour
from sgl_embed_kit.doctor import Report, Subject, run_checks
from sgl_embed_kit.doctor.engine import NOTHING_IGNORED, Check
from sgl_embed_kit.doctor.report import COLUMNS, Detail, as_text
from sgl_embed_kit.errors import ExitCode
from sgl_embed_kit.launch.signals import stop_signals_interrupt

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from sgl_embed_kit.launch.events import Event, Noticed, OnEvent
    from sgl_embed_kit.launch.output import Line
    from sgl_embed_kit.launch.server import RunningServer

P = ParamSpec("P")

LABEL_WIDTH = 28
BAR_WIDTH = 16
SHORTEST_EXPECTED = 1.0
"""Seconds: of a step that is over at once, nobody asks how long it will take."""


class LiveLine:
    """The line of the step that runs, as it is now; rich draws it again and again."""

    def __init__(self, label: str, expected: float | None) -> None:
        from rich.spinner import Spinner  # a dry run shows no steps

        self._label = label
        self._expected = expected
        self._spinner = Spinner("dots")
        self._began = time.monotonic()
        self.progress: tuple[int, int] | None = None

    def __rich__(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        now = time.monotonic()
        text = f"{self._label:<{LABEL_WIDTH}}{timing(now - self._began, self._expected)}"
        parts: list[RenderableType] = [self._spinner.render(now), text]
        if self.progress is not None:
            done, total = self.progress
            parts += [ProgressBar(total, done, width=BAR_WIDTH), f"{done}/{total}"]
        line = Table.grid(padding=(0, 1))
        for _ in parts:
            line.add_column(no_wrap=True)
        line.add_row(*parts)
        return line


class Steps:
    """Shows one step after the other on stderr, each with the time it took.

    A terminal shows a live line with a spinner, the elapsed time, and how long it took the
    last times; anything else gets the label when the step begins and the seconds when it
    ends, on one line.
    """

    def __init__(self, *, whole_lines: bool = False) -> None:
        """Begin with no step.

        Args:
            whole_lines: Whether others write to stderr meanwhile, so that a line is written
                at once or not at all.
        """
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._is_live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._whole_lines = whole_lines
        self._live: Live | None = None
        self._line: LiveLine | None = None
        self._label: str | None = None
        self._half_line = False
        self._began = 0.0
        self._feared: list[Noticed] = []

    def begin(
        self, label: str, expected: float | None = None, *, shows_progress: bool = False
    ) -> None:
        """End the step that runs, if any, and begin another one.

        Args:
            label: What the step does.
            expected: Seconds that it is likely to take; None where that is not known.
            shows_progress: Whether it writes to the terminal itself while it runs.
        """
        self.end()
        self._label, self._began = label, time.monotonic()
        if shows_progress:
            click.echo(f"  {label}:", err=True)
        elif self._is_live:
            from rich.live import Live

            self._line = LiveLine(label, expected)
            self._live = Live(self._line, console=self._console, transient=True)
            self._live.start()
        elif not self._whole_lines:
            self._half_line = True
            click.echo(f"  {label:<{LABEL_WIDTH}}", nl=False, err=True)
            sys.stderr.flush()

    def follow(self, event: Event) -> None:
        """Show what happens to a server as steps."""
        from sgl_embed_kit.launch import events

        match event:
            case events.PhaseBegan(phase, expected):
                self.begin(phase.label, expected)
            case events.Progress(_, done, total) if self._line is not None:
                self._line.progress = (done, total)
            case events.Noticed(severity="error"):
                self._feared.append(event)  # if it ends of it, the diagnosis says so
            case events.Noticed():
                self._notice(event)
            case events.LogTrouble(log, why):
                self.say(f"The log {log} misses lines: {why}. The server runs on.")
            case events.Ready():
                self.end()
                for noticed in self._feared:
                    self._notice(noticed)
                self._feared.clear()
            case events.WaitingForMemory():
                self.begin("Waiting for GPU memory")
            case events.Stopping():
                self.begin("Stopping")
            case events.Stopped(requests_cut=cut):
                self.end()
                if cut != 0:
                    click.echo(f"  {_cut(cut)}", err=True)

    def say(self, text: str) -> None:
        """Show a warning between the steps."""
        if self._half_line:
            click.echo("", err=True)
            self._half_line = False
        wrapped = textwrap.wrap(
            text,
            COLUMNS,
            initial_indent="  warning: ",
            subsequent_indent=" " * 11,
            break_long_words=False,
            break_on_hyphens=False,
        )
        write_above("\n".join(wrapped))

    def end(self) -> None:
        """End the step that runs, and show its time."""
        if self._label is None:
            return
        seconds = f"{time.monotonic() - self._began:6.1f} s"
        if self._half_line:
            click.echo(seconds, err=True)
        else:
            self._stop_live()
            click.echo(f"  {self._label:<{LABEL_WIDTH}}{seconds}", err=True)
        self._label, self._half_line = None, False

    def stop(self) -> None:
        """Leave the step that runs unfinished, with the cursor on a new line."""
        if self._label is None:
            return
        if self._half_line:
            click.echo("", err=True)
        else:
            self._stop_live()
            click.echo(f"  {self._label}", err=True)
        self._label, self._half_line = None, False

    def _notice(self, noticed: Noticed) -> None:
        self.say(f"{noticed.means} Cure: {noticed.cure}")

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = self._line = None


def write_above(text: str) -> None:
    """Write a line to stderr, above a live line if there is one.

    Not by click: that goes past what rich puts in the place of stderr meanwhile.
    """
    sys.stderr.write(f"{text}\n")


def timing(elapsed: float, expected: float | None) -> str:
    """Return how long a step has taken, and how long it took the last times."""
    if expected is None or expected < SHORTEST_EXPECTED:
        return minutes(elapsed)
    past = "of about" if elapsed < expected + SHORTEST_EXPECTED else "usually"
    return f"{minutes(elapsed)} {past} {minutes(round(expected))}"


def minutes(seconds: float) -> str:
    """Return seconds as `1:05`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _cut(requests: int | None) -> str:
    if requests is None:
        return "Killed before it had ended: requests that were in flight were cut."
    were = "request was" if requests == 1 else "requests were"
    return f"Killed before it had ended: {requests} {were} cut."


@contextmanager
def steps(*, whole_lines: bool = False) -> Iterator[Steps]:
    """Yield `Steps`, and leave a clean line behind however the block ends."""
    shown = Steps(whole_lines=whole_lines)
    try:
        yield shown
        shown.end()
    finally:
        shown.stop()


def wait_for_stop_signal(server: RunningServer, follow: OnEvent) -> None:
    """Wait until somebody asks to stop; raises ServerDiedError if the server ends first."""
    with suppress(KeyboardInterrupt):
        server.wait(follow)


def ends_when_asked(run: Callable[P, ExitCode]) -> Callable[P, ExitCode]:
    """Let a command that runs a server end well when it is asked to stop, whenever that is."""

    @wraps(run)
    def until_asked(*args: P.args, **kwargs: P.kwargs) -> ExitCode:
        with stop_signals_interrupt():
            try:
                return run(*args, **kwargs)
            except KeyboardInterrupt:
                click.echo("Stopped, as asked.", err=True)
                return ExitCode.OK

    return until_asked


def stop(server: RunningServer) -> None:
    """Stop the server, as a step of its own: SGLang takes up to five seconds for it."""
    with steps() as shown:
        server.stop(shown.follow)


def show_log(lines: Sequence[Line]) -> None:
    """Show lines of SGLang's own log on stderr, without what a terminal takes for commands."""
    for line in lines:
        text = line.text.replace("\t", "    ")
        if not text.isprintable():
            text = "".join(char if char.isprintable() else "\ufffd" for char in text)
        write_above(text)


def heading(text: str) -> None:
    """Show the heading of a part of the output, on stderr with the progress."""
    styled = click.style(text, bold=True) if wants_colour(sys.stderr) else text
    click.echo(f"\n{styled}", err=True)


def preflight(
    subject: Subject,
    checks: Sequence[Check[Subject]],
    ignored: Mapping[str, str] = NOTHING_IGNORED,
) -> bool:
    """Run checks and show what is not right; say whether a start makes sense.

    Args:
        subject: What is to be started.
        checks: What to run.
        ignored: Ids of checks that fail nothing, besides the profile's own, with the reasons.
    """
    report = run_checks(subject, checks, subject.profile.doctor.ignore | dict(ignored))
    if not report.is_silent:
        show_report(report, sys.stderr, Detail.BRIEF)
    return not report.failures


def show_report(report: Report, stream: TextIO, detail: Detail = Detail.ALL) -> None:
    """Show the results of checks on stdout or stderr."""
    click.echo(as_text(report, detail, colour=wants_colour(stream)), file=stream)
