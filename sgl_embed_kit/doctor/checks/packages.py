"""Checks of Python and its packages: SGLang, its release, the guard in its environment."""

from __future__ import annotations

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.sglang.flag_history import known_releases, table_of
from sgl_embed_kit.sglang.installed import TESTED_FROM, tested_range
from sgl_embed_kit.sglang.versions import VersionRange, release_of

PLATFORM = "linux x86_64"
OLDEST_PYTHON = (3, 11)


def python(subject: Subject) -> Finding:
    """Look whether SGLang's wheels exist for this Python and this machine."""
    version = subject.machine.python()
    found = f"Python {'.'.join(map(str, version))} on {subject.machine.platform()}"
    if version < OLDEST_PYTHON:
        return Finding(Status.ERROR, found, "Python 3.11 or newer", "python3.12 -m venv .venv")
    if subject.machine.platform() != PLATFORM:
        return Finding(
            Status.ERROR,
            found,
            "Linux on x86-64, which is all that SGLang's wheels serve",
            "run the server on a Linux machine; the client works here",
        )
    return Finding(Status.OK, found)


def sglang(subject: Subject) -> Finding:
    """Look at the installed SGLang against what is tested and what the profile is for."""
    installed, tested = subject.installed, f"SGLang {tested_range()}"
    install = "pip install 'sgl-embed-kit[server]'"
    if installed is None:
        return Finding(Status.ERROR, "SGLang is not installed", tested, install)
    found = f"SGLang {installed.version}"
    if installed.command is None:
        return Finding(Status.ERROR, f"{found} without its command", "`sglang`", install)
    if release_of(installed.version) < TESTED_FROM:
        return Finding(Status.ERROR, found, tested, install)
    wanted = subject.profile.sglang.version
    if wanted is not None and installed.version not in VersionRange(wanted):
        return Finding(Status.ERROR, found, f"SGLang {wanted}, as the profile says", install)
    if not installed.is_tested:
        return Finding(Status.WARN, f"{found}, newer than tested: {_compared(subject)}", tested)
    return Finding(Status.OK, found)


def _compared(subject: Subject) -> str:
    """Say how the installed SGLang's flags differ from the newest known ones."""
    newest = table_of(known_releases()[-1])
    assert newest is not None
    before, now = newest.by_name, subject.table.by_name
    changed = [
        name
        for name in before.keys() & now.keys()
        if (before[name].type, before[name].choices) != (now[name].type, now[name].choices)
    ]
    return (
        f"against {newest.version}, {len(now.keys() - before.keys())} flags gained, "
        f"{len(before.keys() - now.keys())} lost, {len(changed)} changed"
    )


def guard(subject: Subject) -> Finding:
    """Look whether SGLang will load the guard."""
    if not subject.profile.guard.enabled:
        return Finding(
            Status.WARN,
            "the guard is switched off",
            "the guard, or one chat request ends the server",
            "set guard.enabled: true in the profile",
        )
    if subject.installed is None:
        return Finding(Status.SKIP, "SGLang is not installed")
    if not subject.installed.sees_guard:
        return Finding(
            Status.ERROR,
            "SGLang's plugin framework does not find the guard",
            "the entry point sgl_embed_guard in SGLang's environment",
            "pip install --force-reinstall --no-deps sgl-embed-kit",
        )
    return Finding(Status.OK, "SGLang will load the guard")
