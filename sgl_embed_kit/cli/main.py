"""`sgl-embed`: finds the command, and turns every error into sentences and an exit code."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from sgl_embed_kit import __version__
from sgl_embed_kit.cli.colour import wants_colour
from sgl_embed_kit.errors import ExitCode, KitError

COMMANDS = {
    "quickstart": "From a machine with nothing to a real server and real vectors.",
    "doctor": "Say before the wait what would go wrong after it.",
    "explain": "Say what a check means, why, and how to cure it.",
    "plan": "Say what a server will take of memory, and whether it fits.",
    "launch": "Start the server that a profile describes.",
    "status": "Say which servers run that the toolkit started.",
    "stop": "Stop a server that the toolkit started.",
    "logs": "Print the end of a server's log.",
    "profile": "List, show, check and write profiles.",
    "model": "Make and look at models.",
}
"""Each command and its one-line help; the module of the same name is imported late."""


class LateGroup(click.Group):
    """A group that imports a command only when it is called, so that --help is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"sgl_embed_kit.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LateGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sgl-embed")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Serve embeddings with SGLang: start right, stay up, and know why not."""
    del debug  # read from the command line in main(), also when parsing fails


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    if os.getpid() == 1:
        from sgl_embed_kit.launch.init import leave_process_1

        leave_process_1()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code: Any = cli.main(arguments, prog_name="sgl-embed", standalone_mode=False)
        sys.stdout.flush()
    except KitError as error:
        _show(error)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FAILED
    except Exception as error:
        if "--debug" in arguments:
            raise
        _show(
            KitError(
                "sgl-embed met a bug in itself.",
                why=f"{type(error).__name__}: {error}",
                cure=f"sgl-embed --debug {' '.join(arguments)}",
            )
        )
        code = ExitCode.FAILED
    forget_handled_interrupts()
    sys.exit(int(code or ExitCode.OK))


def forget_handled_interrupts() -> None:
    """Keep Python from ending by SIGINT for an interrupt that was handled long ago.

    It remembers one that passed through `exec` of a text, as each dataclass is made by, until
    the next such `exec` (`unhandled_keyboard_interrupt`, Python/pythonrun.c of 3.11).
    """
    exec("")  # noqa: S102


def _show(error: KitError) -> None:
    head = click.style("error:", fg="red", bold=True) if wants_colour(sys.stderr) else "error:"
    click.echo(f"{head} {error.what}", err=True)
    for number, line in enumerate(error.why.splitlines()):
        click.echo(_wrapped(line, "        " if number else "  why:  "), err=True)
    if error.cure:
        click.echo(f"  cure: {error.cure}", err=True)


def _wrapped(line: str, indent: str) -> str:
    """Wrap a line at 80 columns; paths and addresses stay whole, to be clicked or copied."""
    return textwrap.fill(
        line,
        80,
        initial_indent=indent,
        subsequent_indent=" " * 10,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    main()
