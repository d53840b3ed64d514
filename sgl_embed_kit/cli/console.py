"""How the commands show their work: steps with their time, on a terminal or in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TextIO

import click

from sgl_embed_kit.cli.colour import wants_colour
from sgl_embed_kit.doctor import Report, Subject, run_checks
from sgl_embed_kit.doctor.engine import Check
from sgl_embed_kit.doctor.report import Detail, as_text
from sgl_embed_kit.errors import ExitCode
from sgl_embed_kit.launch.signals import stop_signals_interrupt

if TYPE_CHECKING:
    from rich.progress import Progress

    from sgl_embed_kit.launch.events import Event
    from sgl_embed_kit.launch.server import RunningServer

P = ParamSpec("P")

LABEL_WIDTH = 28


class Steps:
    """Shows one step after the other on stderr, each with the time it took.

    A terminal shows a live line with a spinner and the elapsed time; anything else
    gets the label when the step begins and the seconds when it ends, on one line.
    """

    def __init__(self) -> None:
        from rich.console import Console  # a dry run shows no steps

        self._console = Console(stderr=True, highlight=False)
        self._live: Progress | None = None
        self._label: str | None = None
        self._half_line = False
        self._began = 0.0

    def begin(self, label: str, *, shows_progress: bool = False) -> None:
        """End the step that runs, if any, and begin another one.

        Args:
            label: What the step does.
            shows_progress: Whether it writes to the terminal itself while it runs.
        """
        self.end()
        self._label, self._began = label, time.monotonic()
        if shows_progress:
            click.echo(f"  {label}:", err=True)
        elif self._console.is_terminal:
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._live = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._live.add_task(label)
            self._live.start()
        else:
            self._half_line = True
            click.echo(f"  {label:<{LABEL_WIDTH}}", nl=False, err=True)
            sys.stderr.flush()

    def follow(self, event: Event) -> None:
        """Show what happens to a server as steps."""
        from sgl_embed_kit.launch.events import PhaseBegan, Stopped, Stopping, WaitingForMemory

        match event:
            case PhaseBegan(phase):
                self.begin(phase.label)
            case WaitingForMemory():
                self.begin("Waiting for GPU memory")
            case Stopping():
                self.begin("Stopping")
            case Stopped(requests_cut=cut):
                self.end()
                if cut != 0:
                    click.echo(f"  {_cut(cut)}", err=True)

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

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _cut(requests: int | None) -> str:
    if requests is None:
        return "Killed before it had ended: requests that were in flight were cut."
    were = "request was" if requests == 1 else "requests were"
    return f"Killed before it had ended: {requests} {were} cut."


@contextmanager
def steps() -> Iterator[Steps]:
    """Yield `Steps`, and leave a clean line behind however the block ends."""
    shown = Steps()
    try:
        yield shown
        shown.end()
    finally:
        shown.stop()


def wait_for_stop_signal(server: RunningServer) -> None:
    """Wait until somebody asks to stop; raises ServerDiedError if the server ends first."""
    with suppress(KeyboardInterrupt):
        server.wait()


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


def heading(text: str) -> None:
    """Show the heading of a part of the output, on stderr with the progress."""
    styled = click.style(text, bold=True) if wants_colour(sys.stderr) else text
    click.echo(f"\n{styled}", err=True)


def preflight(subject: Subject, checks: Sequence[Check[Subject]]) -> bool:
    """Run checks and show what is not right; say whether a start makes sense."""
    report = run_checks(subject, checks, subject.profile.doctor.ignore)
    if not report.is_silent:
        show_report(report, sys.stderr, Detail.FINDINGS)
    return not report.failures


def show_report(report: Report, stream: TextIO, detail: Detail = Detail.ALL) -> None:
    """Show the results of checks on stdout or stderr."""
    click.echo(as_text(report, detail, colour=wants_colour(stream)), file=stream)
