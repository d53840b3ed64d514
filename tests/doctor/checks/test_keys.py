"""Keys: what the checks find."""

from sgl_embed_kit.doctor.engine import Status
from tests.doctor.checks.cases import Case, find
from tests.machines import FakeMachine

CASES: list[Case] = [
    ("SGE-KEY-001", {}, Status.OK, "asks for no key"),
    (
        "SGE-KEY-001",
        {"server": {"api_key_env": "SGL_EMBED_TEST_NO_SUCH_KEY"}},
        Status.ERROR,
        "SGL_EMBED_TEST_NO_SUCH_KEY",
    ),
]


def test_a_key_that_is_there_can_be_read() -> None:
    machine = FakeMachine(variables={"SGL_EMBED_TEST_KEY": "0123456789abcdef"})
    finding = find("SGE-KEY-001", machine, server={"api_key_env": "SGL_EMBED_TEST_KEY"})
    assert finding.status is Status.OK
    assert "can be read" in finding.found
    assert "0123456789abcdef" not in finding.found
