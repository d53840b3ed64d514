"""`sgl-embed profile`."""

import json
from pathlib import Path

import pytest
import yaml

from sgl_embed_kit.profile import load_profile
from sgl_embed_kit.profile.editor import SCHEMA_LINE, json_schema
from sgl_embed_kit.profile.loading import bundled_profiles
from tests.conftest import ROOT, run


def test_list_names_every_bundled_profile_with_what_it_is_in_80_columns() -> None:
    lines = run("profile", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(bundled_profiles())
    assert "06b-a10           Qwen3-Embedding-0.6B on one NVIDIA A10 or A10G (24 GB)" in lines
    assert max(map(len, lines)) <= 80


def test_show_says_of_each_value_where_it_comes_from() -> None:
    done = run("profile", "show", "06b-a10", "--set", "limits.context_length=4096")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "# Computed, not measured: nobody in this project has run it on an A10." in lines
    assert 'gpu: "A10" # 06b-a10.yaml:10:3' in lines
    assert "context_length: 4096 # --set limits.context_length" in lines
    assert 'host: "127.0.0.1" # default' in lines
    shown = yaml.safe_load(done.stdout)
    assert shown["limits"]["context_length"] == 4096


def test_show_never_prints_what_came_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("model: {path: org/model}\nenv: {HF_TOKEN: '${MY_TOKEN}'}\n")
    shown = run("profile", "show", str(path), MY_TOKEN="hf_secret").stdout
    dry = run("launch", str(path), "--dry-run", MY_TOKEN="hf_secret").stdout
    as_json = run("launch", str(path), "--dry-run", "--format", "json", MY_TOKEN="hf_secret").stdout
    assert "hf_secret" not in shown + dry + as_json
    assert 'HF_TOKEN: "${MY_TOKEN}"' in shown
    assert 'HF_TOKEN="${MY_TOKEN}"' in dry  # pastes, where the variable is set


def test_check_looks_at_every_file_and_ends_with_2_if_one_is_wrong(tmp_path: Path) -> None:
    good, bad = ROOT / "profiles" / "tiny-cpu.yaml", tmp_path / "bad.yaml"
    bad.write_text("model: {path: x}\nsglang: {extra_args: {max-num-seqs: 4}}\n")
    done = run("profile", "check", str(bad), str(good))
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        f"{bad}: The profile has a problem.",
        f"  {bad}:2:23: no SGLang ever had `max-num-seqs` (it is vLLM's); in a profile "
        "it is `limits.max_running_requests`",
        f"{good}: ok",
    ]
    assert run("profile", "check", str(good)).returncode == 0


@pytest.mark.parametrize("path", bundled_profiles().values(), ids=bundled_profiles())
def test_every_bundled_profile_points_editors_to_the_schema(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith(f"{SCHEMA_LINE}\n")


def test_the_schema_documents_every_key() -> None:
    result = json_schema()
    for section in [result, *result["$defs"].values()]:
        for key, value in section["properties"].items():
            assert value.get("description"), key


@pytest.mark.parametrize("model", ["org/model", "C:\\models\\x", 'quo"te', "# x", ": y", "苹果"])
def test_new_writes_a_profile_that_loads_with_the_answers(tmp_path: Path, model: str) -> None:
    path = tmp_path / "new.yaml"
    options = ["--model", model, "--device", "cpu", "--context-length", "512"]
    assert run("profile", "new", str(path), *options).returncode == 0
    assert run("profile", "check", str(path)).returncode == 0
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert data["model"]["path"] == model
    assert data["limits"] == {"context_length": 512, "max_total_tokens": 16384}


def test_new_refuses_what_can_be_no_path_and_writes_nothing(tmp_path: Path) -> None:
    options = ["--model", "- y", "--device", "cpu", "--context-length", "512"]
    done = run("profile", "new", str(tmp_path / "new.yaml"), *options)
    assert done.returncode == 2
    assert "must not begin with a dash" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_new_never_writes_over_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    options = ["--model", "org/model", "--device", "cpu", "--context-length", "512"]
    done = run("profile", "new", str(path), *options)
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert path.read_text() == "precious"


def test_new_refuses_answers_that_contradict_the_model_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    options = ("--model", "Qwen/Qwen3-Embedding-0.6B", "--context-length", "40960")
    done = run("profile", "new", str(path), "--device", "cuda", *options)
    assert done.returncode == 2
    assert "a context of 40960 is longer than the model's, which is 32768" in done.stderr
    assert not path.exists()


def test_new_knows_the_revision_and_the_dimensions_of_a_known_model(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    options = ("--model", "Qwen/Qwen3-Embedding-4B", "--device", "cuda", "--context-length", "512")
    assert run("profile", "new", str(path), *options).returncode == 0
    profile = load_profile(str(path))
    assert profile.model.revision == "636cd9bf47d976946cdbb2b0c3ca0cb2f8eea5ff"
    assert profile.embedding.dimensions == 2560


def test_launch_dry_run_takes_settings() -> None:
    done = run("launch", "06b-a10", "--dry-run", "--set", "server.port=1234")
    assert "--port 1234" in done.stdout
    wrong = run("launch", "06b-a10", "--dry-run", "--set", "server.prt=1234")
    assert wrong.returncode == 2
    assert "did you mean `port`?" in " ".join(wrong.stderr.split())


def test_what_could_run_foreign_code_needs_to_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("model: {path: org/m}\nsglang: {extra_args: {trust-remote-code: true}}\n")
    refused = run("launch", str(path), "--dry-run")
    assert refused.returncode == 2
    assert "it needs --allow-unsafe" in refused.stderr
    allowed = run("launch", str(path), "--dry-run", "--allow-unsafe")
    assert "--trust-remote-code" in allowed.stdout


def test_schema_is_json() -> None:
    assert json.loads(run("profile", "schema").stdout)["title"] == "A profile of sgl-embed"
