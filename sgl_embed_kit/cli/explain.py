"""`sgl-embed explain`: what a check means, why it matters, and how to cure it; offline."""

from __future__ import annotations

import textwrap

import click

from sgl_embed_kit.doctor.catalogue import About
from sgl_embed_kit.doctor.selection import about_of


@click.command()
@click.argument("check", metavar="ID")
def command(check: str) -> None:
    """Say what a check means, why, and how to cure it.

    ID is an id such as SGE-NET-001, or a check's name such as port.
    """
    click.echo(explanation(about_of(check)))


def explanation(about: About) -> str:
    """Return what is known of a check, as lines of at most 80 columns."""
    told = [
        ("looks for", about.means),
        ("why", about.why),
        ("reads", ", ".join(about.reads) or "nothing of the profile"),
        ("at worst", about.severity),
        ("cure", about.cure),
    ]
    if about.harm:
        told.append(("harm", about.harm))
    if about.known_issue is not None:
        told.append(("upstream", f"{about.known_issue.url} ({about.known_issue.versions})"))
    lines = [f"{about.id}  {about.title}", ""]
    for label, text in told:
        lines += textwrap.wrap(
            text,
            80,
            initial_indent=f"  {label:<11}",
            subsequent_indent=" " * 13,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)
