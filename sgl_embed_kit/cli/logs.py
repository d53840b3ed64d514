"""`sgl-embed logs`: the end of a server's log, and what comes to it."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable

import click

from sgl_embed_kit.cli.servers import own_servers
from sgl_embed_kit.errors import ExitCode, KitError
from sgl_embed_kit.launch.log_choice import choose_log
from sgl_embed_kit.launch.log_tail import LogTail

LINES = 100


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the server ends, or Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=LINES,
    show_default=True,
    help="How many of the last lines.",
)
def command(name: str, follow: bool, lines: int) -> ExitCode:
    """Print the end of a server's log.

    NAME is its served name, profile, port or process id. Of one that has ended, the served
    name or the profile leads to its last log.
    """
    log, is_over = choose_log(own_servers(), name)
    try:
        with LogTail(log) as tail:
            _print(tail.last(lines))
            if follow:
                _print(tail.follow(is_over))
                click.echo("The server has ended.", err=True)
    except BrokenPipeError:
        raise  # the reader of our output went away: no fault of the log
    except OSError as error:
        raise KitError(
            f"{log} cannot be read.", why=error.strerror or str(error), cure=f"ls -l {log}"
        ) from error
    return ExitCode.OK


def _print(blocks: Iterable[bytes]) -> None:
    """Print bytes as text; a character that two blocks share is kept whole."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    for block in blocks:
        click.echo(decode(block), nl=False)
    click.echo(decode(b"", final=True), nl=False)
    sys.stdout.flush()
