"""`sgl-embed model`: make models, and look at them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from sgl_embed_kit.cli.colour import wants_colour
from sgl_embed_kit.errors import ExitCode
from sgl_embed_kit.model.inspection import inspect_source
from sgl_embed_kit.model.report import as_json, as_text
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model


@click.group()
def command() -> None:
    """Make and look at models."""


@command.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--hidden-size", default=TinyModel.hidden_size, show_default=True)
@click.option("--layers", default=TinyModel.layers, show_default=True)
@click.option("--seed", default=TinyModel.seed, show_default=True)
def tiny(folder: Path, hidden_size: int, layers: int, seed: int) -> None:
    """Write a small random model of Qwen3-Embedding's shape to DIR.

    SGLang serves it as it serves Qwen3-Embedding. It needs no network; its vectors
    mean nothing.
    """
    make_tiny_model(folder, TinyModel(hidden_size=hidden_size, layers=layers, seed=seed))
    click.echo(f"{folder}: {layers} layers, {hidden_size} dimensions, random weights")


@command.command()
@click.argument("model", metavar="PATH|REPO")
@click.option("--revision", help="Commit, branch or tag of a repository.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def show(model: str, revision: str | None, form: str) -> ExitCode:
    """Say what a model is, what SGLang makes of it, and what is wrong with it.

    Nothing of it is run, and of a repository's weights only the headers are fetched.
    """
    found = inspect_source(locate(model), revision)
    if form == "json":
        click.echo(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        click.echo(as_text(found, colour=wants_colour(sys.stdout)))
    return ExitCode.OK if found.can_be_served else ExitCode.FAILED
