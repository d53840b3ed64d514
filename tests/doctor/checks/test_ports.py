"""Ports: what the checks find."""

from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import PortUse
from tests.doctor.checks.cases import Case, find
from tests.machines import FakeMachine

CASES: list[Case] = [
    ("SGE-NET-001", {}, Status.OK, "127.0.0.1:30000 is free"),
    (
        "SGE-NET-001",
        {"machine": FakeMachine(taken={30000: PortUse("in use", 7, "nginx")})},
        Status.ERROR,
        "nginx (pid 7) listens there",
    ),
    (
        "SGE-NET-001",
        {"machine": FakeMachine(taken={30000: PortUse("Permission denied")})},
        Status.ERROR,
        "Permission denied",
    ),
]


def test_the_next_free_port_is_proposed() -> None:
    taken = {port: PortUse("in use") for port in (30000, 30001, 30002)}
    assert "quickstart --port 30003" in find("SGE-NET-001", FakeMachine(taken=taken)).fix


def test_a_port_at_the_very_end_has_no_next_one() -> None:
    machine = FakeMachine(taken={65535: PortUse("in use")})
    assert find("SGE-NET-001", machine, server={"port": 65535}).status is Status.ERROR
