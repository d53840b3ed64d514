"""Which server a name, a profile, a port or a process id stands for."""

import dataclasses
import os

import pytest

from sgl_embed_kit.errors import ExitCode, UsageError
from sgl_embed_kit.launch.selection import NotRunningError, named, the_one
from tests.servers import own_id, record_of

SERVER = dataclasses.replace(own_id(), pid=4711)
ONE = record_of(server=SERVER, name="a", profile="pa", port=1)
TWO = record_of(name="a", profile="pb", port=2)
THREE = record_of(name="pb", profile="", port=3)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a", [ONE, TWO]),
        ("pa", [ONE]),
        ("pb", [TWO, THREE]),
        ("3", [THREE]),
        ("4711", [ONE]),
    ],
)
def test_a_server_has_many_names(name: str, found: list[object]) -> None:
    assert named([ONE, TWO, THREE], name) == found
    assert named([ONE, TWO, THREE], str(os.getpid())) == [ONE, TWO, THREE]


@pytest.mark.parametrize("name", ["", "A", "p", "11", "none"])
def test_what_is_none_of_them_is_said_with_what_runs(name: str) -> None:
    with pytest.raises(NotRunningError) as caught:
        named([ONE, THREE], name)
    assert caught.value.why == "What runs: a (port 1), pb (port 3)."
    assert caught.value.exit_code == ExitCode.FAILED
    with pytest.raises(NotRunningError) as caught:
        named([], name)
    assert caught.value.why == "None that this toolkit started does."


def test_of_several_none_is_taken_and_all_are_listed() -> None:
    assert the_one([ONE, TWO, THREE], "pa", "stop") is ONE
    with pytest.raises(UsageError) as caught:
        the_one([ONE, TWO, THREE], "a", "stop")
    assert caught.value.what == "2 servers are called 'a'; nothing was done."
    assert caught.value.why.splitlines() == [
        "port 1: a by pa (pid 4711)",
        f"port 2: a by pb (pid {os.getpid()})",
    ]
    assert caught.value.cure == "sgl-embed stop 1"


def test_a_port_that_is_anothers_process_id_is_not_proposed() -> None:
    other = record_of(name="1", port=9)
    with pytest.raises(UsageError) as caught:
        the_one([ONE, other], "1", "logs")
    assert caught.value.cure == "sgl-embed logs 4711"
