"""The ports that SGLang takes besides the HTTP server's, as its flags and variables say.

From SGLang 0.5.23: PortArgs.init_new in srt/server_args.py, handle_deprecated_args in
srt/arg_groups/serving_hook.py, launch_dp_schedulers in srt/managers/data_parallel_controller.py,
serve_grpc in srt/entrypoints/grpc_server.py. Without such flags its processes talk through
sockets in the temporary folder, and it takes one free port for torch.distributed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sgl_embed_kit.profile import Profile

ANYWHERE = "0.0.0.0"  # noqa: S104 - tried, not served on
ZMQ_DELTA = 233
"""ZMQ_TCP_PORT_DELTA of srt/server_args.py."""
ZMQ_PORTS = 6
LAST_PORT = 65535
GRPC_DELTA = 10000
NCCL_PORTS = range(22000, 30000)
"""Where SGLang takes a free port by chance for torch.distributed
(get_free_port_below_ephemeral, srt/utils/network.py)."""
FEWEST_NCCL_PORTS = 64
"""With fewer of them below the ports of outgoing connections, it takes any free port, which
such a connection may have before the scheduler comes to listen on it (same function)."""


@dataclass(frozen=True)
class SglangPort:
    """A port that SGLang will listen on.

    Attributes:
        port: Its number.
        host: On which address.
        use: What it is for, in a word or two.
        cause: The flag or variable that asks for it.
    """

    port: int
    host: str
    use: str
    cause: str


def further_ports(profile: Profile, inherited: Mapping[str, str]) -> list[SglangPort]:
    """Return the ports that a profile's server will take besides `server.port`.

    Args:
        profile: What is to be served.
        inherited: The environment that the server inherits.
    """
    return [
        *_nccl(profile),
        *_attention(profile),
        *_grpc(profile, inherited),
        *_given(profile, "gated-launch-port", profile.server.host, "launch gate"),
    ]


def grpc_variable(profile: Profile, inherited: Mapping[str, str]) -> str | None:
    """Return the value of SGLANG_GRPC_PORT that opens a gRPC door, if one does."""
    extra = profile.sglang.extra_args
    given = {**inherited, **profile.env}.get("SGLANG_GRPC_PORT")
    return given if given and extra.get("grpc-port") is None else None


def _nccl(profile: Profile) -> Iterator[SglangPort]:
    yield from _given(profile, "nccl-port", ANYWHERE, "torch.distributed")


def _attention(profile: Profile) -> Iterator[SglangPort]:
    """Yield the ports of attention shared out among GPUs: sockets of TCP instead of files."""
    extra = profile.sglang.extra_args
    width = int(extra.get("attn-dp-size", 1))
    cause = "attn-dp-size"
    if extra.get("enable-dp-attention") and width == 1:
        width, cause = profile.parallel.data, "enable-dp-attention"
    if width <= 1:
        return
    first = profile.server.port + ZMQ_DELTA
    if first > LAST_PORT:
        first = profile.server.port - ZMQ_DELTA
    given = str(extra.get("dist-init-addr", "")).rpartition(":")[2]
    first = int(given) if given.isdigit() else first
    yield SglangPort(first, ANYWHERE, "torch.distributed", cause)
    base = first + 1 if first + ZMQ_PORTS <= LAST_PORT else first - ZMQ_PORTS - 1
    for port in range(base, base + ZMQ_PORTS):
        yield SglangPort(port, ANYWHERE, "ZMQ", cause)


def _grpc(profile: Profile, inherited: Mapping[str, str]) -> Iterator[SglangPort]:
    extra, server = profile.sglang.extra_args, profile.server
    legacy = extra.get("smg-grpc-mode") or extra.get("grpc-mode")
    yield from _given(profile, "grpc-port", server.host, "gRPC")
    named = grpc_variable(profile, inherited)
    if named is not None and named.isdigit():
        yield SglangPort(int(named), server.host, "gRPC", "SGLANG_GRPC_PORT")
    elif legacy and "grpc-port" not in extra:
        yield SglangPort(server.port + GRPC_DELTA, server.host, "gRPC", "smg-grpc-mode")
    if legacy:
        sidecar = int(extra.get("smg-http-sidecar-port", server.port + 1))
        yield SglangPort(sidecar, server.host, "HTTP beside gRPC", "smg-grpc-mode")


def _given(profile: Profile, flag: str, host: str, use: str) -> Iterator[SglangPort]:
    value = profile.sglang.extra_args.get(flag)
    if isinstance(value, int):
        yield SglangPort(value, host, use, flag)
