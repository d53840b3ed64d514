"""Checks of the ports that a server takes."""

from __future__ import annotations

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.machine import PortUse
from sgl_embed_kit.profile.patch import patch


def port(subject: Subject) -> Finding:
    """Look whether the server will be able to listen on its port; propose a free one."""
    host, port = subject.profile.server.host, subject.profile.server.port
    use = subject.machine.port_use(host, port)
    if use is None:
        return Finding(Status.OK, f"{host}:{port} is free")
    free = next(
        (
            other
            for other in range(port + 1, min(port + 100, 65536))
            if subject.machine.port_use(host, other) is None
        ),
        None,
    )
    return Finding(
        Status.ERROR,
        f"{host}:{port} cannot be used: {_holder(use)}",
        "a port that the server can listen on",
        f"{patch(server={'port': free})}; or quickstart --port {free}"
        if free
        else "ss -ltn  # shows which ports are taken",
    )


def _holder(use: PortUse) -> str:
    if use.pid is None:
        return use.reason
    return f"{use.command} (pid {use.pid}) listens there"
