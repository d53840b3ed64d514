"""Which log a name stands for."""

import os
from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError, UsageError
from sgl_embed_kit.launch.log_choice import choose_log
from tests.servers import record_of


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path))
    (tmp_path / "logs").mkdir()
    for age, name in enumerate(
        ["mine-20261121-120000-1.log", "all-minilm-l6-v2-20261121-120000-2.log"]
    ):
        (tmp_path / "logs" / name).write_text("")
        os.utime(tmp_path / "logs" / name, (age, age))
    return tmp_path / "logs"


def test_of_a_server_that_runs_it_is_its_own_until_it_ends(logs: Path) -> None:
    record = record_of(log="/its/own.log")
    log, is_over = choose_log([record], "30000")
    assert log == Path("/its/own.log")
    assert not is_over()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mine", "mine-20261121-120000-1.log"),
        ("all-minilm-l6-v2", "all-minilm-l6-v2-20261121-120000-2.log"),
        ("minilm-cpu", "all-minilm-l6-v2-20261121-120000-2.log"),
    ],
)
def test_of_one_that_has_ended_it_is_the_last(logs: Path, name: str, file: str) -> None:
    log, is_over = choose_log([record_of(name="other")], name)
    assert log == logs / file
    assert is_over()


def test_a_server_without_a_log_of_its_own_has_one_by_its_name(logs: Path) -> None:
    assert choose_log([record_of(log="")], "p")[0] == logs / "mine-20261121-120000-1.log"


@pytest.mark.parametrize("name", ["nobody", "tiny-cpu", "../mine", "*"])
def test_a_name_without_a_log_is_said(logs: Path, name: str) -> None:
    with pytest.raises(KitError, match="There is no log of a server") as caught:
        choose_log([], name)
    assert caught.value.cure == f"ls -t {logs}"


def test_of_several_none_is_taken(logs: Path) -> None:
    with pytest.raises(UsageError, match="2 servers"):
        choose_log([record_of(port=1), record_of(port=2)], "mine")
