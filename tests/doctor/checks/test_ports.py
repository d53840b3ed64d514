"""Ports and the address: what the checks find."""

import dataclasses
import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import PortRules, PortUse, RealMachine
from sgl_embed_kit.machine.process_id import ProcessId
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.masking import Mask
from tests.doctor.checks.cases import BY_ID, SGLANG, Case, find
from tests.machines import FakeMachine
from tests.servers import record_of

NGINX = PortUse("in use", 7, ("nginx", "-g", "daemon off;"))
BUSY = FakeMachine(taken={30000: NGINX})
SERVER = ProcessId(7, 1, 0, "")
OWN = record_of(server=SERVER, name="tiny-qwen3")
TINY = {"path": "tiny:", "served_name": "tiny-qwen3"}
RESERVED = PortRules(outgoing=range(1024, 65536), reserved=frozenset({30000}))

CASES: list[Case] = [
    ("SGE-NET-001", {}, Status.OK, "127.0.0.1:30000 is free"),
    ("SGE-NET-001", {"server": {"host": "::1"}}, Status.OK, "[::1]:30000 is free"),
    ("SGE-NET-001", {"machine": BUSY}, Status.ERROR, "nginx -g 'daemon off;' (pid 7) listens"),
    (
        "SGE-NET-001",
        {"machine": FakeMachine(taken={30000: PortUse("in use")})},
        Status.ERROR,
        "in use",
    ),
    (
        "SGE-NET-001",
        {
            "machine": FakeMachine(
                taken={30000: dataclasses.replace(NGINX, container="docker 0123456789ab")}
            )
        },
        Status.ERROR,
        "(pid 7 in docker 0123456789ab)",
    ),
    (
        "SGE-NET-001",
        {"machine": FakeMachine(taken={30000: dataclasses.replace(NGINX, is_listened_on=False)})},
        Status.ERROR,
        "has a connection from it",
    ),
    (
        "SGE-NET-001",
        {"machine": dataclasses.replace(BUSY, own_servers=(OWN,)), "model": TINY},
        Status.INFO,
        "held by this profile's own server (pid 7)",
    ),
    ("SGE-NET-002", {}, Status.OK, "none but one of 22000-29999"),
    (
        "SGE-NET-002",
        {"sglang": {"extra_args": {"nccl-port": 29500}}},
        Status.OK,
        "free: torch.distributed 29500",
    ),
    (
        "SGE-NET-002",
        {
            "sglang": {"extra_args": {"nccl-port": 29500}},
            "machine": FakeMachine(taken={29500: NGINX}),
        },
        Status.ERROR,
        "port 29500, for torch.distributed by nccl-port: nginx",
    ),
    (
        "SGE-NET-002",
        {
            "sglang": {"extra_args": {"nccl-port": 29500}},
            "parallel": {"data": 2},
            "hardware": {"gpus": 2},
        },
        Status.ERROR,
        "nccl-port 29500 for each of 2 copies",
    ),
    (
        "SGE-NET-002",
        {"sglang": {"extra_args": {"attn-dp-size": 2}}},
        Status.OK,
        "torch.distributed 30233, ZMQ 30234-30239",
    ),
    (
        "SGE-NET-002",
        {
            "sglang": {"extra_args": {"attn-dp-size": 2}},
            "machine": FakeMachine(taken={30239: NGINX}, own_servers=(OWN,)),
            "model": TINY,
        },
        Status.INFO,
        "this profile's own server has",
    ),
    (
        "SGE-NET-002",
        {"sglang": {"extra_args": {"grpc-port": 30000}}},
        Status.ERROR,
        "asked for twice",
    ),
    ("SGE-NET-003", {}, Status.OK, "127.0.0.1; localhost is 127.0.0.1"),
    ("SGE-NET-003", {"server": {"host": "0.0.0.0"}}, Status.OK, "0.0.0.0; localhost is 127.0.0.1"),
    ("SGE-NET-003", {"server": {"host": "::"}}, Status.INFO, "IPv6 alone"),
    (
        "SGE-NET-003",
        {
            "server": {"host": "localhost"},
            "machine": FakeMachine(names={"localhost": ("::1", "127.0.0.1")}),
        },
        Status.OK,
        "localhost is ::1 and 127.0.0.1",
    ),
    (
        "SGE-NET-003",
        {"server": {"host": "nowhere"}, "machine": FakeMachine(names={"nowhere": ()})},
        Status.SKIP,
        "stands for no address",
    ),
    (
        "SGE-NET-003",
        {
            "machine": FakeMachine(
                names={"localhost": ("::1", "127.0.0.1")}, taken_at={("::1", 30000): NGINX}
            )
        },
        Status.WARN,
        "localhost is ::1 too, where port 30000 is another's: nginx",
    ),
    ("SGE-NET-004", {}, Status.OK, "port 30000; outgoing connections take 32768-60999"),
    ("SGE-NET-004", {"server": {"port": 32767}}, Status.OK, "port 32767"),
    ("SGE-NET-004", {"server": {"port": 32768}}, Status.WARN, "port 32768: outgoing"),
    ("SGE-NET-004", {"server": {"port": 60999}}, Status.WARN, "port 60999: outgoing"),
    ("SGE-NET-004", {"server": {"port": 61000}}, Status.OK, "port 61000"),
    ("SGE-NET-004", {"machine": FakeMachine(rules=RESERVED)}, Status.WARN, "0 ports are left"),
    (
        "SGE-NET-004",
        {"machine": FakeMachine(rules=PortRules(outgoing=range(22063, 29000)))},
        Status.WARN,
        "63 ports are left of 22000-29999",
    ),
    (
        "SGE-NET-004",
        {"machine": FakeMachine(rules=PortRules(outgoing=range(22064, 29000)))},
        Status.OK,
        "22064-28999",
    ),
    ("SGE-NET-004", {"machine": FakeMachine(rules=None)}, Status.SKIP, "does not tell"),
]


