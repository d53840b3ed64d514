"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from sgl_embed_kit.doctor.selection import about_of
from sgl_embed_kit.errors import ExitCode, KitError, UsageError

if TYPE_CHECKING:
    from sgl_embed_kit.launch.event_json import JsonEvents

ON_THE_COMMAND_LINE = "--ignore on the command line"


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


def log_options(command: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
    """Add `--log-format` and `--verbose` to a command that runs a server.

    The command is given `json_events`, None for text, and `verbose`. Its end, however it
    comes, is the last event.
    """

    @wraps(command)
    def follow_to_the_end(*args: Any, log_format: str, **options: Any) -> ExitCode:
        if log_format == "text":
            return command(*args, json_events=None, **options)
        events = _json_events()
        try:
            code = command(*args, json_events=events, **options)
        except KitError as error:
            _tell_end(events, error.exit_code, error.what, error.why, error.cure)
            raise
        except KeyboardInterrupt:
            _tell_end(events, ExitCode.INTERRUPTED, "Interrupted.")
            raise
        _tell_end(events, code)
        return code

    verbose = click.option("-v", "--verbose", is_flag=True, help="Show SGLang's log, on stderr.")
    return click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Tell what happens as text, or as JSON: an object a line, on stdout.",
    )(verbose(follow_to_the_end))


def _json_events() -> JsonEvents:
    from sgl_embed_kit.launch.event_json import JsonEvents

    return JsonEvents(click.echo)  # which flushes: a collector sees it at once


def _tell_end(events: JsonEvents, code: ExitCode, *texts: str) -> None:
    from sgl_embed_kit.launch.events import Ended

    events(Ended(int(code), *texts))


def ignore_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--ignore`, whose value `ignored_checks` reads."""
    return click.option(
        "--ignore",
        "ignored",
        metavar="ID,…",
        help="Tell of these checks, and let them fail nothing.",
    )(command)


def ignored_checks(text: str | None) -> dict[str, str]:
    """Return the ids of the checks that `--ignore` names, each with the reason.

    Raises:
        UsageError: it names none, or one that does not exist.
    """
    return {about_of(name).id: ON_THE_COMMAND_LINE for name in named_checks("--ignore", text)}


def named_checks(option: str, text: str | None) -> list[str]:
    """Return the names of checks that an option lists, with commas between them.

    Raises:
        UsageError: it lists none.
    """
    names = [part for part in (text or "").split(",") if part.strip()]
    if text is not None and not names:
        raise UsageError(
            f"{option} names no check.",
            why="It takes ids or names of checks, with commas between them.",
            cure=f"sgl-embed doctor {option} port,disk",
        )
    return names
