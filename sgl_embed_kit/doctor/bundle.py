"""A report to attach to an issue: one archive, with everything private taken out of it."""

from __future__ import annotations

import gzip
import io
import json
import os
import platform
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from sgl_embed_kit.doctor.engine import Report
from sgl_embed_kit.doctor.report import as_json, as_text
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.errors import KitError, UsageError
from sgl_embed_kit.folders import cache_folder, last_log
from sgl_embed_kit.machine import Gpu, Machine
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.keys import read_key
from sgl_embed_kit.redaction import Redactor, private_here

TOP = "sgl-embed-report"
"""Folder in the archive."""
LONGEST_LOG = 256 * 1024
"""Bytes of the end of the server's last log that go into a bundle."""


@dataclass(frozen=True)
class Bundle:
    """What goes into the archive.

    Attributes:
        files: Texts by their names.
        removed: How much of each kind was taken out of them.
    """

    files: Mapping[str, str]
    removed: Mapping[str, int]

    @property
    def summary(self) -> str:
        """What was taken out, in words: kinds and numbers."""
        counts = sorted(self.removed.items())
        return ", ".join(f"{count} x {kind}" for kind, count in counts) or "nothing"


def make_bundle(report: Report, subject: Subject, shown: Profile, name: str) -> Bundle:
    """Collect a report and what it rests on, and take out what is private.

    Args:
        report: What the checks found.
        subject: What they looked at.
        shown: The profile as it may be shown, with ${NAME} for what it took from a variable.
        name: The profile's name.
    """
    redact = Redactor(private_here(_keys(subject), _users(subject.machine.nvidia().gpus)))
    redacted = _redacted(report, redact)  # before lines are wrapped, which could split a name
    parts: dict[str, Callable[[], str]] = {
        "report.txt": lambda: redact(as_text(redacted)),
        "report.json": lambda: _as_json(redact, json.loads(as_json(redacted, subject, name))),
        "profile.yaml": lambda: _as_yaml(redact, subject.settled(shown).model_dump(mode="json")),
        "command.txt": lambda: redact(subject.command(shown=shown).as_shell()),
        "machine.json": lambda: _as_json(redact, machine_facts(subject.machine)),
        "packages.txt": lambda: redact(packages(), addresses=False),
    }
    log = last_log(subject.mask(subject.profile.model.name))
    if log is not None:
        parts["server.log"] = lambda: redact(subject.mask(_tail(log)))
    ended = {name: f"{_made(part, redact).rstrip()}\n" for name, part in parts.items()}
    return Bundle({**ended, "removed.txt": _removed(redact.removed)}, dict(redact.removed))


def check_target(target: Path) -> None:
    """Refuse a file that is there, and a folder that is not, before any work is done.

    Raises:
        UsageError: the bundle cannot be written there.
    """
    if os.path.lexists(target):
        raise UsageError(
            f"{target} is there already.",
            why="A bundle is never written over another file.",
            cure=f"mv {target} {target}.old, or another name",
        )
    if not target.parent.is_dir():
        raise UsageError(
            f"There is no folder {target.parent} for the bundle.", cure=f"mkdir -p {target.parent}"
        )


def write_bundle(bundle: Bundle, target: Path) -> None:
    """Write the archive, for this user only; the same bundle makes the same bytes.

    The file appears whole or not at all.

    Raises:
        KitError: it cannot be written, or another file of that name has appeared meanwhile.
    """
    check_target(target)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(partial, flags, 0o600), "wb") as file:
            file.write(archive(bundle.files))
        try:
            os.link(partial, target)  # unlike a rename, never over another file
        except FileExistsError:
            check_target(target)
        except OSError:  # a file system without hard links
            partial.rename(target)
    except OSError as error:
        raise KitError(
            f"{target} cannot be written.",
            why=error.strerror or str(error),
            cure="sgl-embed doctor --bundle /tmp/report.tar.gz",
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def archive(files: Mapping[str, str]) -> bytes:
    """Return texts as a gzipped tar archive: in order, without owners and times."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in sorted(files.items()):
            content = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{TOP}/{name}")
            entry.size, entry.mode = len(content), 0o600
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def machine_facts(machine: Machine) -> dict[str, Any]:
    """Return what the machine is and has; sizes in bytes."""
    return {
        "platform": machine.platform(),
        "kernel": platform.release(),
        "python": ".".join(map(str, machine.python())),
        "processors": machine.processors(),
        "memory_total": machine.memory_total(),
        "memory_available": machine.memory_available(),
        "swap_free": machine.swap_free(),
        "control_group": asdict(machine.control_group()),
        "shared_memory": machine.shared_memory(),
        "disk_free": machine.disk_free(cache_folder()),
        "gpus": [asdict(gpu) for gpu in machine.gpus()],
    }


def packages() -> str:
    """Return the packages of this environment, as `pip freeze` lists them."""
    heads = (one.metadata for one in metadata.distributions())  # parsed anew at each use
    found = {f"{head['Name']}=={head['Version']}" for head in heads}
    return "\n".join(sorted(found, key=str.lower))


def _made(part: Callable[[], str], redact: Redactor) -> str:
    """Return a part, or what kept it from being made: the bundle is for what is broken."""
    try:
        return part()
    except Exception as error:  # whatever it is, the other parts are worth having
        return redact(f"This could not be collected: {type(error).__name__}: {error}")


def _tail(log: Path) -> str:
    """Return the end of a log, from the beginning of a line on."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LONGEST_LOG))
        text = file.read(LONGEST_LOG).decode("utf-8", "replace")
    return text if size <= LONGEST_LOG else text.partition("\n")[2]


def _keys(subject: Subject) -> list[str]:
    """Return the values of the profile's keys, as far as they can be read."""
    found = []
    for source in subject.profile.server.keys.values():
        with suppress(KitError):
            found.append(read_key(source, os.environ))
    return found


def _users(gpus: Iterable[Gpu]) -> Iterator[str]:
    """Yield whose processes hold memory of GPUs, as a check may tell."""
    for gpu in gpus:
        yield from (process.user for process in gpu.processes or () if process.user)
        yield from _users(gpu.instances)


def _redacted(report: Report, redact: Redactor) -> Report:
    return Report(
        tuple(
            replace(
                result,
                ignored=redact(result.ignored),
                finding=replace(
                    result.finding,
                    found=redact(result.finding.found),
                    needed=redact(result.finding.needed),
                    fix=redact(result.finding.fix),
                ),
            )
            for result in report.results
        )
    )


def _as_json(redact: Redactor, content: Any) -> str:
    return redact(json.dumps(redact.everywhere(content), indent=2, ensure_ascii=False))


def _as_yaml(redact: Redactor, content: Any) -> str:
    shown = yaml.safe_dump(
        redact.everywhere(content), allow_unicode=True, sort_keys=False, width=1000
    )
    return redact(shown)


def _removed(counts: Mapping[str, int]) -> str:
    lines = [f"{count:6}  {kind}" for kind, count in sorted(counts.items())]
    return "\n".join(
        [
            "Taken out of these files before they were written, by kind and number:",
            *(lines or ["     0  nothing was found"]),
            "",
            "In its place stands the kind in angle brackets, or ~ for a home folder.",
            "Values that the profile took from variables stand as ${NAME}.",
            "",
        ]
    )