def test_the_next_free_port_is_proposed() -> None:
    taken = {port: PortUse("in use") for port in (30000, 30001, 30002)}
    assert "quickstart --port 30003" in find("SGE-NET-001", FakeMachine(taken=taken)).fix


def test_after_the_very_last_port_the_usual_one_is_proposed() -> None:
    machine = FakeMachine(taken={65535: PortUse("in use")})
    assert "--port 30000" in find("SGE-NET-001", machine, server={"port": 65535}).fix


def test_without_any_free_port_one_is_asked_for() -> None:
    machine = FakeMachine(taken=dict.fromkeys(range(30000, 30200), NGINX))
    assert find("SGE-NET-001", machine).fix == "ss -ltn  # shows which ports are taken"


@pytest.mark.parametrize(
    ("host", "code", "fix"),
    [
        ("127.0.0.1", errno.EACCES, "server: {port: 30000}  # in the profile"),
        ("127.0.0.1", errno.EPERM, "server: {port: 30000}  # in the profile"),
        ("192.0.2.1", errno.EADDRNOTAVAIL, "server: {host: 0.0.0.0}  # in the profile"),
        ("localhost", errno.EADDRNOTAVAIL, "server: {host: 127.0.0.1}  # in the profile"),
        ("[::1]", None, "server: {host: '::1'}  # in the profile"),
    ],
)
def test_what_else_may_be_wrong_gets_its_own_cure(host: str, code: int | None, fix: str) -> None:
    machine = FakeMachine(taken={80: PortUse("no", code=code)})
    finding = find("SGE-NET-001", machine, server={"host": host, "port": 80})
    assert (finding.status, finding.fix) == (Status.ERROR, fix)


def test_what_needs_no_privilege_is_the_systems_to_say() -> None:
    denied = {80: PortUse("no", code=errno.EACCES)}
    told = FakeMachine(taken=denied, rules=PortRules(first_free=40000))
    finding = find("SGE-NET-001", told, server={"port": 80})
    assert finding.needed.startswith("a port from 40000 on")
    assert finding.fix == "server: {port: 40000}  # in the profile"
    untold = FakeMachine(taken=denied, rules=None)
    assert "from 1024 on" in find("SGE-NET-001", untold, server={"port": 80}).needed


