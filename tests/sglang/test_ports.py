"""The ports that SGLang takes: our list against its own arithmetic."""

from collections.abc import Iterator
from typing import Any

import pytest

from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.ports import FEWEST_NCCL_PORTS, NCCL_PORTS, further_ports, grpc_variable
from tests.conftest import free_port
from tests.real_sglang import RefusedError, Sglang, sglang

PORTS = """
import inspect, types
from sglang.srt import server_args as module
from sglang.srt.utils import network
module.resolving_view = lambda arguments: arguments
module.attn_dp_enabled_of = lambda arguments: arguments.attn_dp_size > 1
module.ep_scale_joiner_of = module.ep_joiner_of = lambda arguments: False

def answer(question):
    if "twice" in question:
        from torch.distributed import TCPStore  # as torch.distributed's rank 0 of each copy
        stores = [TCPStore("127.0.0.1", question["twice"], 1, True) for _ in range(2)]
    if "search" in question:
        found = inspect.signature(network.get_free_port_below_ephemeral).parameters
        return {name: found[name].default for name in ("low", "high", "attempts")}
    tried = []
    module.wait_port_available = lambda port, name: tried.append(port)
    known = {"tokenizer_worker_num": 1, "decoupled_spec_role": "null", "nnodes": 1}
    module.PortArgs.init_new(types.SimpleNamespace(**known, **question))
    return {"tried": tried}
"""


@pytest.fixture(scope="module")
def sglang_ports() -> Iterator[Sglang]:
    """SGLang's own port arithmetic."""
    with sglang(PORTS) as asked:
        yield asked


def profile(**sections: Any) -> Profile:
    return Profile.model_validate({"model": {"path": "tiny:"}, **sections})


def ports(extra: dict[str, Any], env: dict[str, str] | None = None, **sections: Any) -> list[int]:
    given = profile(sglang={"extra_args": extra}, **sections)
    return [one.port for one in further_ports(given, env or {})]


@pytest.mark.server
@pytest.mark.parametrize(
    ("port", "address"),
    [
        (30000, None),
        (65302, None),  # 65535 for torch.distributed, and the others below it
        (65303, None),
        (65296, None),
        (65295, None),
        (30000, "10.0.0.1:25000"),
        (30000, "[fe80::1]:25000"),
        (30000, "127.0.0.1:65530"),
    ],
)
def test_attention_takes_the_ports_that_sglang_looks_at(
    sglang_ports: Sglang, port: int, address: str | None
) -> None:
    question = {"port": port, "attn_dp_size": 2, "nccl_port": 22222, "dist_init_addr": address}
    tried = set(sglang_ports.ask(question)["tried"]) - {22222}
    extra: dict[str, Any] = {"attn-dp-size": 2}
    if address:
        extra["dist-init-addr"] = address
    found = ports(extra, server={"port": port})
    assert tried <= set(found)
    # The load collector's, which SGLang looks at only where there are several machines.
    assert len(found) == len(tried) + 1 == 7
    assert all(0 < one <= 65535 for one in found)


@pytest.mark.server
def test_without_attention_shared_out_none_is_looked_at(sglang_ports: Sglang) -> None:
    question = {"port": 30000, "attn_dp_size": 1, "nccl_port": None, "dist_init_addr": None}
    assert sglang_ports.ask(question)["tried"] == []
    assert ports({}, parallel={"data": 2}) == []
    assert ports({}) == ports({"attn-dp-size": 1}) == ports({"enable-dp-attention": True}) == []


@pytest.mark.server
def test_where_sglang_looks_for_a_free_port_is_as_we_say(sglang_ports: Sglang) -> None:
    assert sglang_ports.ask({"search": True}) == {
        "low": NCCL_PORTS[0],
        "high": NCCL_PORTS[-1],
        "attempts": FEWEST_NCCL_PORTS,
    }


@pytest.mark.server
def test_two_copies_of_the_model_cannot_have_the_same_port(sglang_ports: Sglang) -> None:
    with pytest.raises(RefusedError, match="EADDRINUSE"):
        sglang_ports.ask({"twice": free_port()})


def test_the_old_flag_takes_the_width_from_the_copies() -> None:
    found = ports({"enable-dp-attention": True}, parallel={"data": 2}, hardware={"gpus": 2})
    assert found == [30233, *range(30234, 30240)]


@pytest.mark.parametrize(
    ("extra", "env", "found"),
    [
        ({"nccl-port": 29500}, {}, [29500]),
        ({"grpc-port": 50051}, {"SGLANG_GRPC_PORT": "50052"}, [50051]),
        ({}, {"SGLANG_GRPC_PORT": "50052"}, [50052]),
        ({}, {"SGLANG_GRPC_PORT": "none"}, []),
        ({"smg-grpc-mode": True}, {}, [40000, 30001]),
        ({"grpc-mode": True, "grpc-port": 50051}, {}, [50051, 30001]),
        ({"smg-grpc-mode": True, "smg-http-sidecar-port": 9000}, {}, [40000, 9000]),
        ({"gated-launch-port": 31000}, {}, [31000]),
    ],
)
def test_a_flag_or_variable_asks_for_its_port(
    extra: dict[str, Any], env: dict[str, str], found: list[int]
) -> None:
    assert ports(extra, env) == found


def test_the_profiles_variable_stands_above_the_shells() -> None:
    given = profile(env={"SGLANG_GRPC_PORT": "1"})
    assert grpc_variable(given, {"SGLANG_GRPC_PORT": "2"}) == "1"
    assert grpc_variable(profile(), {"SGLANG_GRPC_PORT": ""}) is None
