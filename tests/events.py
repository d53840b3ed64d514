"""Hold the JSON lines of events to the shipped schema."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest

from tests.conftest import ROOT

SCHEMA_FILE = ROOT / "sgl_embed_kit" / "launch" / "event.schema.json"


@cache
def _validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")  # comes with SGLang
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def valid_events(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return the events that lines of JSON hold; fails where one is not of the schema."""
    events = [json.loads(line) for line in lines]
    for event in events:
        _validator().validate(event)
    elapsed = [event["elapsed"] for event in events]
    assert elapsed == sorted(elapsed)
    return events
