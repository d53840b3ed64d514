"""`sgl-embed profile`: list, show, check and write profiles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
from pydantic import BaseModel

from sgl_embed_kit.cli.options import profile_options
from sgl_embed_kit.errors import ExitCode, KitError, ProfileError, UsageError
from sgl_embed_kit.launch.profile import faults_of_text, read_runnable
from sgl_embed_kit.profile import Loaded
from sgl_embed_kit.profile.editor import json_schema, new_profile
from sgl_embed_kit.profile.loading import bundled_profiles, head_comment
from sgl_embed_kit.sglang.installed import find_installed

ORIGIN_COLUMN = 48


@click.group()
def command() -> None:
    """List, show, check and write profiles."""


@command.command("list")
def list_profiles() -> None:
    """List the bundled profiles."""
    profiles = bundled_profiles()
    column = max(map(len, profiles)) + 2
    for name, path in profiles.items():
        first = " ".join(head_comment(path).split())
        about = re.split(r"\.(?: |$)|: ", first)[0]
        click.echo(f"{name:<{column}}{about}")


@command.command()
@click.argument("profile")
@profile_options
def show(profile: str, settings: tuple[str, ...], allow_unsafe: bool) -> None:
    """Print a profile in full, and where each value comes from."""
    loaded = read_runnable(profile, settings, find_installed(), allow_unsafe=allow_unsafe)
    for line in head_comment(loaded.path).splitlines():
        click.echo(f"# {line}")
    for name in type(loaded.shown).model_fields:
        _show_section(loaded, name)


@command.command()
@click.argument("profiles", nargs=-1, required=True)
@click.option("--allow-unsafe", is_flag=True, help="Allow keys that could run foreign code.")
def check(profiles: tuple[str, ...], allow_unsafe: bool) -> ExitCode:
    """Check profiles, their flags against the installed SGLang too."""
    installed, worst = find_installed(), ExitCode.OK
    for profile in profiles:
        try:
            read_runnable(profile, (), installed, allow_unsafe=allow_unsafe)
        except ProfileError as error:
            worst = ExitCode.USAGE
            click.echo(f"{profile}: {error.what}")
            for line in error.why.splitlines():
                click.echo(f"  {line}")
        else:
            click.echo(f"{profile}: ok")
    return worst


@command.command()
def schema() -> None:
    """Print the JSON Schema, with which editors complete and document keys."""
    click.echo(json.dumps(json_schema(), indent=2))


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model", prompt="Model (repository id or folder)", help="What to serve.")
@click.option(
    "--device",
    prompt="Device",
    default="cuda",
    show_default=True,
    type=click.Choice(["cuda", "cpu"]),
    help="Where it runs.",
)
@click.option("--gpu", default="", help="Part of the GPU's name, such as A10.")
@click.option(
    "--context-length",
    prompt="Context length (tokens of the longest text)",
    default=8192,
    show_default=True,
    type=click.IntRange(8),
)
@click.option("--port", default=30000, show_default=True, type=click.IntRange(1, 65535))
def new(file: Path, model: str, device: str, gpu: str, context_length: int, port: int) -> None:
    """Write a commented profile to FILE, from a few answers or options."""
    text = new_profile(model, device, gpu or None, context_length, port)
    faults = faults_of_text(text)
    if faults:
        raise UsageError(
            "No profile can be made of these answers.",
            why="\n".join(faults),
            cure="sgl-embed profile new FILE, with other answers",
        )
    try:
        with file.open("x", encoding="utf-8") as output:
            output.write(text)
    except FileExistsError as error:
        raise KitError(
            f"{file} exists already.", why="A profile is never written over.", cure=f"rm {file}"
        ) from error
    except OSError as error:
        raise KitError(f"{file} cannot be written.", why=error.strerror or str(error)) from error
    click.echo(f"{file}: written; check it with: sgl-embed profile check {file}")


def _show_section(loaded: Loaded, name: str) -> None:
    section = getattr(loaded.shown, name)
    values = section.model_dump() if isinstance(section, BaseModel) else section
    click.echo(f"{name}:" if values else f"{name}: {{}}")
    for key, value in values.items():
        origin = loaded.origins.get((name, key))
        where = str(origin).removeprefix(f"{loaded.path.parent}/") if origin else "default"
        text = f"  {key}: {json.dumps(value, ensure_ascii=False)}"
        click.echo(f"{text:<{ORIGIN_COLUMN}}  # {where}")
