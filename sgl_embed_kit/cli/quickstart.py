"""`sgl-embed quickstart`: from a machine with nothing to real vectors."""

from __future__ import annotations

import sys
import textwrap

import click
import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

from sgl_embed_kit import __version__
from sgl_embed_kit.cli.console import (
    heading,
    preflight,
    show_report,
    steps,
    stop,
    wait_for_stop_signal,
)
from sgl_embed_kit.cli.servers import note_mended
from sgl_embed_kit.client import EmbeddingClient
from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.checks import CHECKS, CHECKS_BEFORE_FILES, CHECKS_OF_FILES
from sgl_embed_kit.doctor.report import Detail
from sgl_embed_kit.errors import ExitCode
from sgl_embed_kit.launch.events import Ready
from sgl_embed_kit.launch.quickstart import Choice, bring_model, choose_model
from sgl_embed_kit.launch.registration import registered_server
from sgl_embed_kit.launch.server import running_server
from sgl_embed_kit.launch.signals import stop_signals_interrupt
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.machine.servers import Registration
from sgl_embed_kit.sglang.installed import find_installed

SENTENCE_WIDTH = 40


@click.command()
@click.option("--once", is_flag=True, help="Stop the server after showing the vectors.")
@click.option("--model", metavar="PATH|REPO", help="Serve this model instead.")
@click.option("--port", type=click.IntRange(1, 65535), help="Listen on this port.")
def command(once: bool, model: str | None, port: int | None) -> ExitCode:
    """From a machine with nothing to a real server and real vectors.

    Picks a model that this machine can serve, starts SGLang, embeds six sentences in
    one request, shows how near they are to each other, and serves until Ctrl-C.
    """
    with stop_signals_interrupt():
        return _quickstart(once, model, port)


def _quickstart(once: bool, model: str | None, port: int | None) -> ExitCode:
    machine, installed = RealMachine(), find_installed()
    heading(f"sgl-embed {__version__} quickstart")
    with steps() as shown:
        shown.begin("Choosing a model")
        choice = choose_model(model, machine)
    if port is not None:
        choice = choice.on_port(port)
    _show_choice(choice)
    subject = Subject.of(choice.profile, installed, machine, starts=True)
    note_mended()
    with registered_server(subject, "quickstart") as registration:
        return _check_and_serve(choice, subject, registration, once)


def _check_and_serve(
    choice: Choice, subject: Subject, registration: Registration, once: bool
) -> ExitCode:
    heading("Checks")
    report = run_checks(subject, CHECKS if subject.has_files else CHECKS_BEFORE_FILES)
    show_report(report, sys.stderr, Detail.COMPACT)
    if report.failures:
        return ExitCode.FAILED

    heading("Start")
    with steps() as shown:
        shown.begin("Bringing the model", shows_progress=subject.source.shows_progress)
        brought = bring_model(choice)
    if brought.profile.model != choice.profile.model:
        _show_choice(brought)
    subject = Subject.of(
        brought.profile, subject.installed, subject.machine, starts=True
    ).with_files(brought.folder)
    if not preflight(subject, CHECKS_OF_FILES):
        return ExitCode.FAILED
    with running_server(subject, registration) as server:
        with steps() as shown:
            ready = server.wait_until_ready(shown.follow)
        _show_vectors(brought, ready)
        if not once:
            click.echo("\nServing until Ctrl-C.", err=True)
            wait_for_stop_signal(server, shown.follow)
        stop(server)
    return ExitCode.OK


def _show_choice(choice: Choice) -> None:
    device = {"cpu": "CPU", "cuda": "GPU"}[choice.profile.hardware.device]
    click.echo(f"  model    {choice.profile.model.path} on the {device}", err=True)
    click.echo(
        textwrap.fill(choice.because, 80, initial_indent="  because  ", subsequent_indent=" " * 11),
        err=True,
    )
    for number, hint in enumerate(choice.hints):
        click.echo(f"  {'' if number else 'mirror':<9}{hint}", err=True)


def _show_vectors(choice: Choice, ready: Ready) -> None:
    sentences = list(choice.sentences)
    with EmbeddingClient(ready.url, model=ready.model) as client:
        vectors = client.embed_documents(sentences, normalize=False)
    norms = np.linalg.norm(vectors, axis=1)
    click.echo(f"\nReady after {ready.seconds:.1f} s: {ready.model} at {ready.url}")
    click.echo(
        f"Six sentences, one request: {vectors.shape[1]} dimensions, "
        f"norms {norms.min():.4f} to {norms.max():.4f}\n"
    )
    unit = vectors / norms[:, None]
    click.echo(_cosine_table(sentences, unit @ unit.T))
    if choice.is_random:
        click.echo("\nThis model's weights are random: its cosines mean nothing.")
    click.echo(_how_to_ask(ready))


def _cosine_table(sentences: list[str], cosines: NDArray[np.float32]) -> str:
    """Return the matrix of cosines, a sentence a row; wide characters count double."""
    head = " " * (SENTENCE_WIDTH + 4) + "".join(f"{n:6d}" for n in range(1, len(sentences) + 1))
    rows = [
        f"  {number} {sentence}{' ' * (SENTENCE_WIDTH - cell_len(sentence))}"
        + "".join(f"{cosine:6.2f}" for cosine in row)
        for number, (sentence, row) in enumerate(zip(sentences, cosines, strict=True), 1)
    ]
    return "\n".join([head, *rows])


def _how_to_ask(ready: Ready) -> str:
    """Return lines to paste; a here-document must begin at the margin."""
    return f"""
Ask it yourself:

curl {ready.url}/v1/embeddings \\
  -H 'Content-Type: application/json' \\
  -d '{{"model": "{ready.model}", "input": ["Apples are a fruit"]}}'

{sys.executable} - <<'EOF'
from openai import OpenAI
client = OpenAI(base_url="{ready.url}/v1", api_key="none")
answer = client.embeddings.create(
    model="{ready.model}", input=["Apples are a fruit"])
print(answer.data[0].embedding[:4])
EOF"""
