"""Checks of the ports that a server takes, and of the address that it takes them on."""

from __future__ import annotations

import errno
import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from sgl_embed_kit.doctor.checks.variables import unset_variable
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.machine import Machine, PortRules, PortUse, ServerRecord
from sgl_embed_kit.profile.patch import patch
from sgl_embed_kit.redaction import Redactor
from sgl_embed_kit.sglang.ports import (
    FEWEST_NCCL_PORTS,
    NCCL_PORTS,
    SglangPort,
    further_ports,
    grpc_variable,
)

USUAL_PORT = 30000
"""SGLang's own default."""
TRIED = 100
"""Ports that are tried in search of a free one."""
LONGEST_COMMAND = 160
ANY_IPV6 = "::"
SHOW_PORTS = "ss -ltn  # shows which ports are taken"


def port(subject: Subject) -> Finding:
    """Look whether the server will be able to listen on its port; propose a free one."""
    host, port = subject.profile.server.host, subject.profile.server.port
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    use = subject.machine.port_use(host, port)
    if use is None:
        return Finding(Status.OK, f"{where} is free")
    own = _own_server(subject, use)
    if own is not None and not subject.starts:
        return Finding(Status.INFO, f"{where} is held by this profile's own server (pid {own.pid})")
    found = f"{where} cannot be used: {_holder(use)}"
    if use.is_busy:
        free = _free_port(subject.machine, (host,), port)
        fix = f"{patch(server={'port': free})}; or quickstart --port {free}" if free else SHOW_PORTS
        if own is not None:
            found = f"{where} is held by this profile's own server (pid {own.pid})"
            fix = f"sgl-embed stop {own.port}"
        return Finding(Status.ERROR, found, "a port that the server can listen on", fix)
    if use.code in {errno.EACCES, errno.EPERM}:
        rules = subject.machine.port_rules() or PortRules()
        return Finding(
            Status.ERROR,
            found,
            f"a port from {rules.first_free} on, or the right to one below (CAP_NET_BIND_SERVICE)",
            patch(server={"port": max(USUAL_PORT, rules.first_free)}),
        )
    return Finding(
        Status.ERROR,
        found,
        "an address of this machine",
        patch(server={"host": _better_host(host)}),
    )


def further(subject: Subject) -> Finding:
    """Look at the ports that SGLang takes besides the HTTP server's."""
    profile, machine = subject.profile, subject.machine
    variable = grpc_variable(profile, machine.environment())
    if variable is not None and "SGLANG_GRPC_PORT" not in profile.env and _is_closed(subject):
        return Finding(
            Status.ERROR,
            f"SGLANG_GRPC_PORT={variable} in the environment opens a gRPC port",
            "no gRPC: the guard does not watch it, and it asks for no key",
            "unset SGLANG_GRPC_PORT",
        )
    ports = further_ports(profile, machine.environment())
    if ports and not subject.starts and _is_running(subject):
        return Finding(Status.INFO, f"this profile's own server has {', '.join(_named(ports))}")
    extra = profile.sglang.extra_args
    if "nccl-port" in extra and profile.parallel.data > 1:
        return Finding(
            Status.ERROR,
            f"nccl-port {profile.sglang.extra_args['nccl-port']} for each of "
            f"{profile.parallel.data} copies of the model",
            "a port of its own for each copy, which SGLang finds by itself",
            patch(sglang={"extra_args": {k: v for k, v in extra.items() if k != "nccl-port"}}),
        )
    counts = Counter([profile.server.port, *(one.port for one in ports)])
    for one in ports:
        if counts[one.port] > 1:
            return _unusable(one, "is asked for twice", subject)
        use = machine.port_use(one.host, one.port)
        if use is not None:
            return _unusable(one, _holder(use), subject)
    if not ports:
        text = f"none but one of {NCCL_PORTS[0]}-{NCCL_PORTS[-1]} that SGLang finds free"
        return Finding(Status.OK, text)
    return Finding(Status.OK, f"free: {', '.join(_named(ports))}")


def address(subject: Subject) -> Finding:
    """Look at what the server's host stands for, and at who else is called localhost."""
    host, port = subject.profile.server.host, subject.profile.server.port
    addresses = subject.machine.addresses(host)
    if not addresses:
        return Finding(Status.SKIP, f"{host} stands for no address")
    other = _other_localhost(subject, addresses)
    if other is not None:
        where, use = other
        free = _free_port(subject.machine, (host, where), port)
        return Finding(
            Status.WARN,
            f"localhost is {where} too, where port {port} is another's: {_holder(use)}",
            f"clients that use http://{_reached(addresses)}:{port}, or a port of one's own",
            patch(server={"port": free}) if free else SHOW_PORTS,
        )
    if ANY_IPV6 in addresses:
        text = "listens for IPv6 alone, not for IPv4: 0.0.0.0 is the other way round"
        return Finding(Status.INFO, f"{host}: {text}")
    names = {host: addresses, "localhost": subject.machine.addresses("localhost")}
    told = [
        host if found == (host,) else f"{host} is {' and '.join(found)}"
        for host, found in names.items()
    ]
    return Finding(Status.OK, "; ".join(told))


