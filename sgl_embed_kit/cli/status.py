"""`sgl-embed status`: the servers of this machine that the toolkit started."""

from __future__ import annotations

import textwrap
from contextlib import closing

import click

from sgl_embed_kit.cli.options import key_options
from sgl_embed_kit.cli.servers import own_servers
from sgl_embed_kit.errors import ExitCode, UsageError
from sgl_embed_kit.launch.selection import named
from sgl_embed_kit.launch.status import COLUMNS, AnswerJson, Status

NONE_RUNS = "No server of yours runs here. Start one: sgl-embed launch minilm-cpu"


@click.command()
@click.option("--name", help="This one: its served name, profile, port or process id.")
@click.option("--url", metavar="URL", help="Ask the server at this address, whoever started it.")
@key_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people, for programs.",
)
def command(
    name: str | None, url: str | None, api_key_env: str | None, plain_http: bool, form: str
) -> ExitCode:
    """Say which servers run that the toolkit started.

    Those of this user on this machine. Exit code 1 if --name names none of them, or the
    server at --url does not return an embedding.
    """
    if name is not None and url is not None:
        raise UsageError(
            "A server is named by its name or by its address.",
            why="--name is for those that the toolkit started, --url for any.",
            cure=f"sgl-embed status --url {url}",
        )
    if url is None and (api_key_env or plain_http):
        raise UsageError(
            "There is no server to ask.",
            why="--api-key-env and --plain-http are for --url.",
            cure="sgl-embed status --url http://127.0.0.1:30000",
        )
    if url is not None:
        return _show_asked(url, api_key_env, plain_http, form)
    servers = own_servers()
    status = Status(servers if name is None else named(servers, name))
    if form == "json":
        click.echo(status.as_json())
    else:
        click.echo(status.as_text() if status.servers else NONE_RUNS)
    return ExitCode.OK


def _show_asked(url: str, api_key_env: str | None, plain_http: bool, form: str) -> ExitCode:
    # It needs an HTTP library, which takes its time to import.
    from sgl_embed_kit.doctor.live.target import live_subject
    from sgl_embed_kit.launch.asking import ask

    subject = live_subject(url, None, key_variable=api_key_env, plain_http=plain_http)
    with closing(subject.server):
        answer = ask(subject)
        servers = [one for one in own_servers() if one.url == subject.server.address]
    status = Status(servers, answer)
    if form == "json":
        click.echo(status.as_json())
    else:
        click.echo(status.as_text())
        if not answer.ready:
            click.echo(_why_not(answer), err=True)
    return ExitCode.OK if answer.ready else ExitCode.FAILED


def _why_not(answer: AnswerJson) -> str:
    lines = textwrap.wrap(
        answer.why_not, COLUMNS - 8, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join([*lines, f"cure: sgl-embed doctor --url {answer.url}"])
