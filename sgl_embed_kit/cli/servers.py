"""The servers that several commands are about."""

from __future__ import annotations

import click

from sgl_embed_kit.machine import ServerRecord
from sgl_embed_kit.machine.servers import mend_folder, recorded_servers


def note_mended() -> None:
    """Close the folder for records to others, and say so if it was open.

    Raises:
        PlantedError: it cannot be trusted.
    """
    if mended := mend_folder():
        click.echo(f"note: {mended}", err=True)


def own_servers() -> tuple[ServerRecord, ...]:
    """Return this user's servers that run here.

    Raises:
        PlantedError: the folder for their records cannot be trusted.
    """
    note_mended()
    return recorded_servers()
