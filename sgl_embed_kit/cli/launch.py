"""`sgl-embed launch`: start the server of a profile, and serve until asked to stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sgl_embed_kit.cli.console import Steps, preflight, show_log, steps
from sgl_embed_kit.cli.options import log_options, profile_options
from sgl_embed_kit.cli.servers import note_mended
from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.checks import CHECKS, CHECKS_BEFORE_FILES, CHECKS_OF_FILES
from sgl_embed_kit.errors import ExitCode
from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.launch.registration import registered_server
from sgl_embed_kit.launch.signals import stop_signals_interrupt
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.folder import Folders
from sgl_embed_kit.profile.schema import KeySource
from sgl_embed_kit.sglang.command import Command
from sgl_embed_kit.sglang.installed import find_installed
from sgl_embed_kit.sglang.tables import keep_table

if TYPE_CHECKING:
    from sgl_embed_kit.launch.event_json import JsonEvents
    from sgl_embed_kit.launch.events import Event, Ready, Restarting
    from sgl_embed_kit.machine.servers import Registration


@click.command()
@click.argument("profile")
@profile_options
@log_options
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
    profile: str,
    settings: tuple[str, ...],
    allow_unsafe: bool,
    json_events: JsonEvents | None,
    verbose: bool,
    dry_run: bool,
    form: str,
) -> ExitCode:
    """Start the server that a profile describes.

    PROFILE is a file or the name of a bundled profile. The server serves until Ctrl-C.
    """
    installed, folders = find_installed(), Folders()
    loaded = read_runnable(profile, settings, installed, allow_unsafe=allow_unsafe, folders=folders)
    subject = Subject.of(
        loaded.profile, installed, RealMachine(), loaded.mask, folders, starts=True
    )
    if dry_run:
        show_command(subject.command(shown=loaded.shown), form)
        return ExitCode.OK
    if json_events is not None:
        json_events.shown = loaded.mask
    if installed is not None:
        keep_table(installed)
    note_mended()
    name = loaded.path.stem
    with (
        stop_signals_interrupt(),
        loaded.mask.errors(),
        registered_server(subject, name) as registration,
    ):
        seen = subject.folder
        if not preflight(subject, CHECKS_BEFORE_FILES if seen is None else CHECKS):
            return ExitCode.FAILED
        with steps() as shown:
            subject = bring_files(subject, shown)
        if subject.folder != seen and not preflight(subject, CHECKS_OF_FILES):
            return ExitCode.FAILED
        serve(subject, registration, json_events, verbose=verbose)
    return ExitCode.OK


def show_command(built: Command, form: str) -> None:
    """Print a command, pasteable or as JSON."""
    if form == "json":
        shown = {
            "schema": "sgl-embed.command/1",
            "argv": list(built.argv),
            "env": dict(built.env),
            "cwd": str(Path.cwd()),
            "unset": list(built.unset),
            "config": {flag: _shown_source(source) for flag, source in built.keys.items()},
        }
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo(built.as_shell())


def _shown_source(source: KeySource | str) -> dict[str, str]:
    """Return where a key comes from, as JSON shows it: never the key itself."""
    if isinstance(source, str):
        return {"text": source}  # of the shown profile, where it stands as ${NAME}
    return {"env": source.env} if source.env is not None else {"file": source.file or ""}


def bring_files(subject: Subject, shown: Steps) -> Subject:
    """Bring the model's files here, with progress; return the subject that knows them."""
    source = subject.source
    shown.begin("Bringing the model", shows_progress=source.shows_progress)
    return subject.with_files(source.make(subject.profile.model.revision, subject.environment))


def serve(
    subject: Subject,
    registration: Registration,
    json_events: JsonEvents | None,
    *,
    verbose: bool,
) -> None:
    """Keep the server up until a stop signal comes, at whatever moment of its life.

    Args:
        subject: What to serve.
        registration: Its record.
        json_events: Who is told of what happens; None: the user.
        verbose: Whether SGLang's own log is shown.
    """
    from sgl_embed_kit.launch.events import Ready, Restarting
    from sgl_embed_kit.launch.supervisor import keep_up  # brings the HTTP client

    with steps(whole_lines=verbose) as shown:

        def follow(event: Event) -> None:
            shown.follow(event)
            if isinstance(event, Ready):
                click.echo(subject.mask(ready_lines(event)))
            elif isinstance(event, Restarting):
                shown.stop()
                click.echo(subject.mask(restarting_lines(event)), err=True)

        keep_up(subject, json_events or follow, registration, show_log if verbose else None)


def restarting_lines(event: Restarting) -> str:
    """Return what happened to a server that is started again."""
    why = "".join(f"\n  {line}" for line in event.why.splitlines())
    return (
        f"{event.what}{why}\n"
        f"  Started again in {event.delay:.0f} s, restart {event.number} of {event.limit}."
    )


def ready_lines(ready: Ready) -> str:
    """Return what is worth knowing of a server that has just become ready."""
    return (
        f"Ready after {ready.seconds:.1f} s: {ready.url}\n"
        f"  model      {ready.model}\n"
        f"  dimension  {ready.dimension}\n"
        f"  log        {ready.log}\n"
        f"  stop       Ctrl-C, or sgl-embed stop {ready.model}"
    )
