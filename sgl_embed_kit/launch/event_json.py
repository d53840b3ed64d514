"""Events as JSON: one object a line, for what collects logs, and the schema of them all."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter

from sgl_embed_kit.launch.events import Event, Started
from sgl_embed_kit.sglang.log import Phase

SCHEMA = "sgl-embed.event/1"
_ENVELOPE = {
    "schema": {"const": SCHEMA},
    "event": {},
    "time": {"type": "string", "format": "date-time", "description": "In UTC."},
    "elapsed": {
        "type": "number",
        "minimum": 0,
        "description": "Seconds since the command began; steps of the clock do not change it.",
    },
    "pid": {
        "type": ["integer", "null"],
        "description": "Id of the server's main process; null before there is one.",
    },
}


class JsonEvents:
    """Writes each event as one line of JSON.

    Attributes:
        shown: Takes out of a text what is not to be shown; set once that is known.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Begin to count the time.

        Args:
            write: Takes a line, without its end.
            monotonic: A clock that only runs forward, in seconds.
            now: The time of day.
        """
        self._write = write
        self.shown: Callable[[str], str] = str
        self._monotonic = monotonic
        self._now = now
        self._began = monotonic()
        self._pid: int | None = None

    def __call__(self, event: Event) -> None:
        """Write an event."""
        if isinstance(event, Started):
            self._pid = event.pid
        content = {
            "schema": SCHEMA,
            "event": name_of(type(event)),
            "time": self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "elapsed": round(self._monotonic() - self._began, 3),
            "pid": self._pid,
            **{field.name: self._plain(getattr(event, field.name)) for field in fields(event)},
        }
        self._write(json.dumps(content))

    def _plain(self, value: Any) -> Any:
        """Return a field's value as JSON knows it; pairs of a name and a value are an object."""
        match value:
            case Phase():
                return value.id
            case str() | Path():
                return self.shown(str(value))
            case tuple():
                return {str(name): self._plain(inner) for name, inner in value}
            case float():
                return round(value, 3)
            case _:
                return value


def name_of(kind: type) -> str:
    """Return what an event is called in JSON: `phase_began` for PhaseBegan."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def event_schema() -> dict[str, Any]:
    """Return the JSON schema of an event."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        "description": "A line of `sgl-embed launch --log-format json`.",
        "oneOf": [_schema_of(kind) for kind in get_args(Event)],
    }


def _schema_of(kind: type) -> dict[str, Any]:
    hints, meanings = get_type_hints(kind), _meanings(kind)
    own = {
        name: {**_schema_of_value(hint), "description": meanings[name]}
        for name, hint in hints.items()
    }
    properties: Mapping[str, Any] = {**_ENVELOPE, **own, "event": {"const": name_of(kind)}}
    return {
        "title": name_of(kind),
        "description": (kind.__doc__ or "").partition("\n")[0],
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _schema_of_value(hint: Any) -> dict[str, Any]:
    if hint is Phase:
        return {"type": "string"}
    if hint == tuple[tuple[str, float], ...]:
        return {"type": "object", "additionalProperties": {"type": "number"}}
    return TypeAdapter(hint).json_schema(mode="serialization")


def _meanings(kind: type) -> dict[str, str]:
    """Return what the docstring of an event says of each field."""
    found = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", kind.__doc__ or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
