"""Events as JSON: one object a line, of the shipped schema, by a clock that never jumps."""

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import pytest

from sgl_embed_kit.launch.event_json import JsonEvents, event_schema, name_of
from sgl_embed_kit.launch.events import (
    Ended,
    Event,
    LogTrouble,
    Noticed,
    PhaseBegan,
    Progress,
    Ready,
    Started,
    Stopped,
    Stopping,
)
from sgl_embed_kit.sglang.log import IMPORTING
from tests.events import SCHEMA_FILE, valid_events

LOG = Path("/state/logs/x.log")
LIFE: list[Event] = [
    PhaseBegan(IMPORTING),
    Started(4711, LOG),
    PhaseBegan(IMPORTING, 12.0),
    Progress(IMPORTING, 3, 8),
    Noticed("pool-below-context", "warn", 'It "means" this.', "do that", "line \udcff\n"),
    LogTrouble(LOG, "No space left on device"),
    Ready("http://h:1", "m", 4, 1.23456, (("Importing SGLang", 1.23456),), 4711, LOG),
    Stopping(30.0),
    Stopped(),
    Ended(3, "what", "why", "cure"),
]
"""One of each kind, and one before there is a process."""


def test_each_event_is_a_line_of_the_schema() -> None:
    lines: list[str] = []
    write = JsonEvents(lines.append)
    for event in LIFE:
        write(event)
    events = valid_events(lines)
    assert [event["event"] for event in events] == [name_of(type(event)) for event in LIFE]
    assert [event["pid"] for event in events] == [None, *[4711] * 9]
    assert {event["schema"] for event in events} == {"sgl-embed.event/1"}
    assert not any("\n" in line for line in lines)


def test_fields_are_plain_values() -> None:
    lines: list[str] = []
    write = JsonEvents(lines.append)
    for event in LIFE:
        write(event)
    _, _, began, progress, noticed, trouble, ready, *_, ended = map(json.loads, lines)
    assert (began["phase"], began["expected"]) == ("importing", 12.0)
    assert (progress["done"], progress["total"]) == (3, 8)
    assert noticed["line"] == "line \udcff\n"
    assert trouble["log"] == str(LOG)
    assert ready["phases"] == {"Importing SGLang": 1.235}
    assert ready["seconds"] == 1.235
    assert (ended["exit_code"], ended["cure"]) == (3, "cure")


def test_what_is_not_to_be_shown_is_taken_out_of_every_text() -> None:
    lines: list[str] = []
    write = JsonEvents(lines.append)
    write.shown = lambda text: text.replace("hush", "${X}")
    write(Started(1, Path("/hush/log")))
    write(Ready("u", "hush", 1, 1.0, (("hush", 1.0),), 1, LOG))
    write(Ended(1, "hush", "hush", "hush"))
    events = valid_events(lines)
    assert events[0]["log"] == "/${X}/log"
    assert events[1]["model"] == "${X}"
    assert events[2]["what"] == events[2]["why"] == events[2]["cure"] == "${X}"


def test_a_clock_that_jumps_changes_the_time_and_not_what_has_elapsed() -> None:
    lines: list[str] = []
    steps = iter([10.0, 10.5, 12.0])
    china = timezone(timedelta(hours=8))
    times: Iterator[datetime] = iter(
        [datetime(2026, 11, 21, 12, tzinfo=UTC), datetime(1970, 1, 1, 8, tzinfo=china)]
    )
    write = JsonEvents(lines.append, monotonic=lambda: next(steps), now=lambda: next(times))
    write(Started(1, LOG))
    write(Stopped())
    events = valid_events(lines)
    assert [event["elapsed"] for event in events] == [0.5, 2.0]
    assert [event["time"] for event in events] == [
        "2026-11-21T12:00:00.000000Z",
        "1970-01-01T00:00:00.000000Z",
    ]


def test_the_shipped_schema_is_that_of_the_events() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == event_schema()


@pytest.mark.parametrize("kind", get_args(Event), ids=name_of)
def test_every_kind_is_described(kind: type) -> None:
    (described,) = [one for one in event_schema()["oneOf"] if one["title"] == name_of(kind)]
    assert described["description"]
    own: dict[str, Any] = described["properties"]
    for field in fields(kind):
        assert own[field.name]["description"]
        assert field.name not in {"schema", "event", "time", "elapsed"}


@pytest.mark.parametrize(
    "change", [{"event": "other"}, {"pid": "1"}, {"schema": "x/2"}, {"elapsed": -1}, {"log": 1}]
)
def test_the_schema_can_fail(change: dict[str, Any]) -> None:
    lines: list[str] = []
    JsonEvents(lines.append)(Started(1, LOG))
    valid_events(lines)
    with pytest.raises(Exception, match="is not valid under any of the given schemas"):
        valid_events([json.dumps(json.loads(lines[0]) | change)])
