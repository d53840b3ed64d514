"""Which hosts are this machine."""

import pytest

from sgl_embed_kit.loopback import is_loopback


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        *[("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True)],
        *[("LocalHost.", True), ("::1%lo", True)],
        *[("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],
        *[("localhost.example.org", False), ("128.0.0.1", False), ("127.0.0.1.example", False)],
        *[("", False), ("localhost.localdomain.example", False)],
    ],
)
def test_which_addresses_are_this_machines_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone
