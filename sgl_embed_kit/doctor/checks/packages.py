"""Checks of Python and its packages: SGLang, what it needs, the guard in its environment."""

from __future__ import annotations

import importlib.util
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from sgl_embed_kit.doctor.checks.variables import set_variable, unset_variable
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.profile.patch import patch
from sgl_embed_kit.sglang.flag_history import known_releases, table_of
from sgl_embed_kit.sglang.installed import TESTED_FROM, tested_range
from sgl_embed_kit.sglang.versions import VersionRange, release_of

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PLATFORM = "linux x86_64"
OLDEST_PYTHON = (3, 11, 0)
ALWAYS_NEEDED = ("torch", "transformers", "tokenizers")
NEEDED_ON_A_GPU = ("flashinfer-python", "sglang-kernel")
"""On a CPU SGLang asks neither for a version (_set_envs_and_config in
srt/entrypoints/engine.py), and the toolkit's stand-in takes the place of the kernels."""
SAMPLE = {
    "torch": ("torch/_tensor.py", "torch/nn/functional.py"),
    "transformers": ("transformers/modeling_utils.py", "transformers/utils/import_utils.py"),
    "sglang": ("sglang/srt/server_args.py", "sglang/srt/managers/scheduler.py"),
}
"""Modules that every start imports. An installer compiles all of a package or none of it."""
NOT_INSTALLED = "SGLang is not installed"


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
            "sgl-embed plan PROFILE --gpu 24GiB  # works here; the server needs Linux",
        )
    return Finding(Status.OK, found)


def sglang(subject: Subject) -> Finding:
    """Look at the installed SGLang against what is tested and what the profile is for."""
    installed, tested = subject.installed, f"SGLang {tested_range()}"
    install = "pip install 'sgl-embed-kit[server]'"
    if installed is None:
        return Finding(Status.ERROR, NOT_INSTALLED, tested, install)
    found = f"SGLang {installed.version}"
    if installed.command is None:
        return Finding(Status.ERROR, f"{found} without its command", "`sglang`", install)
    if release_of(installed.version) < TESTED_FROM:
        return Finding(Status.ERROR, found, tested, install)
    wanted = subject.profile.sglang.version
    if wanted is not None and installed.version not in VersionRange(wanted):
        return Finding(Status.ERROR, found, f"SGLang {wanted}, as the profile says", install)
    if not installed.is_tested:
        return Finding(
            Status.WARN, f"{found}, newer than tested: {_compared(subject)}", tested, install
        )
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
            patch(guard={"enabled": True}),
        )
    if subject.installed is None:
        return Finding(Status.SKIP, NOT_INSTALLED)
    if not subject.installed.sees_guard:
        return Finding(
            Status.ERROR,
            "SGLang's plugin framework does not find the guard",
            "the entry point sgl_embed_guard in SGLang's environment",
            "pip install --force-reinstall --no-deps sgl-embed-kit",
        )
    return Finding(Status.OK, "SGLang will load the guard")


def kernels(subject: Subject) -> Finding:
    """Look whether SGLang's kernels for the GPU can be loaded, without importing them."""
    if subject.installed is None:
        return Finding(Status.SKIP, NOT_INSTALLED)
    reason = subject.installed.kernels
    if not reason:
        return Finding(Status.OK, "nothing speaks against loading sgl_kernel")
    if subject.profile.hardware.device == "cpu":
        return Finding(Status.OK, f"not needed: the stand-in serves on a CPU ({reason})")
    return Finding(
        Status.ERROR,
        reason,
        "sgl_kernel, which SGLang imports before it loads a model",
        "nvidia-smi" if "libcuda" in reason else "pip install --force-reinstall sglang-kernel",
    )


def requirements(subject: Subject) -> Finding:
    """Look at torch and what else does the sums, against what SGLang's metadata asks for."""
    of_sglang = subject.machine.distributions("sglang")
    if not of_sglang:
        return Finding(Status.SKIP, NOT_INSTALLED)
    needed = _needed(of_sglang[0].requires, on_gpu=subject.profile.hardware.device == "cuda")
    if not needed:
        return Finding(Status.SKIP, "SGLang's metadata does not say what it needs")
    here = {name: subject.machine.distributions(name)[:1] for name in needed}
    found = ", ".join(
        f"{name} {one[0].version if one else 'is missing'}" for name, one in here.items()
    )
    missing = [name for name, one in here.items() if not one]
    other = [
        name
        for name, one in here.items()
        if one and not needed[name].specifier.contains(one[0].version, prereleases=True)
    ]
    if not missing and not other:
        return Finding(Status.OK, found)
    wanted = [f"{name}{needed[name].specifier}" for name in (*missing, *other)]
    return Finding(
        Status.ERROR if missing else Status.WARN,
        found,
        f"{', '.join(wanted)}, as SGLang {of_sglang[0].version} asks for",
        f"pip install {' '.join(map(shlex.quote, wanted))}",
    )


