"""Reading files that anybody may have made: only regular ones, only so much, only inside."""

import os
from pathlib import Path

import pytest

from sgl_embed_kit.model.files import CONFIG_LIMIT, LocalFiles, UnreadableError, json_object


def reason(folder: Path, name: str, limit: int = 100) -> str:
    with pytest.raises(UnreadableError) as caught:
        LocalFiles(folder).read(name, limit)
    return str(caught.value)


def test_files_are_listed_two_levels_deep_with_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling" / "deeper").mkdir(parents=True)
    (tmp_path / "a").write_text("abc")
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    (tmp_path / "1_Pooling" / "deeper" / "unseen").write_text("")
    files = LocalFiles(tmp_path)
    assert files.sizes == {"a": 3, "1_Pooling/config.json": 2}
    assert files.odd == {}


def test_links_are_followed_as_the_hubs_cache_is_made_of_them(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("abc")
    (tmp_path / "config.json").symlink_to("blob")
    files = LocalFiles(tmp_path)
    assert files.sizes["config.json"] == 3
    assert files.read("config.json", 3) == b"abc"


def test_a_file_of_just_the_limit_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert len(LocalFiles(tmp_path).read("a", 100)) == 100
    assert "no more than" in reason(tmp_path, "a", 99)


def test_a_part_of_a_file_ends_where_the_file_ends(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    assert LocalFiles(tmp_path).read_at("a", 3, 4) == b"3456"
    assert LocalFiles(tmp_path).read_at("a", 8, 4) == b"89"


@pytest.mark.timeout(10)
def test_a_fifo_is_no_file_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    assert LocalFiles(tmp_path).odd == {"config.json": "it is a FIFO, not a file"}
    assert reason(tmp_path, "config.json") == "it is a FIFO, not a file"


def test_a_device_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/dev/zero")
    assert reason(tmp_path, "config.json") == "it is a device, not a file"


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    assert LocalFiles(tmp_path).odd == {
        "gone": "it is a symbolic link that leads nowhere",
        "loop": "it is a symbolic link that leads back to itself",
    }
    assert reason(tmp_path, "loop") == "it is a symbolic link that leads back to itself"


def test_a_folder_that_holds_itself_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "self").symlink_to(tmp_path)
    assert set(LocalFiles(tmp_path).sizes) == {"a", "self/a"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/../../secret", "a\\b", "a\0b"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    assert "leads out of the model folder" in reason(tmp_path, name)


def test_an_absent_file_is_said_to_be_absent(tmp_path: Path) -> None:
    assert reason(tmp_path, "a") == "no such file or directory"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        (b"[]", "it holds no JSON object"),
        (b"[" * 200_000, "it is nested too deeply"),
        (b'{"a":' * 200_000, "it is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it is no JSON"),
        (b" " * (CONFIG_LIMIT + 1), "no more than 1 MiB are read"),
    ],
    ids=["cut", "no text", "list", "deep lists", "deep objects", "huge number", "huge file"],
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UnreadableError, match=why):
        json_object(LocalFiles(tmp_path), "config.json")
