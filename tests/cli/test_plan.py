"""`sgl-embed plan`: the whole command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.profile.loading import bundled_profiles
from tests.conftest import run

HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}


def test_a_plan_that_fits_ends_with_0_and_one_that_does_not_with_1() -> None:
    fits = run("plan", "8b-a100", "--gpu", "A100")
    assert fits.returncode == 0
    assert "qwen3-embedding-8b on A100-40GB: fits. Computed, not measured." in fits.stdout
    misfit = run("plan", "8b-a100", "--gpu", "A10")
    assert misfit.returncode == 1
    assert "does not fit: weights: " in misfit.stdout
    assert fits.stderr == misfit.stderr == ""


def test_json_goes_to_stdout_alone() -> None:
    done = run("plan", "06b-a10", "--gpu", "24GiB", "--format", "json")
    data = json.loads(done.stdout)
    assert (data["schema"], data["fits"], data["memory"]) == ("sgl-embed.plan/1", True, 24 * 2**30)


def test_a_setting_changes_the_plan_and_gpus_share_it() -> None:
    arguments = ("plan", "06b-a10", "--gpu", "A10", "--format", "json")
    plain, shorter, shared = (
        json.loads(run(*arguments, *more).stdout)
        for more in ((), ("--set", "limits.context_length=1024"), ("--gpus", "2"))
    )
    assert (plain["context_length"], shorter["context_length"]) == (8192, 1024)
    assert shared["gpus"] == {"tensor": 2, "data": 1}
    assert shared["token_bytes"] * 2 == plain["token_bytes"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("8b-a100", "--gpu", "V100"), "no known GPU 'V100'"),
        (("8b-a100", "--gpu", "A10", "--gpus", "3"), "among 3 GPUs"),
        (("8b-a100", "--gpu", "A10", "--gpus", "0"), "--gpus"),
        (("no-such-profile",), "no-such-profile"),
        (("06b-a10", "--set", "hardware.gpu=V100"), "which GPU to plan for"),
    ],
)
def test_wrong_use_ends_with_2_and_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    done = run("plan", *arguments, **HIDDEN)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_nobody_knows_ends_with_1_and_a_sentence(tmp_path: Path) -> None:
    profile = tmp_path / "p.yaml"
    profile.write_text("model: {path: org/nobody-knows}\n")
    done = run("plan", str(profile), "--gpu", "A10")
    assert done.returncode == 1
    assert "shape of org/nobody-knows is not known" in done.stderr


def test_a_folder_is_planned_from_its_files(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=192, layers=3))
    profile = tmp_path / "p.yaml"
    profile.write_text(f"model: {{path: {tmp_path / 'm'}}}\nlimits: {{context_length: 512}}\n")
    data = json.loads(run("plan", str(profile), "--gpu", "T4", "--format", "json").stdout)
    assert data["token_bytes"] == 2 * 3 * 3 * 32 * 2
    assert data["pool_tokens"] == 16384


@pytest.mark.parametrize("name", bundled_profiles())
def test_every_profile_that_ships_has_a_plan_that_fits(name: str) -> None:
    done = run("plan", name, **HIDDEN)
    assert done.returncode == 0
    assert ": fits." in " ".join(done.stdout.split())


def test_a_planned_gpu_needs_neither_torch_nor_sglang() -> None:
    code = (
        "import sys\n"
        "from sgl_embed_kit.cli.main import cli\n"
        "cli.main(['plan', '8b-a100', '--gpu', 'A100'], standalone_mode=False)\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'sglang', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_terminal_without_unicode_gets_an_ascii_bar() -> None:
    done = run("plan", "06b-a10", "--gpu", "A10", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "====" in done.stdout
