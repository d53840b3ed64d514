"""`sgl-embed doctor`: run the checks that `launch` runs, and start nothing."""

from __future__ import annotations

import json
import sys

import click

from sgl_embed_kit.cli.console import show_report
from sgl_embed_kit.cli.options import profile_options
from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.report import as_json
from sgl_embed_kit.errors import ExitCode
from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.launch.quickstart import local_profile
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.sglang.installed import find_installed


@click.command()
@click.argument("profile", required=False)
@profile_options
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def command(
    profile: str | None, settings: tuple[str, ...], allow_unsafe: bool, form: str
) -> ExitCode:
    """Say before the wait what would go wrong after it.

    PROFILE is a file or the name of a bundled profile; without it, the checks look at
    what quickstart would serve here without a model hub. Exit code 1 if a check fails.
    """
    machine = RealMachine()
    installed = find_installed()
    if profile:
        loaded = read_runnable(profile, settings, installed, allow_unsafe=allow_unsafe)
        subject = Subject.of(loaded.profile, installed, machine, loaded.mask)
    else:
        subject = Subject.of(local_profile(machine), installed, machine)
    report = run_checks(subject, CHECKS)
    if form == "json":
        click.echo(json.dumps(as_json(report, subject), indent=2))
    else:
        show_report(report, sys.stdout)
    return ExitCode.FAILED if report.failures else ExitCode.OK