def test_a_held_port_is_an_error_for_what_starts_a_server_even_where_it_is_its_own() -> None:
    profile = Profile.model_validate({"model": TINY, "hardware": {"device": "cpu"}})
    machine = dataclasses.replace(BUSY, own_servers=(OWN,))
    source = locate("tiny:")
    for starts, status in ((False, Status.INFO), (True, Status.ERROR)):
        subject = Subject(profile, source, SGLANG, machine, starts=starts)
        finding = BY_ID["SGE-NET-001"].look(subject)
        assert finding.status is status
        assert "own server (pid 7)" in finding.found
    assert finding.fix == "sgl-embed stop 30000"


@pytest.mark.parametrize(
    "change",
    [{"server": dataclasses.replace(SERVER, pid=8)}, {"name": "other"}, {"model": "other"}],
)
def test_a_server_of_another_profile_or_process_is_no_own_one(change: dict[str, Any]) -> None:
    machine = dataclasses.replace(BUSY, own_servers=(dataclasses.replace(OWN, **change),))
    assert find("SGE-NET-001", machine, model=TINY).status is Status.ERROR


def test_a_holder_that_is_not_told_is_not_a_server_that_has_yet_to_start() -> None:
    machine = FakeMachine(
        taken={30000: PortUse("in use")}, own_servers=(dataclasses.replace(OWN, server=None),)
    )
    assert find("SGE-NET-001", machine, model=TINY).status is Status.ERROR


def test_the_own_server_is_known_by_what_its_record_shows_of_a_masked_profile() -> None:
    content = {"model": {"path": "tiny:", "served_name": "from-env"}, "hardware": {"device": "cpu"}}
    record = dataclasses.replace(OWN, name="${NAME}")
    machine = dataclasses.replace(BUSY, own_servers=(record,))
    subject = Subject(
        Profile.model_validate(content),
        locate("tiny:"),
        SGLANG,
        machine,
        mask=Mask({"from-env": "NAME"}),
    )
    assert BY_ID["SGE-NET-001"].look(subject).status is Status.INFO


def test_the_holders_command_is_shown_without_its_keys_and_shortened() -> None:
    command = ("python", "-m", "x", "--api-key", "a b'c", "--token=t0ken", "y" * 300)
    machine = FakeMachine(taken={30000: PortUse("in use", 7, command)})
    found = find("SGE-NET-001", machine).found
    assert "--api-key <key> --token=<key> yyy" in found
    assert "t0ken" not in found
    assert "a b" not in found
    assert len(found) < 260
    exact = FakeMachine(taken={30000: PortUse("in use", 7, ("y" * 160,))})
    assert "…" not in find("SGE-NET-001", exact).found


def test_a_grpc_port_in_the_environment_is_an_error_where_a_door_would_be_passed_by() -> None:
    machine = FakeMachine(variables={"SGLANG_GRPC_PORT": "50051"})
    finding = find("SGE-NET-002", machine)
    assert (finding.status, finding.fix) == (Status.ERROR, "unset SGLANG_GRPC_PORT")
    assert find("SGE-NET-002", machine, guard={"enabled": False}).found == "free: gRPC 50051"
    keyed: dict[str, Any] = {"guard": {"enabled": False}, "server": {"api_key_env": "X"}}
    assert find("SGE-NET-002", machine, **keyed).status is Status.ERROR


def test_a_busy_port_of_a_plan_moves_the_whole_plan() -> None:
    extra: dict[str, Any] = {"sglang": {"extra_args": {"attn-dp-size": 2}}}
    finding = find("SGE-NET-002", FakeMachine(taken={30239: NGINX}), **extra)
    assert finding.status is Status.ERROR
    assert "port 30239, for ZMQ by attn-dp-size: nginx" in finding.found
    # 30001 + 233 to + 239 needs 30239 and 30240; the first plan past it begins at 30240.
    assert finding.fix == "server: {port: 30007}  # in the profile"


def test_a_grpc_port_that_is_busy_is_given_up_where_it_is_asked_for() -> None:
    busy: dict[str, Any] = {"taken": {50051: NGINX}}
    named = {"SGLANG_GRPC_PORT": "50051"}
    finding = find("SGE-NET-002", FakeMachine(**busy), env=named)
    assert finding.fix == "env: {SGLANG_GRPC_PORT: ''}  # in the profile"
    machine = FakeMachine(**busy, variables=named)
    assert find("SGE-NET-002", machine, guard={"enabled": False}).fix == "unset SGLANG_GRPC_PORT"


