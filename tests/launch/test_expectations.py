"""What a start is likely to take, from the last ones like it on this machine."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.launch import expectations
from sgl_embed_kit.launch.expectations import KEPT, NO_PAST, PastStarts, past_starts
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import find_installed
from tests.machines import FakeMachine


@pytest.fixture
def past(tmp_path: Path) -> PastStarts:
    return PastStarts(tmp_path / "state" / "starts" / "x.json")


def test_nothing_is_expected_before_the_first_start(past: PastStarts) -> None:
    assert past.expected() == {}


def test_it_is_the_median_of_each_phase(past: PastStarts) -> None:
    for seconds in (10.0, 90.0, 12.0):
        past.remember({"importing": seconds, "weights": 2 * seconds})
    past.remember({"importing": 11.0, "graphs": 5.0})
    assert past.expected() == {"importing": 11.5, "weights": 24.0, "graphs": 5.0}


def test_only_the_last_starts_count(past: PastStarts) -> None:
    for _ in range(KEPT):
        past.remember({"importing": 100.0})
    for _ in range(KEPT // 2 + 1):
        past.remember({"importing": 10.0})
    assert past.expected() == {"importing": 10.0}
    assert past.file is not None
    assert len(json.loads(past.file.read_text())["starts"]) == KEPT


def test_it_is_for_its_user_alone_and_nothing_half_written_is_left(past: PastStarts) -> None:
    past.remember({"importing": 1.0})
    assert past.file is not None
    assert list(past.file.parent.iterdir()) == [past.file]
    assert stat.S_IMODE(past.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(past.file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[" * 100_000,
        "[]",
        '{"starts": 1}',
        '{"starts": [1]}',
        '{"starts": [{"importing": "soon"}]}',
        '{"starts": [{"importing": NaN}]}',
        '{"starts": [{"importing": -1}]}',
        '{"starts": [{"importing": 1e300}]}',
        '{"starts": [{"importing": null}]}',
        "\xff",
    ],
)
def test_what_cannot_be_read_is_no_past_and_is_overwritten(past: PastStarts, content: str) -> None:
    assert past.file is not None
    past.file.parent.mkdir(parents=True)
    past.file.write_text(content, encoding="latin-1")
    assert past.expected() == {}
    past.remember({"importing": 3.0})
    assert past.expected() == {"importing": 3.0}


def test_where_nothing_can_be_written_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    past = PastStarts(tmp_path / "file" / "x.json")
    past.remember({"importing": 1.0})
    assert past.expected() == {}
    NO_PAST.remember({"importing": 1.0})
    assert NO_PAST.expected() == {}


def file_of(version: str = "0.5.23", **sections: dict[str, Any]) -> Path | None:
    content = {"model": {"path": "tiny:"}, "hardware": {"device": "cpu"}, **sections}
    installed = find_installed()
    assert installed is not None
    installed = replace(installed, version=version)
    subject = Subject.of(Profile.model_validate(content), installed, FakeMachine())
    return past_starts(subject).file


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"path": "demo:all-minilm-l6-v2"}},
        {"model": {"path": "tiny:", "revision": "0" * 40}},
        {"hardware": {"device": "cuda"}},
        {"launch": {"fast_start": False}},
        {"parallel": {"data": 2}},
        {"version": "0.5.22"},
    ],
    ids=str,
)
def test_another_kind_of_start_has_another_past(other: dict[str, Any]) -> None:
    assert file_of(**other) != file_of()


def test_what_takes_no_time_is_of_no_matter() -> None:
    assert file_of(server={"port": 12345}) == file_of()
    assert expectations.KEPT % 2  # a median that was measured
