"""Which container a process runs in, as far as its control group tells.

Container engines name the group of a container after its id: `/docker/ID` and
`docker-ID.scope` (Docker), `libpod-ID.scope` (Podman), `cri-containerd-ID.scope` and
`crio-ID.scope` (Kubernetes), `/kubepods/…/podUID/ID` (Kubernetes with the cgroupfs driver).
A process that runs in the same container as this one shows no such name where the container
has a namespace of its own for control groups.
"""

from __future__ import annotations

import re
from pathlib import Path

PROC = Path("/proc")
ID = re.compile(
    r"(?:(?P<engine>docker|libpod|cri-containerd|containerd|crio)[-/]|/)(?P<id>[0-9a-f]{64})\b"
)
ENGINES = {"libpod": "podman", "cri-containerd": "containerd"}
SHOWN = 12
"""Characters of an id, as `docker ps` shows it."""


def container_of(pid: int, proc: Path = PROC) -> str | None:
    """Return a process's container, such as "docker 0123456789ab"; None where none is told.

    None also for a process of this one's own container.
    """
    found = _container(proc / str(pid))
    return None if found == _container(proc / "self") else found


def _container(process: Path) -> str | None:
    try:
        groups = (process / "cgroup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = ID.search(groups)
    if found is None:
        return None
    engine = found["engine"] or ("kubernetes" if "kubepods" in groups else "container")
    return f"{ENGINES.get(engine, engine)} {found['id'][:SHOWN]}"
