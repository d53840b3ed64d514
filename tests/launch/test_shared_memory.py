"""Whose a file of shared memory is."""

import mmap
import os
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory as Segment
from pathlib import Path

import pytest

from sgl_embed_kit.launch.shared_memory import LOOKS, SharedMemory, noted, remove

FOLDER = Path("/dev/shm")


@pytest.fixture
def file() -> Iterator[Path]:
    """A file of shared memory that nobody uses."""
    path = FOLDER / f"sgl-embed-test-{os.getpid()}"
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


def mapped(path: Path) -> mmap.mmap:
    with path.open("w+b") as out:
        out.truncate(4096)
        return mmap.mmap(out.fileno(), 4096)


def looks(folder: Path, *, before: tuple[str, ...] = (), root: int | None = None) -> SharedMemory:
    """Return shared memory that has looked at all that is there now."""
    memory = SharedMemory(folder, before)
    memory.look(os.getppid() if root is None else root)
    return memory


def test_what_a_process_below_has_mapped_is_the_servers(tmp_path: Path, file: Path) -> None:
    memory = SharedMemory(tmp_path, os.listdir(FOLDER))  # noqa: PTH208
    with mapped(file):
        memory.look(os.getppid())
    assert [found.name for found in noted(tmp_path)] == [file.name]
    memory.remove()
    assert not file.exists()


def test_what_python_makes_is_known_too(tmp_path: Path) -> None:
    memory = SharedMemory(tmp_path, os.listdir(FOLDER))  # noqa: PTH208
    segment = Segment(create=True, size=4096)
    try:
        memory.look(os.getppid())
        assert [found.name for found in noted(tmp_path)] == [segment.name.lstrip("/")]
    finally:
        segment.close()
        segment.unlink()


def test_what_was_there_before_is_not(tmp_path: Path, file: Path) -> None:
    with mapped(file):
        memory = looks(tmp_path, before=(file.name,))
    memory.remove()
    assert file.exists()
    assert not noted(tmp_path)


def test_what_others_have_mapped_is_not(tmp_path: Path, file: Path) -> None:
    with mapped(file):
        memory = looks(tmp_path, root=os.getpid())  # only those below it are the server's
    memory.remove()
    assert file.exists()


def test_what_is_not_mapped_is_looked_at_again_but_not_for_ever(tmp_path: Path, file: Path) -> None:
    memory = SharedMemory(tmp_path, os.listdir(FOLDER))  # noqa: PTH208
    file.touch()
    for _ in range(LOOKS - 1):
        assert memory.look(os.getppid())
    assert not memory.look(os.getppid())
    with mapped(file):
        memory.look(os.getppid())
    assert not noted(tmp_path)


def test_what_is_in_use_stays(tmp_path: Path, file: Path) -> None:
    memory = SharedMemory(tmp_path, os.listdir(FOLDER))  # noqa: PTH208
    with mapped(file):
        memory.look(os.getppid())
        memory.remove()
        assert file.exists()
    remove(noted(tmp_path))
    assert not file.exists()


def test_without_notes_there_is_nothing(tmp_path: Path) -> None:
    assert noted(tmp_path) == set()