def _needed(requires: tuple[str, ...], *, on_gpu: bool) -> dict[str, Requirement]:
    """Return those of SGLang's requirements that this device needs, by their names.

    Not all that it has: healthy installations leave some of them out, and SGLang serves
    embeddings without (outlines on Python 3.13, for instance).
    """
    from packaging.requirements import Requirement  # late: no other command needs it
    from packaging.utils import canonicalize_name

    names = (*ALWAYS_NEEDED, *NEEDED_ON_A_GPU) if on_gpu else ALWAYS_NEEDED
    written = (Requirement(text) for text in requires if canonicalize_name(text).startswith(names))
    return {
        name: each
        for each in written
        if (name := canonicalize_name(each.name)) in names
        and (each.marker is None or each.marker.evaluate({"extra": ""}))
    }


def copies(subject: Subject) -> Finding:
    """Look for a second SGLang, which could run in the place of the one looked at."""
    found = subject.machine.distributions("sglang")
    if not found:
        return Finding(Status.SKIP, NOT_INSTALLED)
    if len(found) > 1:
        return Finding(
            Status.WARN,
            " and ".join(f"SGLang {each.version} in {each.folder}" for each in found),
            "one SGLang: files of two releases do not work together",
            "pip uninstall -y sglang && pip install 'sgl-embed-kit[server]'",
        )
    for folder in _python_path(subject):
        other = subject.machine.file(folder / "sglang/__init__.py")
        if other is not None and other.path.parents[1] != found[0].folder:
            return Finding(
                Status.WARN,
                f"{folder}, which is on PYTHONPATH, has a folder sglang",
                f"the SGLang {found[0].version} of {found[0].folder}, which that one hides",
                unset_variable(subject, "PYTHONPATH"),
            )
    return Finding(Status.OK, f"one SGLang, in {found[0].folder}")


def _python_path(subject: Subject) -> list[Path]:
    """Return the folders that the server's Python looks into before all others.

    An empty part, such as after a colon at the end, is the working directory. Without
    one that is not looked into: `sglang` is a script, and its own folder comes first.
    """
    written = subject.environment.get("PYTHONPATH", "")
    return [Path(part).absolute() for part in written.split(os.pathsep)] if written else []


def bytecode(subject: Subject) -> Finding:
    """Look whether SGLang and what it imports were compiled, by a sample of their files."""
    packages = {name: subject.machine.distributions(name)[:1] for name in SAMPLE}
    sources = [
        found.folder / file
        for name, here in packages.items()
        for found in here
        for file in SAMPLE[name]
        if subject.machine.file(found.folder / file)
    ]
    if not sources:
        return Finding(Status.SKIP, NOT_INSTALLED)
    missing = [path for path in sources if subject.machine.file(_compiled(path)) is None]
    if not missing:
        return Finding(Status.OK, "SGLang, torch and transformers are compiled")
    found_text = f"{len(missing)} of {len(sources)} modules have no bytecode"
    fault = subject.machine.folder(_compiled(missing[0]).parent).fault
    if fault:
        cure = set_variable(subject, "PYTHONPYCACHEPREFIX", "/a/folder/you/own")
    elif subject.environment.get("PYTHONDONTWRITEBYTECODE"):
        fault = "PYTHONDONTWRITEBYTECODE is set"
        folders = {str(here[0].folder): None for here in packages.values() if here}
        cure = f"python -m compileall -q -j 0 {shlex.join(folders)}"
    else:
        return Finding(Status.OK, f"{found_text}: the first start writes it, 15 s slower")
    return Finding(
        Status.WARN,
        f"{found_text}, and no start writes it: {fault}",
        "bytecode, without which each start takes 15 s longer",
        cure,
    )


def _compiled(source: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(source)))


def same_environment(subject: Subject) -> Finding:
    """Look whether the `sglang` command runs in the environment that was looked at."""
    installed = subject.installed
    if installed is None:
        other = subject.machine.program("sglang", subject.environment.get("PATH"))
        if other is None:
            return Finding(Status.SKIP, NOT_INSTALLED)
        return _elsewhere(other, other.with_name("python"))
    if installed.command is None:
        return Finding(Status.SKIP, "SGLang has no command here")
    if installed.foreign_python is not None:
        return _elsewhere(installed.command, installed.foreign_python)
    return Finding(Status.OK, "SGLang, the guard and the toolkit share an environment")


def _elsewhere(command: Path, python: Path) -> Finding:
    return Finding(
        Status.ERROR,
        f"{command} is of another environment than this toolkit",
        "SGLang and the toolkit in one: only there does the guard load",
        f"pip --python {shlex.quote(str(python))} install sgl-embed-kit",
    )