def port_range(subject: Subject) -> Finding:
    """Look whether an outgoing connection may take a port before the server does."""
    rules = subject.machine.port_rules()
    if rules is None:
        return Finding(Status.SKIP, "the system does not tell which ports it gives away")
    port, outgoing = subject.profile.server.port, rules.outgoing
    shown = f"outgoing connections take {outgoing[0]}-{outgoing[-1]}"
    if port in outgoing and port not in rules.reserved:
        reserved = ",".join(map(str, sorted({*rules.reserved, port})))
        return Finding(
            Status.WARN,
            f"port {port}: {shown}",
            "a port that no connection can have when the model is loaded",
            patch(server={"port": USUAL_PORT})
            if USUAL_PORT not in outgoing
            else f"sudo sysctl -w net.ipv4.ip_local_reserved_ports={reserved}",
        )
    below = min(NCCL_PORTS[-1] + 1, outgoing[0]) - NCCL_PORTS[0]
    if below < FEWEST_NCCL_PORTS:
        return Finding(
            Status.WARN,
            f"{shown}, and so {max(below, 0)} ports are left of {NCCL_PORTS[0]}-{NCCL_PORTS[-1]}",
            f"{FEWEST_NCCL_PORTS}, for SGLang to find one that stays free until it is used",
            'sudo sysctl -w net.ipv4.ip_local_port_range="32768 60999"',
        )
    return Finding(Status.OK, f"port {port}; {shown}")


def _own_server(subject: Subject, use: PortUse) -> ServerRecord | None:
    """Return the record of this profile's own server, if that has the port."""
    if use.pid is None:
        return None
    return next((one for one in _own_servers(subject) if one.pid == use.pid), None)


def _is_running(subject: Subject) -> bool:
    """Whether this profile's own server runs on its port."""
    return any(one.port == subject.profile.server.port for one in _own_servers(subject))


def _own_servers(subject: Subject) -> Iterator[ServerRecord]:
    name, model = map(subject.mask, (subject.profile.model.name, subject.profile.model.path))
    for record in subject.machine.servers():
        if (record.name, record.model) == (name, model):
            yield record


def _holder(use: PortUse) -> str:
    if use.pid is None:
        told = "" if use.is_listened_on or not use.is_busy else " by a connection"
        return f"{use.reason}{told}"
    command = Redactor().command(use.command or ("a process",))
    if len(command) > LONGEST_COMMAND:
        command = f"{command[:LONGEST_COMMAND]}…"
    where = f" in {use.container}" if use.container else ""
    does = "listens there" if use.is_listened_on else "has a connection from it"
    return f"{command} (pid {use.pid}{where}) {does}"


def _free_port(machine: Machine, hosts: tuple[str, ...], port: int) -> int | None:
    """Return the next port that is free on all addresses, or one from SGLang's default on."""
    for one in chain(
        range(port + 1, min(port + TRIED, 65536)), range(USUAL_PORT, USUAL_PORT + TRIED)
    ):
        if all(machine.port_use(host, one) is None for host in hosts):
            return one
    return None


def _better_host(host: str) -> str:
    """Return what was probably meant by an address that cannot be listened on."""
    bare = host.removeprefix("[").removesuffix("]")
    if bare != host:
        return bare
    return "127.0.0.1" if host == "localhost" else "0.0.0.0"  # noqa: S104 - proposed


def _is_closed(subject: Subject) -> bool:
    """Whether something stands before the HTTP routes that a gRPC port would not have."""
    return subject.profile.guard.enabled or bool(subject.profile.server.keys)


def _unusable(one: SglangPort, why: str, subject: Subject) -> Finding:
    if one.cause in {"attn-dp-size", "enable-dp-attention", "smg-grpc-mode"}:
        free = _free_plan(subject)
        fix = patch(server={"port": free}) if free else SHOW_PORTS
    elif one.cause == "SGLANG_GRPC_PORT":
        fix = unset_variable(subject, one.cause)
    else:
        free = _free_port(subject.machine, (one.host,), one.port)
        fix = patch(sglang={"extra_args": {one.cause: free}}) if free else SHOW_PORTS
    return Finding(
        Status.ERROR,
        f"port {one.port}, for {one.use} by {one.cause}: {why}",
        "every port of SGLang's plan free",
        fix,
    )


def _free_plan(subject: Subject) -> int | None:
    """Return the next `server.port` with which all of SGLang's ports are free."""
    profile, machine = subject.profile, subject.machine
    for port in range(profile.server.port + 1, min(profile.server.port + TRIED, 65536)):
        ports = further_ports(profile.with_server(port=port), machine.environment())
        tried = [(profile.server.host, port), *((one.host, one.port) for one in ports)]
        if len({number for _, number in tried}) == len(tried) and all(
            machine.port_use(host, number) is None for host, number in tried
        ):
            return port
    return None


def _named(ports: Iterable[SglangPort]) -> list[str]:
    """Return the ports by their use, such as "ZMQ 30234-30239"."""
    numbers: dict[str, list[int]] = {}
    for one in ports:
        numbers.setdefault(one.use, []).append(one.port)
    return [
        f"{use} {min(some)}" + (f"-{max(some)}" if len(some) > 1 else "")
        for use, some in numbers.items()
    ]


def _other_localhost(subject: Subject, addresses: tuple[str, ...]) -> tuple[str, PortUse] | None:
    """Return an address of localhost where another program has the server's port.

    Clients try the addresses in the resolver's order, IPv6 mostly first: another program
    there answers in the server's place.
    """
    machine, server = subject.machine, subject.profile.server
    if machine.port_use(server.host, server.port) is not None:
        return None  # the other check says so, and this one would find the same program
    served = {ipaddress.ip_address(one.partition("%")[0]).version for one in addresses}
    for where in machine.addresses("localhost"):
        if ipaddress.ip_address(where.partition("%")[0]).version not in served:
            use = machine.port_use(where, server.port)
            if use is not None and use.is_busy:
                return where, use
    return None


def _reached(addresses: tuple[str, ...]) -> str:
    """Return the address of this machine at which a client reaches the server."""
    first = {"0.0.0.0": "127.0.0.1", ANY_IPV6: "::1"}.get(  # noqa: S104 - read, not bound
        addresses[0], addresses[0]
    )
    return f"[{first}]" if ":" in first else first
