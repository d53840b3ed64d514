"""`sgl-embed launch`: start the server of a profile, and serve until asked to stop."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sgl_embed_kit.cli.console import Steps, show_report, steps, stop
from sgl_embed_kit.cli.options import profile_options
from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.errors import ExitCode
from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.launch.signals import stop_signals_interrupt
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.sglang.command import Command
from sgl_embed_kit.sglang.installed import find_installed
from sgl_embed_kit.sglang.tables import keep_table

if TYPE_CHECKING:
    from sgl_embed_kit.launch.server import Ready


@click.command()
@click.argument("profile")
@profile_options
@click.option("--dry-run", is_flag=True, help="Print the command and start nothing.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How --dry-run prints the command.",
)
def command(
    profile: str, settings: tuple[str, ...], allow_unsafe: bool, dry_run: bool, form: str
) -> ExitCode:
    """Start the server that a profile describes.

    PROFILE is a file or the name of a bundled profile. The server serves until Ctrl-C.
    """
    installed = find_installed()
    loaded = read_runnable(profile, settings, installed, allow_unsafe=allow_unsafe)
    subject = Subject.of(loaded.profile, installed, RealMachine())
    if dry_run:
        show_command(subject.command(shown=loaded.shown), form)
        return ExitCode.OK
    if installed is not None:
        keep_table(installed)
    with stop_signals_interrupt():
        if not preflight(subject):
            return ExitCode.FAILED
        with steps() as shown:
            bring_files(subject, shown)
        serve(subject)
    return ExitCode.OK


def show_command(built: Command, form: str) -> None:
    """Print a command, pasteable or as JSON."""
    if form == "json":
        shown = {
            "schema": "sgl-embed.command/1",
            "argv": list(built.argv),
            "env": dict(built.env),
            "cwd": str(Path.cwd()),
        }
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo(built.as_shell())


def preflight(subject: Subject) -> bool:
    """Run the checks and show what is not right; say whether a start makes sense."""
    report = run_checks(subject, CHECKS)
    if not report.is_clean:
        show_report(report.without_ok(), sys.stderr)
    return not report.failures


def bring_files(subject: Subject, shown: Steps) -> None:
    """Bring the model's files here, with progress if that takes a while."""
    source = subject.source
    shown.begin("Bringing the model", shows_progress=source.shows_progress)
    source.make(subject.profile.model.revision)


def serve(subject: Subject) -> None:
    """Run the server until a stop signal comes, at whatever moment of its life."""
    from sgl_embed_kit.launch.server import running_server  # brings the HTTP client

    with running_server(subject) as server:
        try:
            with steps() as shown:
                ready = server.wait_until_ready(shown.begin)
            click.echo(ready_lines(ready))
            server.wait()
        except KeyboardInterrupt:
            pass
        stop(server)


def ready_lines(ready: Ready) -> str:
    """Return what is worth knowing of a server that has just become ready."""
    return (
        f"Ready after {ready.seconds:.1f} s: {ready.url}\n"
        f"  model      {ready.model}\n"
        f"  dimension  {ready.dimension}\n"
        f"  log        {ready.log}\n"
        f"  stop       Ctrl-C, or kill {ready.pid}"
    )
