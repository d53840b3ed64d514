"""`sgl-embed model`: making models and looking at them, as a user does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sgl_embed_kit.model.source import locate
from tests.conftest import run
from tests.model.builders import qwen_8b, small_model


def test_a_good_model_is_shown_and_ends_with_0(tmp_path: Path) -> None:
    done = run("model", "show", str(small_model(tmp_path / "m")))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == str(tmp_path / "m")
    assert done.stdout.splitlines()[-1] == "Nothing is wrong with it."


def test_a_model_that_cannot_be_served_is_shown_and_ends_with_1(tmp_path: Path) -> None:
    shard = qwen_8b(tmp_path / "m") / "model-00003-of-00004.safetensors"
    shard.unlink()
    done = run("model", "show", str(tmp_path / "m"))
    assert (done.returncode, done.stderr) == (1, "")
    assert f"lacks {shard.name}" in " ".join(done.stdout.split())
    assert f"  cure: hf download REPOSITORY --local-dir {tmp_path / 'm'}" in done.stdout


def test_json_goes_to_stdout_alone(tmp_path: Path) -> None:
    done = run("model", "show", str(small_model(tmp_path / "m")), "--format", "json")
    assert done.stderr == ""
    assert json.loads(done.stdout)["schema"] == "sgl-embed.model/1"


def test_a_model_of_the_toolkit_is_shown_once_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGL_EMBED_CACHE", str(tmp_path))
    missing = run("model", "show", "tiny:")
    assert missing.returncode == 1
    assert "cure: sgl-embed quickstart --once --model tiny:" in missing.stderr
    locate("tiny:").make()
    assert run("model", "show", "tiny:").returncode == 0


def test_the_demo_model_names_its_own_cure(tmp_path: Path) -> None:
    done = run("model", "show", "demo:all-minilm-l6-v2", SGL_EMBED_CACHE=str(tmp_path))
    assert "--model demo:all-minilm-l6-v2" in done.stderr


@pytest.mark.parametrize("name", ["no-such-folder", "/no/such/folder", "a/b/c"])
def test_what_leads_nowhere_is_said_in_sentences(name: str) -> None:
    done = run("model", "show", name)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "There is no model folder" in done.stderr
    assert name in done.stderr


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "It is a file." in run("model", "show", str(tmp_path / "file")).stderr


def test_the_folder_around_a_model_proposes_the_inner_one(tmp_path: Path) -> None:
    small_model(tmp_path / "outer" / "inner")
    done = run("model", "show", str(tmp_path / "outer"))
    assert done.returncode == 1
    assert f"--model {tmp_path / 'outer' / 'inner'}" in done.stdout
    assert done.stdout.count("error:") == 1
