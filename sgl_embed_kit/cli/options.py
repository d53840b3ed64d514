"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def profile_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--set` and `--allow-unsafe` to a command that reads a profile."""
    command = click.option(
        "--allow-unsafe",
        is_flag=True,
        help="Allow keys that could run foreign code, such as trust-remote-code.",
    )(command)
    return click.option(
        "--set",
        "settings",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change a value of the profile, such as limits.context_length=4096.",
    )(command)


def key_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--api-key-env` and `--plain-http` to a command that asks a server."""
    command = click.option(
        "--plain-http",
        is_flag=True,
        help="With --url: let the key travel to another machine unencrypted.",
    )(command)
    return click.option(
        "--api-key-env",
        metavar="NAME",
        help="With --url: the variable with the server's key. Default: as the profile says; "
        "without a profile, SGL_EMBED_API_KEY if it is set.",
    )(command)
