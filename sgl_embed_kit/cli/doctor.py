"""`sgl-embed doctor`: run the checks that `launch` runs, and start nothing."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import click

from sgl_embed_kit.cli.console import show_report
from sgl_embed_kit.cli.options import (
    ignore_option,
    ignored_checks,
    key_options,
    named_checks,
    profile_options,
)
from sgl_embed_kit.doctor import Report, Status, Subject, run_checks
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.engine import Looked
from sgl_embed_kit.doctor.log_report import log_as_json, log_as_text
from sgl_embed_kit.doctor.report import COLUMNS, as_json, as_junit
from sgl_embed_kit.doctor.selection import only
from sgl_embed_kit.errors import ExitCode, UsageError
from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.launch.quickstart import LOCAL_PROFILE, local_profile
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.folder import Folders
from sgl_embed_kit.sglang.diagnosis import worst_start
from sgl_embed_kit.sglang.installed import find_installed

OF_A_SERVER = ("--intrusive", "--api-key-env", "--plain-http")


@click.command()
@click.argument("profile", required=False)
@profile_options
@click.option("--only", "wanted", metavar="ID,…", help="Run these checks and no others.")
@ignore_option
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warn"]),
    default="error",
    show_default=True,
    help="From what on the exit code is 1.",
)
@click.option(
    "--log", type=click.File("rb"), metavar="FILE", help="Look into a saved log; - reads stdin."
)
@click.option("--url", metavar="URL", help="Ask the server at this address.")
@click.option(
    "--intrusive",
    is_flag=True,
    help="With --url: also send what could stall or end a server without a guard: the longest "
    "text that it allows, and a request to generate. One after the other, after all else.",
)
@key_options
@click.option(
    "--bundle",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a report to attach to an issue, without anything private.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "junit"]),
    default="text",
    show_default=True,
    help="For people, for programs, for CI systems.",
)
def command(
    profile: str | None,
    settings: tuple[str, ...],
    allow_unsafe: bool,
    wanted: str | None,
    ignored: str | None,
    fail_on: str,
    form: str,
    log: BinaryIO | None,
    target: Path | None,
    url: str | None,
    intrusive: bool,
    api_key_env: str | None,
    plain_http: bool,
) -> ExitCode:
    """Say before the wait what would go wrong after it.

    PROFILE is a file or the name of a bundled profile; without it, the checks look at
    what quickstart would serve here without a model hub. Exit code 1 if a check fails.
    Ids and names of checks are in the reports; `sgl-embed explain ID` says more. With
    --log, it is not the machine that is looked at but a log of SGLang, and nothing else
    can be asked for besides --format and --fail-on. --bundle collects
    report, profile, command, packages and the end of the last log in one .tar.gz, and says
    what was taken out: keys, names of users and hosts, home folders, addresses. With --url,
    it is a server that runs, which is compared with PROFILE if that is given: by harmless
    requests only, unless --intrusive allows others.
    """
    given = {
        "PROFILE": profile is not None,
        "--set": bool(settings),
        "--only": wanted is not None,
        "--ignore": ignored is not None,
        "--url": url is not None,
        "--intrusive": intrusive,
        "--api-key-env": api_key_env is not None,
        "--plain-http": plain_http,
        "--log": log is not None,
        "--bundle": target is not None,
    }
    _refuse_what_does_not_go_together([name for name, is_given in given.items() if is_given])
    if log is not None:
        return _diagnose(log, fail_on, form)
    if target is not None:
        from sgl_embed_kit.doctor import bundle  # few ask for one

        bundle.check_target(target)
    machine = RealMachine()
    installed, folders = find_installed(), Folders()
    described, shown, name = None, None, None
    if profile:
        loaded = read_runnable(
            profile, settings, installed, allow_unsafe=allow_unsafe, folders=folders
        )
        described = Subject.of(loaded.profile, installed, machine, loaded.mask, folders)
        shown, name = loaded.shown, loaded.path.stem
    reasons = ignored_checks(ignored)
    if described is not None:
        reasons = described.profile.doctor.ignore | reasons
    names = named_checks("--only", wanted)
    if url is not None:
        # It needs an HTTP library, which takes its time to import.
        from sgl_embed_kit.doctor.live import LIVE_CHECKS, run_live_checks
        from sgl_embed_kit.doctor.live.target import live_subject

        live_checks = only(LIVE_CHECKS, names)
        server = live_subject(
            url,
            described,
            key_variable=api_key_env,
            plain_http=plain_http,
            is_intrusive=intrusive,
        )
        with closing(server.server):
            report = run_live_checks(server, live_checks, reasons)
        return _show(report, server, name, form, fail_on)
    checks = only(CHECKS, names)
    if described is None or shown is None:
        shown, name = local_profile(machine), LOCAL_PROFILE
        described = Subject.of(shown, installed, machine)
    report = run_checks(described, checks, reasons)
    code = _show(report, described, name, form, fail_on)
    if target is not None:
        made = bundle.make_bundle(report, described, shown, name or LOCAL_PROFILE)
        bundle.write_bundle(made, target)
        click.echo(_told(target, len(made.files), made.summary), err=True)
    return code


def _refuse_what_does_not_go_together(given: Sequence[str]) -> None:
    """Refuse options of another look than the one asked for, so that none is passed over.

    Args:
        given: The names of the arguments and options that were given.

    Raises:
        UsageError: some of them have no meaning together.
    """
    others = ", ".join(name for name in given if name != "--log")
    if "--log" in given and others:
        raise UsageError(
            "A log is looked at alone.",
            why=f"Of another look than --log: {others}.",
            cure="sgl-embed doctor --log FILE",
        )
    if {"--url", "--bundle"} <= {*given}:
        raise UsageError(
            "A server is looked at alone.",
            why="A bundle holds a report of this machine.",
            cure="sgl-embed doctor --url URL",
        )
    of_a_server = ", ".join(name for name in given if name in OF_A_SERVER)
    if of_a_server and "--url" not in given:
        raise UsageError(
            "There is no server to ask.",
            why=f"Only for --url: {of_a_server}.",
            cure="sgl-embed doctor --url http://127.0.0.1:30000",
        )
    if "--set" in given and "PROFILE" not in given:
        raise UsageError(
            "There is no profile to set a value of.",
            why="--set changes a value of PROFILE.",
            cure="sgl-embed doctor PROFILE --set KEY=VALUE",
        )


def _show(report: Report, looked: Looked, name: str | None, form: str, fail_on: str) -> ExitCode:
    if form == "json":
        click.echo(as_json(report, looked, name))
    elif form == "junit":
        click.echo(as_junit(report, Status(fail_on)))
    else:
        show_report(report, sys.stdout)
    return ExitCode.FAILED if report.failing(Status(fail_on)) else ExitCode.OK


def _told(target: Path, files: int, removed: str) -> str:
    told = (
        f"{target} has {files} files. Taken out: {removed}. "
        "Look into it before you attach it to an issue."
    )
    return textwrap.fill(told, COLUMNS, break_long_words=False, break_on_hyphens=False)


def _diagnose(log: BinaryIO, fail_on: str, form: str) -> ExitCode:
    if form == "junit":
        raise UsageError(
            "A log is not shown in JUnit's form.",
            why="Its lines are no tests.",
            cure="sgl-embed doctor --log FILE --format json",
        )
    try:
        start = worst_start(log)
    except OSError as error:
        raise UsageError(
            f"{log.name} cannot be read to its end.",
            why=error.strerror or str(error),
            cure=f"ls -l {log.name}",
        ) from error
    click.echo(log_as_json(start) if form == "json" else log_as_text(start))
    bad = {"error", fail_on} & {found.problem.severity for found in start.found.values()}
    return ExitCode.FAILED if bad or start.unknown else ExitCode.OK
