"""Checks of the host: what a container may use, shared memory, files, the clock."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.plan.memory import THREE_PROCESSES
from sgl_embed_kit.plan.plan import gigabytes

LONGEST_SOCKET_PATH = 107
"""Characters of a Unix socket's path (sun_path of unix(7) holds 108 with its end)."""
NAME_IN_TEMP = 35
"""Characters of "/sgl-embed-run-" and eight random ones, the folder that each server gets
(launch/leftovers.py), and of "/tmp" and eight: SGLang's processes talk through sockets that
tempfile.NamedTemporaryFile names (PortArgs.init_new in srt/server_args.py)."""
SYSTEMS_TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - named, not used
FEWEST_PROCESSORS = 2
LEAST_SHARED_MEMORY = 2**30
"""What NCCL's guide gives containers: docker run --shm-size=1g (Troubleshooting)."""
SGLANGS_OPEN_FILES = 65535
"""What SGLang asks for; where it may not have that many, it keeps what there is (set_ulimit in
srt/utils/common.py)."""
OWN_OPEN_FILES = 128
"""Of each of its processes; 35, 73 and 21 were open without a connection (SGLang 0.5.23, CPU,
tiny model)."""
FEWEST_CLIENTS = 128
CLOCK_SLACK = 86_400.0
"""Seconds; what was unpacked with the local time of another zone lies hours ahead."""
BFLOAT16_FEATURES = ("amx_bf16", "avx512_bf16")


def processors(subject: Subject) -> Finding:
    """Look at how much processor time the server may have."""
    count = subject.machine.processors()
    features = subject.machine.processor_features()
    quick = next((name for name in BFLOAT16_FEATURES if name in features), None)
    found = f"{count:g} processors"
    if subject.profile.hardware.device == "cpu" and features:
        found += f", bfloat16 by {quick}" if quick else ", no bfloat16 instructions"
    if count < FEWEST_PROCESSORS:
        return Finding(
            Status.WARN,
            found,
            "2 or more: SGLang runs three processes, which import for half a minute each",
            "docker run --cpus=2",
        )
    return Finding(Status.OK, found)


def shared_memory(subject: Subject) -> Finding:
    """Look at the size of /dev/shm, through which GPUs that share a model exchange data.

    Whole copies of a model (`parallel.data`) exchange nothing: each is a group of its own, of
    `tp_size` processes (_init_parallel_groups, srt/distributed/bootstrap.py).
    """
    size = subject.machine.shared_memory()
    if size is None:
        return Finding(Status.SKIP, "shared memory cannot be looked at")
    found = f"{size / 2**30:.1f} GiB in /dev/shm"
    is_shared = subject.profile.hardware.device == "cuda" and subject.profile.parallel.tensor > 1
    if is_shared and size < LEAST_SHARED_MEMORY:
        return Finding(
            Status.WARN,
            found,
            "1 GiB or more: NCCL exchanges data between GPUs through it",
            "docker run --shm-size=1g",
        )
    return Finding(Status.OK, found)


def container(subject: Subject) -> Finding:
    """Look whether the container may use enough memory at all, however much is free now."""
    group = subject.machine.control_group()
    free = subject.machine.swap_free()
    swap = f"{gigabytes(free)} of swap, not counted on" if free else "no swap"
    if group.memory_limit is None:
        return Finding(Status.OK, f"no control group limits memory; {swap}")
    found = f"{gigabytes(group.memory_limit)} for this control group; {swap}"
    if group.memory_limit < THREE_PROCESSES:
        return Finding(
            Status.ERROR,
            found,
            f"{gigabytes(THREE_PROCESSES)} for SGLang's three processes, before any weights",
            "docker run --memory=8g  # or resources.limits.memory: 8Gi in a pod",
        )
    if group.killed:
        return Finding(Status.INFO, f"{found}; processes killed for memory: {group.killed}")
    return Finding(Status.OK, found)


def open_files(subject: Subject) -> Finding:
    """Look whether the server may have as many connections as requests that it takes."""
    limit = subject.machine.open_files()
    if limit is None:
        return Finding(Status.SKIP, "this system does not say how many files may be open")
    allowed = max(limit.soft, SGLANGS_OPEN_FILES if limit.hard >= SGLANGS_OPEN_FILES else 0)
    limits = subject.profile.limits
    requests = sum(filter(None, (limits.max_running_requests, limits.max_queued_requests)))
    needed = OWN_OPEN_FILES + max(requests, FEWEST_CLIENTS)
    found = f"{allowed} files may be open (soft limit {limit.soft}, hard {limit.hard})"
    if allowed < needed:
        return Finding(
            Status.WARN,
            found,
            f"{needed}: {OWN_OPEN_FILES} for SGLang itself, and one for each connection",
            f"ulimit -Sn {needed}"
            if limit.hard >= needed
            else f"docker run --ulimit nofile={SGLANGS_OPEN_FILES}  # LimitNOFILE= in systemd",
        )
    return Finding(Status.OK, found)


def clock(subject: Subject) -> Finding:
    """Look whether the clock is before moments that have certainly been.

    A clock that is ahead cannot be told from a quiet machine without asking another one;
    and whether the kernel takes it for synchronised says little in virtual machines, which
    have the time of their host.
    """
    places = (Path(__file__), Path(sys.prefix), Path("/etc"))
    past = sorted(found.modified for path in places if (found := subject.machine.file(path)))
    now = subject.machine.now()
    # Behind two of them: one alone may have been written when the clock was ahead.
    if len(past) < len(places) or now + CLOCK_SLACK >= past[-2]:
        return Finding(Status.OK, _date(now))
    return Finding(
        Status.WARN,
        f"{_date(now)}, and files here were written on {_date(past[-2])}",
        "the right time: before theirs, certificates of a model hub are not valid",
        "timedatectl set-ntp true",
    )


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def temporary_folder(subject: Subject) -> Finding:
    """Look whether SGLang's processes can make their sockets in the temporary folder.

    Whether programs can be run from there does not matter: what is compiled there is
    loaded from the caches (`_compile_so` in triton/runtime/build.py).
    """
    tried = {path: subject.machine.folder(path) for path in temporary_folders(subject)}
    faults = {
        path: folder.fault or ("" if folder.path == path else "it does not exist")
        for path, folder in tried.items()
    }
    folder = next((path for path, fault in faults.items() if not fault), None)
    if folder is None:
        return Finding(
            Status.ERROR,
            f"no folder for temporary files can be written: {next(iter(faults.values()))}",
            "one that can be, for the sockets of SGLang's processes",
            'export TMPDIR="$(mktemp -d -p ~)"',
        )
    length = len(str(folder)) + NAME_IN_TEMP
    if length > LONGEST_SOCKET_PATH:
        return Finding(
            Status.ERROR,
            f"{folder} makes paths of {length} characters",
            f"{LONGEST_SOCKET_PATH} at most, for the sockets of SGLang's processes",
            "export TMPDIR=/tmp",
        )
    first = next(iter(faults))
    if faults[first]:
        return Finding(
            Status.INFO, f"{folder} is used: {first} cannot be written ({faults[first]})"
        )
    return Finding(Status.OK, f"{folder} can be written")


def temporary_folders(subject: Subject) -> list[Path]:
    """Return the folders that Python tries in turn for temporary files.

    The first that can be written is taken (docs.python.org/3/library/tempfile.html,
    gettempdir); the working directory, which comes last, is left out: no server should
    have its sockets there.
    """
    named = (subject.environment.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return [Path(name).absolute() for name in (*filter(None, named), *SYSTEMS_TEMPORARY)]
