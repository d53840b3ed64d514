"""`sgl-embed plan`: what a server will take of a GPU or of RAM, also of one that is not here."""

from __future__ import annotations

import json
import sys

import click

from sgl_embed_kit.cli.options import profile_options
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.errors import ExitCode, KitError
from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.folder import Folders
from sgl_embed_kit.plan.device import device_for
from sgl_embed_kit.plan.plan import make_plan
from sgl_embed_kit.plan.report import as_json, as_text
from sgl_embed_kit.sglang.installed import find_installed


@click.command()
@click.argument("profile")
@profile_options
@click.option("--gpu", metavar="NAME|SIZE", help="Plan for this GPU, such as A10 or 24GiB.")
@click.option("--gpus", type=click.IntRange(1), help="Share each layer among so many GPUs.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def command(
    profile: str,
    settings: tuple[str, ...],
    allow_unsafe: bool,
    gpu: str | None,
    gpus: int | None,
    form: str,
) -> ExitCode:
    """Say what a server will take of memory, and whether it fits.

    PROFILE is a file or the name of a bundled profile. The plan is for the GPU named by
    --gpu, else for the one of this machine, else for the one that the profile expects.
    Exit code 1 if it does not fit.
    """
    if gpu is not None:
        settings += ("hardware.device=cuda",)
    if gpus is not None:
        settings += (f"hardware.gpus={gpus}", f"parallel.tensor={gpus}", "parallel.data=1")
    installed, folders = find_installed(), Folders()
    loaded = read_runnable(profile, settings, installed, allow_unsafe=allow_unsafe, folders=folders)
    machine = RealMachine()
    subject = Subject.of(loaded.profile, installed, machine, loaded.mask, folders)
    with loaded.mask.errors():
        demand = subject.demand()
        if demand is None:
            raise KitError(
                f"The shape of {loaded.profile.model.path} is not known.",
                why="Its files are not here, or its config.json lacks a part of it.",
                cure="bring its files, and set model.path to their folder",
            )
        plan = make_plan(demand, device_for(loaded.profile, machine, gpu))
    if form == "json":
        click.echo(loaded.mask(json.dumps(as_json(plan), indent=2)))
    else:
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        click.echo(loaded.mask(as_text(plan, ascii_only=not unicode)))
    return ExitCode.OK if plan.fits else ExitCode.FAILED