def test_without_any_free_port_none_is_put_into_the_profile() -> None:
    taken = dict.fromkeys([*range(29500, 29700), *range(30000, 30200)], NGINX)
    extra: dict[str, Any] = {"sglang": {"extra_args": {"nccl-port": 29500}}}
    finding = find("SGE-NET-002", FakeMachine(taken=taken), **extra)
    assert finding.fix == "ss -ltn  # shows which ports are taken"


def test_a_port_of_its_own_flag_moves_alone() -> None:
    extra: dict[str, Any] = {"sglang": {"extra_args": {"nccl-port": 29500}}}
    finding = find("SGE-NET-002", FakeMachine(taken={29500: NGINX, 29501: NGINX}), **extra)
    assert (
        finding.fix
        == "sglang:  # in the profile\n  extra_args: {nccl-port: 29502}  # in the profile"
    )


def test_copies_that_would_share_a_port_lose_it_and_nothing_else() -> None:
    finding = find(
        "SGE-NET-002",
        sglang={"extra_args": {"nccl-port": 29500, "attention-backend": "triton"}},
        parallel={"data": 2},
        hardware={"gpus": 2},
    )
    assert finding.fix.splitlines() == [
        "sglang:  # in the profile",
        "  extra_args: {attention-backend: triton}  # in the profile",
    ]


def test_a_wide_range_is_cured_by_a_port_outside_it_or_by_reserving_the_port() -> None:
    outside = PortRules(outgoing=range(40000, 50000))
    finding = find("SGE-NET-004", FakeMachine(rules=outside), server={"port": 45000})
    assert finding.fix == "server: {port: 30000}  # in the profile"
    inside = PortRules(outgoing=range(1024, 65536), reserved=frozenset({8080}))
    finding = find("SGE-NET-004", FakeMachine(rules=inside))
    assert finding.fix == "sudo sysctl -w net.ipv4.ip_local_reserved_ports=8080,30000"


def test_no_second_word_on_a_port_that_another_check_calls_held() -> None:
    machine = FakeMachine(names={"localhost": ("::1", "127.0.0.1")}, taken={30000: NGINX})
    assert find("SGE-NET-003", machine).status is Status.OK


@pytest.mark.parametrize(
    ("host", "other", "url"),
    [
        ("127.0.0.1", "::1", "http://127.0.0.1:30000"),
        ("0.0.0.0", "::1", "http://127.0.0.1:30000"),
        ("::1", "127.0.0.1", "http://[::1]:30000"),
        ("::", "127.0.0.1", "http://[::1]:30000"),
    ],
)
def test_the_cure_names_the_address_that_leads_to_the_server(
    host: str, other: str, url: str
) -> None:
    machine = FakeMachine(
        names={"localhost": ("::1", "127.0.0.1")}, taken_at={(other, 30000): NGINX}
    )
    finding = find("SGE-NET-003", machine, server={"host": host})
    assert finding.status is Status.WARN
    assert f"use {url}," in finding.needed
    assert finding.fix == "server: {port: 30001}  # in the profile"


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (PortUse("in use"), "in use"),
        (PortUse("in use", is_listened_on=False), "in use by a connection"),
        (PortUse("no such address", is_listened_on=False, code=None), "no such address"),
    ],
)
def test_a_holder_that_is_not_told_is_left_out(use: PortUse, told: str) -> None:
    found = find("SGE-NET-001", FakeMachine(taken={30000: use})).found
    assert found == f"127.0.0.1:30000 cannot be used: {told}"


def test_another_program_on_the_other_localhost_is_seen(tmp_path: Path) -> None:
    machine = RealMachine()
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::1", 0))
        other.listen(1)
        port = other.getsockname()[1]

        class Both(RealMachine):
            def addresses(self, host: str) -> tuple[str, ...]:
                return ("::1", "127.0.0.1") if host == "localhost" else super().addresses(host)

        profile = Profile.model_validate({"model": {"path": "tiny:"}, "server": {"port": port}})
        for seen, status in ((Both(), Status.WARN), (machine, Status.OK)):
            subject = Subject(profile, locate("tiny:"), SGLANG, seen)
            if seen is machine and "::1" in machine.addresses("localhost"):
                continue
            assert BY_ID["SGE-NET-003"].look(subject).status is status
