"""The start of a real server, as it was told: in order, of the schema, and kept for the next."""

import stat

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.launch.events import Ready
from sgl_embed_kit.launch.expectations import past_starts
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.profile import load_profile
from sgl_embed_kit.sglang.installed import find_installed
from sgl_embed_kit.sglang.log import IMPORTING, start_phases
from tests.events import valid_events

pytestmark = pytest.mark.server

ON_A_CPU = [phase.id for phase in (IMPORTING, *start_phases()) if phase.id != "graphs"]
"""On a CPU no graphs are captured."""


def test_the_phases_are_told_in_order_and_then_it_is_ready(
    tiny_qwen: Ready, tiny_qwen_events: list[str]
) -> None:
    events = valid_events(tiny_qwen_events)
    assert events[0]["event"] == "started"
    began = [event["phase"] for event in events if event["event"] == "phase_began"]
    assert began == ON_A_CPU
    assert events[-1]["event"] == "ready"
    assert events[-1]["url"] == tiny_qwen.url
    assert {event["pid"] for event in events} == {tiny_qwen.pid}
    assert list(events[-1]["phases"]) == [label for label, _ in tiny_qwen.phases]
    assert len(tiny_qwen.phases) == len(ON_A_CPU)


def test_loading_the_weights_shows_how_far_it_is(
    tiny_qwen: Ready, tiny_qwen_events: list[str]
) -> None:
    assert tiny_qwen.pid
    events = valid_events(tiny_qwen_events)
    done = [
        (event["phase"], event["done"], event["total"])
        for event in events
        if event["event"] == "progress"
    ]
    assert ("weights", 1, 1) in done


def test_a_healthy_start_has_nothing_to_notice(
    tiny_qwen: Ready, tiny_qwen_events: list[str]
) -> None:
    assert tiny_qwen.pid
    names = {event["event"] for event in valid_events(tiny_qwen_events)}
    assert names == {"started", "phase_began", "progress", "ready"}


def test_its_log_is_for_its_user_alone_and_of_whole_lines(tiny_qwen: Ready) -> None:
    assert stat.S_IMODE(tiny_qwen.log.stat().st_mode) == 0o600
    content = tiny_qwen.log.read_bytes()
    assert content.endswith(b"\n")
    assert b"\r" not in content
    assert b"Load weight end." in content


def test_what_it_took_is_expected_of_the_next(tiny_qwen: Ready) -> None:
    subject = Subject.of(load_profile("tiny-cpu"), find_installed(), RealMachine())
    expected = past_starts(subject).expected()
    assert list(expected) == ON_A_CPU
    assert sum(expected.values()) == pytest.approx(tiny_qwen.seconds, rel=0.5)
