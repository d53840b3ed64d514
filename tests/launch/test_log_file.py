"""A server's log file: private, bounded, and written again as soon as that is possible."""

import errno
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sgl_embed_kit.launch import log_file
from sgl_embed_kit.launch.log_file import CHECK_SECONDS, KEPT_FILES, RETRY_SECONDS, LogFile


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def test_it_is_for_its_user_alone(folder: Path) -> None:
    log = LogFile(folder / "X.log")
    log.write(b"a\n")
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert log.path.read_bytes() == b"a\n"
    assert list(log.new_troubles()) == []


def test_it_starts_anew_once_it_is_large_and_only_so_many_are_kept(folder: Path) -> None:
    log = LogFile(folder / "X.log", largest=10)
    for number in range(2 * KEPT_FILES):
        log.write(b"line%d\nline%d\n" % (number, number))  # 12 bytes
    names = ["X.log", *(f"X.log.{number}" for number in range(1, KEPT_FILES))]
    assert sorted(path.name for path in folder.iterdir()) == names
    contents = [(folder / name).read_bytes() for name in names]
    assert contents == [b"line%d\nline%d\n" % (n, n) for n in (7, 6, 5, 4)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_file_is_filled_to_its_last_byte(folder: Path) -> None:
    log = LogFile(folder / "X.log", largest=4)
    for line in (b"a\n", b"b\n", b"c\n"):
        log.write(line)
    assert (folder / "X.log.1").read_bytes() == b"a\nb\n"
    assert log.path.read_bytes() == b"c\n"


def test_sizes_are_as_promised() -> None:
    assert KEPT_FILES * log_file.LARGEST_FILE == 256 << 20


@pytest.fixture
def small_files() -> Iterator[int]:
    """A limit to the size of files, which the kernel holds like that of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    yield 8
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_written_is_told_once_tried_again_later_and_counted(
    folder: Path, clock: Clock, small_files: int
) -> None:
    log = LogFile(folder / "X.log", clock=clock)
    log.write(b"12345678901\n")
    assert list(log.new_troubles()) == ["File too large"]
    assert log.path.stat().st_size == small_files
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    clock.now += RETRY_SECONDS
    log.write(b"abc\n")  # tried, and it fails again
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    clock.now += RETRY_SECONDS - 0.1
    log.write(b"def\n")  # not tried yet
    assert log.path.stat().st_size == small_files
    assert list(log.new_troubles()) == []
    clock.now += 0.1
    log.write(b"ghi\n")
    mark = b"\n[sgl-embed: 12 bytes are missing here: File too large]\n"
    assert log.path.read_bytes() == b"12345678" + mark + b"ghi\n"
    assert list(log.new_troubles()) == []


def test_a_second_failure_is_told_again(folder: Path, clock: Clock) -> None:
    folder.write_text("a file, where the folder should be")
    log = LogFile(folder / "X.log", clock=clock)
    assert len(list(log.new_troubles())) == 1
    folder.unlink()
    clock.now += RETRY_SECONDS
    log.write(b"a\n")
    assert log.path.read_bytes().endswith(b"a\n")
    shutil.rmtree(folder)
    folder.write_text("again")
    clock.now += CHECK_SECONDS
    log.write(b"b\n")
    assert list(log.new_troubles()) == ["Not a directory"]


def test_a_log_that_is_gone_and_cannot_be_made_again_is_one_trouble(
    folder: Path, clock: Clock
) -> None:
    log = LogFile(folder / "X.log", clock=clock)
    log.path.unlink()
    log.path.symlink_to(folder / "nowhere")
    clock.now += CHECK_SECONDS
    log.write(b"a\n")
    assert list(log.new_troubles()) == [os.strerror(errno.ELOOP)]


@pytest.mark.parametrize("what", ["removed", "moved", "folder removed"])
def test_a_log_that_is_gone_goes_on_in_a_new_file(folder: Path, clock: Clock, what: str) -> None:
    log = LogFile(folder / "X.log", clock=clock)
    log.write(b"a\n")
    if what == "removed":
        log.path.unlink()
    elif what == "moved":
        log.path.rename(folder / "moved")
    else:
        shutil.rmtree(folder)
    clock.now += CHECK_SECONDS - 0.1
    log.write(b"b\n")
    assert not log.path.exists()  # a look at each line would cost more than the lines
    clock.now += 0.1
    log.write(b"c\n")
    assert log.path.read_bytes() == b"c\n"
    assert len(list(log.new_troubles())) == 1


def test_another_file_in_its_place_is_not_taken_for_it(folder: Path, clock: Clock) -> None:
    log = LogFile(folder / "X.log", clock=clock)
    log.path.rename(folder / "moved")
    log.path.write_bytes(b"made by logrotate\n")
    clock.now += CHECK_SECONDS
    log.write(b"a\n")
    assert log.path.read_bytes() == b"made by logrotate\na\n"


def test_no_link_is_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "X.log").symlink_to(tmp_path / "elsewhere")
    log = LogFile(folder / "X.log")
    log.write(b"a\n")
    assert not (tmp_path / "elsewhere").exists()
    assert list(log.new_troubles()) == [os.strerror(errno.ELOOP)]


def test_a_closed_file_holds_nothing_open(folder: Path) -> None:
    log = LogFile(folder / "X.log")
    before = psutil.Process().num_fds()
    log.close()
    log.close()
    assert psutil.Process().num_fds() == before - 1


def test_an_empty_file_is_not_moved_away_for_a_line_that_is_too_long(folder: Path) -> None:
    log = LogFile(folder / "X.log", largest=4)
    log.write(b"longer than a file\n")
    assert [path.name for path in folder.iterdir()] == ["X.log"]


def test_what_a_file_holds_already_counts(folder: Path) -> None:
    folder.mkdir()
    (folder / "X.log").write_bytes(b"abc\n")
    LogFile(folder / "X.log", largest=5).write(b"de\n")
    assert (folder / "X.log.1").read_bytes() == b"abc\n"


def test_each_gap_is_counted_by_itself(
    folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(folder / "X.log", clock=clock)

    def full(_file: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for lost in (b"abc\n", b"defgh\n"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            log.write(lost)
        clock.now += RETRY_SECONDS
        log.write(b"x\n")
    marks = [line for line in log.path.read_text().splitlines() if "missing" in line]
    assert [mark.split()[1] for mark in marks] == ["4", "6"]
