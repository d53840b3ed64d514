"""`sgl-embed launch`: start the server of a profile, and serve until asked to stop."""

from __future__ import annotations

import json
import os
import shlex
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sgl_embed_kit.cli.console import Steps, ends_when_asked, preflight, show_log, steps
from sgl_embed_kit.cli.options import (
    ignore_option,
    ignored_checks,
    log_options,
    profile_options,
)
from sgl_embed_kit.cli.servers import note_mended
from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.checks import CHECKS, CHECKS_BEFORE_FILES, CHECKS_OF_FILES
from sgl_embed_kit.doctor.report import COLUMNS
from sgl_embed_kit.errors import ExitCode
from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.launch.registration import registered_server
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.folder import Folders
from sgl_embed_kit.profile.schema import KeySource
from sgl_embed_kit.sglang.command import Command
from sgl_embed_kit.sglang.installed import find_installed
from sgl_embed_kit.sglang.tables import keep_table

if TYPE_CHECKING:
    from sgl_embed_kit.launch.event_json import JsonEvents
    from sgl_embed_kit.launch.events import Event, Ready, Restarting
    from sgl_embed_kit.launch.notify import Supervisors
    from sgl_embed_kit.machine.servers import Registration

CHECKING_SECONDS = 60.0
BRINGING_SECONDS = 3600.0
"""What systemd is asked to wait while the checks run, and while a model is fetched."""


@click.command()
@click.argument("profile")
@profile_options
@log_options
@ignore_option
@click.option("--skip-preflight", is_flag=True, help="Start without any check.")
@click.option(
    "--timeout",
    "limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Seconds in which the server must be ready, else it is stopped, with exit code 4. "
    "Default: as the profile says, or by the size of the weights.",
)
@click.option(
    "--ready-fd",
    type=click.IntRange(min=3),
    metavar="N",
    help="Once ready, write a newline to this file descriptor and close it, as for s6.",
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file, JSON with url and pid, that is there for as long as the server is ready.",
)
@click.option("--dry-run", is_flag=True, help="Print the command and start nothing.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How --dry-run prints the command.",
)
@ends_when_asked
def command(
    profile: str,
    settings: tuple[str, ...],
    allow_unsafe: bool,
    json_events: JsonEvents | None,
    verbose: bool,
    ignored: str | None,
    skip_preflight: bool,
    limit: float | None,
    ready_fd: int | None,
    ready_file: Path | None,
    dry_run: bool,
    form: str,
) -> ExitCode:
    """Start the server that a profile describes.

    PROFILE is a file or the name of a bundled profile. First the doctor's checks are run: an
    error ends it before anything starts. The server is ready when a right vector came from
    it; it serves until Ctrl-C. systemd (Type=notify) is told of all that.
    """
    reasons = ignored_checks(ignored)
    if limit is not None:
        settings = (*settings, f"launch.timeout_seconds={limit:g}")
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
    from sgl_embed_kit.launch.notify import supervisors

    note_mended()
    name = loaded.path.stem
    with (
        loaded.mask.errors(),
        registered_server(subject, name) as registration,
        # After it: the ready file may be of the server that already runs.
        supervisors(os.environ, fd=ready_fd, file=ready_file) as told,
    ):
        seen = subject.folder
        if skip_preflight:
            click.echo("The checks are skipped.", err=True)
        else:
            told.working("Checks", CHECKING_SECONDS)
            if not preflight(subject, CHECKS_BEFORE_FILES if seen is None else CHECKS, reasons):
                return ExitCode.FAILED
        told.working("Bringing the model", BRINGING_SECONDS)
        with steps() as shown:
            subject = bring_files(subject, shown)
        is_new = subject.folder != seen and not skip_preflight
        if is_new and not preflight(subject, CHECKS_OF_FILES, reasons):
            return ExitCode.FAILED
        serve(subject, registration, told, json_events, verbose=verbose)
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
    told: Supervisors,
    json_events: JsonEvents | None,
    *,
    verbose: bool,
) -> None:
    """Keep the server up until a stop signal comes, at whatever moment of its life.

    Args:
        subject: What to serve.
        registration: Its record.
        told: Who supervises the launcher.
        json_events: Who is told of what happens; None: the user.
        verbose: Whether SGLang's own log is shown.
    """
    from sgl_embed_kit.launch.events import Ready, Restarting, all_of
    from sgl_embed_kit.launch.start import start_limit
    from sgl_embed_kit.launch.supervisor import keep_up  # brings the HTTP client

    key = subject.profile.server.keys.get("api-key")
    with steps(whole_lines=verbose) as shown:

        def follow(event: Event) -> None:
            shown.follow(event)
            if isinstance(event, Ready):
                click.echo(subject.mask(ready_lines(event, key)))
            elif isinstance(event, Restarting):
                shown.stop()
                click.echo(subject.mask(restarting_lines(event)), err=True)

        # Who reads that it is ready may look for the ready file at once.
        tell = all_of(told.follower(start_limit(subject).seconds), json_events or follow)
        keep_up(subject, tell, registration, show_log if verbose else None, told.systemd.alive)


def restarting_lines(event: Restarting) -> str:
    """Return what happened to a server that is started again."""
    why = "".join(f"\n  {line}" for line in event.why.splitlines())
    return (
        f"{event.what}{why}\n"
        f"  Started again in {event.delay:.0f} s, restart {event.number} of {event.limit}."
    )


def ready_lines(ready: Ready, key: KeySource | None = None) -> str:
    """Return what is worth knowing of a server that has just become ready.

    Args:
        ready: What it has shown.
        key: Where the key comes from that it asks for, or None.
    """
    phases = ", ".join(
        f"{label[:1].lower()}{label[1:]} {seconds:.1f} s" for label, seconds in ready.phases
    )
    unit = "" if ready.is_normalised else f", of length {ready.norm:.3f}: not normalised"
    lines = {
        "model": ready.model,
        "dimension": f"{ready.dimension}{unit}",
        "tokens": _token_line(ready),
        "vectors": ready.fingerprint,
        "guard": ready.guard,
        "time": phases,
        "log": str(ready.log),
    }
    shown = [_labelled(label, text) for label, text in lines.items() if text]
    ask = _labelled("ask", "") + _curl(ready, key)
    stop_line = _labelled("stop", f"Ctrl-C, or sgl-embed stop {ready.model}")
    return "\n".join([f"Ready after {ready.seconds:.1f} s: {ready.url}", *shown, ask, stop_line])


def _labelled(label: str, text: str) -> str:
    return (
        textwrap.fill(
            text,
            COLUMNS,
            initial_indent=f"  {label:<11}",
            subsequent_indent=" " * 13,
            break_long_words=False,
            break_on_hyphens=False,
        )
        or f"  {label:<11}"
    )


def _token_line(ready: Ready) -> str:
    if ready.longest is None:
        return ""
    tried = f"; one of {ready.probed} was tried" if ready.probed else ""
    return f"texts of up to {ready.longest}{tried}; the KV pool holds {ready.pool}"


def _curl(ready: Ready, key: KeySource | None) -> str:
    """Return a command to paste: the key is named in it, and never shown."""
    lines = [f"curl {ready.url}/v1/embeddings"]
    if key is not None:
        value = f"${key.env}" if key.env is not None else f"$(cat {shlex.quote(key.file or '')})"
        lines.append(f'-H "Authorization: Bearer {value}"')
    content = json.dumps({"model": ready.model, "input": "Apples are a fruit"}, ensure_ascii=False)
    lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(content)}"]
    return " \\\n               ".join(lines)
