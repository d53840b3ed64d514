"""`sgl-embed launch`: the dry run, and what stops a start before it begins."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.model.safetensors import LFS_POINTER
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.profile.loading import bundled_profiles
from tests.conftest import ROOT, run


@pytest.mark.parametrize("name", sorted(bundled_profiles()))
def test_dry_run_prints_the_command_of_every_profile_and_writes_nothing(
    name: str, tmp_path: Path
) -> None:
    cache, state = tmp_path / "cache", tmp_path / "state"
    folders = {"SGL_EMBED_CACHE": str(cache), "SGL_EMBED_STATE": str(state)}
    done = run("launch", str(ROOT / "profiles" / f"{name}.yaml"), "--dry-run", **folders)
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stdout.replace("\\\n", ""))
    assert "--is-embedding" in words
    assert words.count("serve") == 1
    assert not cache.exists()
    assert not state.exists()


def test_dry_run_as_json_is_the_same_command() -> None:
    text = run("launch", "minilm-cpu", "--dry-run").stdout
    data = json.loads(run("launch", "minilm-cpu", "--dry-run", "--format", "json").stdout)
    words = shlex.split(text.replace("\\\n", ""))
    assert data["schema"] == "sgl-embed.command/1"
    assert words == [*(f"{k}={v}" for k, v in data["env"].items()), *data["argv"]]
    assert data["cwd"] == str(Path.cwd())


def test_dry_run_knows_that_minilm_is_an_encoder_before_it_is_here(tmp_path: Path) -> None:
    done = run("launch", "minilm-cpu", "--dry-run", SGL_EMBED_CACHE=str(tmp_path))
    assert "--disable-radix-cache" in done.stdout


def test_dry_run_needs_neither_sglang_nor_torch_nor_a_gpu() -> None:
    code = (
        "import sys\n"
        "for name in ('sglang', 'sgl_kernel', 'torch', 'transformers', 'pynvml'):\n"
        "    sys.modules[name] = None\n"  # importing one of them raises ImportError
        "from importlib import metadata\n"
        "def gone(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = gone\n"
        "from sgl_embed_kit.cli.main import main\n"
        "main(['launch', '06b-a10', '--dry-run'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--model-path Qwen/Qwen3-Embedding-0.6B" in done.stdout


def _profile(tmp_path: Path, model: str, port: int = 1) -> str:
    path = tmp_path / "profile.yaml"
    path.write_text(
        f"model: {{path: '{model}'}}\nserver: {{port: {port}}}\nhardware: {{device: cpu}}\n"
    )
    return str(path)


def without_id(report: str) -> str:
    """Return a report as one line, without the ids that stand at the right edge."""
    return " ".join(re.sub(r" SGE-\w+-\d{3}$", "", report, flags=re.MULTILINE).split())


def test_a_busy_port_stops_the_start_with_who_holds_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = run("launch", _profile(tmp_path, "tiny:", listening.getsockname()[1]))
    assert done.returncode == 1
    assert f"(pid {os.getpid()}) listens there" in without_id(done.stderr)
    assert " cure  " in done.stderr
    assert "quickstart --port" in done.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("folder without weights", "It has no .safetensors file"),
        ("Git-LFS pointer", "is a Git-LFS pointer"),
        ("missing folder", "There is no model"),
    ],
)
def test_a_model_that_cannot_be_served_stops_the_start(
    tmp_path: Path, fault: str, said: str
) -> None:
    model = tmp_path / "model"
    if fault != "missing folder":
        make_tiny_model(model, TinyModel(hidden_size=64, layers=1))
    if fault == "folder without weights":
        (model / "model.safetensors").unlink()
    if fault == "Git-LFS pointer":
        (model / "model.safetensors").write_bytes(LFS_POINTER)
    done = run("launch", _profile(tmp_path, str(model), port=45678))
    assert done.returncode == 1
    assert said in without_id(done.stderr)
    assert re.search(r" cure:? ", done.stderr)


def test_an_unreadable_profile_stops_the_start_with_code_2(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("model: {path: x\n")
    done = run("launch", str(tmp_path / "p.yaml"))
    assert done.returncode == 2
    assert f"{tmp_path}/p.yaml:2:1: expected ',' or '}}'" in " ".join(done.stderr.split())


@pytest.mark.parametrize("command", [("doctor",), ("doctor", "--format", "json"), ("launch",)])
def test_what_came_from_the_environment_is_shown_by_its_name(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    secret = tmp_path / "hush-hush"
    make_tiny_model(secret, TinyModel(hidden_size=64, layers=1))
    (secret / "model.safetensors").unlink()
    path.write_text("model: {path: '${FOLDER}'}\nhardware: {device: cpu}\nserver: {port: 45678}\n")
    done = run(command[0], str(path), *command[1:], FOLDER=str(secret))
    assert done.returncode == 1
    assert "${FOLDER} holds no weights" in done.stdout + done.stderr
    assert "hush-hush" not in done.stdout + done.stderr
