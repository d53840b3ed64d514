"""The end of a log: of any length, rotated, cut off, and with bounded memory."""

import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sgl_embed_kit.launch import log_tail as module
from sgl_embed_kit.launch.log_tail import BLOCK, LogTail


def last(log: Path, lines: int) -> bytes:
    with LogTail(log) as tail:
        return b"".join(tail.last(lines))


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"", 3, b""),
        (b"a\nb\nc\n", 0, b""),
        (b"a\nb\nc\n", 1, b"c\n"),
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc\n", 3, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
        (b"a\nb\nc", 1, b"c"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"\n\n\n", 2, b"\n\n"),
        (b"a", 1, b"a"),
        (b"\n", 1, b"\n"),
    ],
)
@pytest.mark.parametrize("block", [1, 2, BLOCK])
def test_the_last_lines(
    tmp_path: Path,
    content: bytes,
    lines: int,
    expected: bytes,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    (tmp_path / "x.log").write_bytes(content)
    assert last(tmp_path / "x.log", lines) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (1, b"f\n"),
        (2, b"e\nf\n"),
        (3, b"d\ne\nf\n"),
        (5, b"b\nc\nd\ne\nf\n"),
        (9, b"a\nb\nc\nd\ne\nf\n"),
    ],
)
def test_lines_that_were_rotated_away_come_too(tmp_path: Path, lines: int, expected: bytes) -> None:
    for name, content in [
        ("x.log.2", b"a\nb\n"),
        ("x.log.1", b"c\nd\n"),
        ("x.log", b"e\nf\n"),
        ("x.log.4", b"older than a gap\n"),
    ]:
        (tmp_path / name).write_bytes(content)
    assert last(tmp_path / "x.log", lines) == expected


def test_a_huge_log_takes_no_memory(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"x" * 10_000_000 + b"\n" + b"line\n" * 100_000)
    tracemalloc.start()
    with LogTail(log) as tail:
        size = sum(map(len, tail.last(100_001)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == log.stat().st_size
    assert peak < 10 * BLOCK


Step = Callable[[Path], None]


def follow(log: Path, *steps: Step) -> bytes:
    """Follow a log; before each look a step is taken, and after the last the server has ended."""
    left = list(steps)

    def is_over() -> bool:
        if left:
            left.pop(0)(log)
        return not left

    with LogTail(log) as tail:
        return b"".join([*tail.last(1), *tail.follow(is_over)])


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(module, "POLL_SECONDS", 0)
    path = tmp_path / "x.log"
    path.write_bytes(b"a\nb\n")
    yield path


def add(text: bytes) -> Step:
    def append(log: Path) -> None:
        with log.open("ab") as file:
            file.write(text)

    return append


def rotate(log: Path) -> None:
    parts = sorted(log.parent.glob("x.log.*"), reverse=True)
    for part in parts:
        part.rename(part.with_suffix(f".{int(part.suffix[1:]) + 1}"))
    log.rename(f"{log}.1")
    log.write_bytes(b"")


def cut(log: Path) -> None:
    os.truncate(log, 0)


def nothing(_log: Path) -> None:
    pass


def together(*steps: Step) -> Step:
    def take(log: Path) -> None:
        for step in steps:
            step(log)

    return take


def vanish(log: Path) -> None:
    log.rename(f"{log}.1")


def come_back(log: Path) -> None:
    log.write_bytes(b"new\n")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([nothing], b""),
        ([add(b"c\n"), nothing, add(b"d\n")], b"c\nd\n"),
        ([add(b"half a "), add(b"line\n")], b"half a line\n"),
        ([rotate, add(b"c\n")], b"c\n"),
        ([together(add(b"c\n"), rotate, add(b"d\n")), add(b"e\n")], b"c\nd\ne\n"),
        ([together(add(b"c\n"), rotate, add(b"d\n"), rotate, add(b"e\n"))], b"c\nd\ne\n"),
        ([rotate, rotate, add(b"c\n"), rotate, add(b"d\n")], b"c\nd\n"),
        ([cut, add(b"c\n")], b"c\n"),
        ([together(cut, add(b"c\n"))], b"c\n"),
        ([vanish, nothing, come_back], b"new\n"),
        ([vanish, nothing], b""),
    ],
    ids=[
        "nothing",
        "lines",
        "parts",
        "rotated",
        "with words before",
        "twice at once",
        "again and again",
        "cut off",
        "cut off and written",
        "gone for a while",
        "gone",
    ],
)
def test_what_is_added_is_followed_through_rotations(
    log: Path, steps: list[Step], expected: bytes
) -> None:
    assert follow(log, *steps) == b"b\n" + expected


def test_a_log_that_was_replaced_and_not_rotated_is_followed(log: Path) -> None:
    def replace(log: Path) -> None:
        log.unlink()
        (log.parent / "x.log.1").write_bytes(b"another's\n")
        log.write_bytes(b"new\n")

    assert follow(log, replace) == b"b\nnew\n"
