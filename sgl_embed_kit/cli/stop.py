"""`sgl-embed stop`: let a server finish its requests, then end it and all that it started."""

from __future__ import annotations

import sys

import click

from sgl_embed_kit.cli.servers import own_servers
from sgl_embed_kit.errors import ExitCode, KitError
from sgl_embed_kit.launch.selection import the_one
from sgl_embed_kit.launch.stopping import Ended, limit_of, stop_server
from sgl_embed_kit.machine import ServerRecord
from sgl_embed_kit.machine.servers import READY

CLEAR_LINE = "\r\x1b[K"


@click.command()
@click.argument("name")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Kill it after this time. Default: the profile's drain_seconds, and ten more.",
)
def command(name: str, timeout: float | None) -> ExitCode:
    """Stop a server that the toolkit started.

    NAME is its served name, profile, port or process id; `sgl-embed status` shows them. The
    server answers its last requests first. Ctrl-C stops the waiting, not the stopping.
    """
    record = the_one(own_servers(), name, "stop")
    limit = limit_of(record) if timeout is None else timeout
    progress = _Progress(record, limit)
    try:
        ended = stop_server(record, limit, progress.show)
    except KeyboardInterrupt:
        progress.clear()
        click.echo(
            f"No longer waiting; {record.name} (port {record.port}) was asked to end and may "
            "still be\ndraining: sgl-embed status",
            err=True,
        )
        return ExitCode.INTERRUPTED
    progress.clear()
    _tell(record, ended)
    return ExitCode.OK


def _tell(record: ServerRecord, ended: Ended) -> None:
    """Say how it ended.

    Raises:
        KitError: something of it is still there.
    """
    who = f"{record.name} (port {record.port})"
    if ended.left:
        pids = " ".join(map(str, ended.left))
        raise KitError(
            f"{who} was killed, and processes of it are still there.",
            why=f"The kernel has not ended them yet: {pids}. A driver may hold them.",
            cure=f"ps -o pid,stat,wchan:20,cmd {pids}",
        )
    if ended.killed:
        some = len(ended.killed)
        click.echo(
            f"{who} did not end by itself: "
            f"{some} process{'es' if some > 1 else ''} killed after {ended.seconds:.1f} s."
        )
    else:
        click.echo(f"{who} has ended after {ended.seconds:.1f} s.")


class _Progress:
    """A line on stderr that says how long it takes: live on a terminal, else written once."""

    def __init__(self, record: ServerRecord, limit: float) -> None:
        self._is_live = sys.stderr.isatty()
        self._drain = min(record.drain_seconds, limit)
        self._limit = limit
        self._does = "draining" if record.phase == READY else "stopping"
        self._is_shown = False

    def show(self, waited: float) -> None:
        most = self._drain if waited <= self._drain else self._limit
        if self._is_live:
            line = f"  {self._does}, {waited:.0f} s of {most:.0f}"
            click.echo(f"{CLEAR_LINE}{line}", nl=False, err=True)
        elif not self._is_shown:
            click.echo(f"  {self._does}, at most {most:.0f} s", err=True)
        self._is_shown = True

    def clear(self) -> None:
        if self._is_live and self._is_shown:
            click.echo(CLEAR_LINE, nl=False, err=True)
