"""`sgl-embed model`: make models."""

from __future__ import annotations

from pathlib import Path

import click

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
