"""From a profile to the command that serves it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.profile import Profile, load_profile
from sgl_embed_kit.profile.loading import bundled_profiles
from sgl_embed_kit.sglang.command import Command, build_command
from sgl_embed_kit.sglang.flag_history import table_of
from sgl_embed_kit.sglang.flags import FlagTable
from sgl_embed_kit.sglang.installed import find_installed


def table(version: str = "0.5.23") -> FlagTable:
    found = table_of(version)
    assert found is not None
    return found


def command(
    profile: str | Profile = "tiny-cpu",
    *,
    encoder: bool = False,
    stand_in: Path | None = OVERLAY,
    inherited: dict[str, str] | None = None,
) -> Command:
    loaded = load_profile(profile) if isinstance(profile, str) else profile
    return build_command(
        loaded,
        table(),
        model_path="/models/m" if loaded.hardware.device == "cpu" else loaded.model.path,
        encoder=encoder,
        stand_in=stand_in,
        inherited=inherited or {},
    )


def value(built: Command, flag: str) -> str | None:
    return built.argv[built.argv.index(flag) + 1] if flag in built.argv else None


def test_what_must_be_explicit_is_explicit() -> None:
    built = command("06b-a10", stand_in=None)
    assert built.argv[:2] == ("sglang", "serve")
    assert "--is-embedding" in built.argv
    assert value(built, "--model-path") == "Qwen/Qwen3-Embedding-0.6B"
    assert value(built, "--revision") == "b22da495047858cce924d27d76261e96be6febc0"
    assert value(built, "--model-type") == "llm"
    assert value(built, "--served-model-name") == "qwen3-embedding-0.6b"
    assert value(built, "--host") == "127.0.0.1"
    assert value(built, "--port") == "30000"
    assert value(built, "--context-length") == "8192"
    assert value(built, "--mem-fraction-static") == "0.55"
    assert value(built, "--device") == "cuda"
    assert value(built, "--attention-backend") is None
    assert json.loads(value(built, "--json-model-override-args") or "") == {"is_matryoshka": True}


def test_an_encoder_gets_no_prefix_cache_no_chunks_and_a_memory_fraction() -> None:
    built = command("minilm-cpu", encoder=True)
    assert "--disable-radix-cache" in built.argv
    assert value(built, "--chunked-prefill-size") == "-1"
    assert value(built, "--mem-fraction-static") == "0.5"


def test_a_decoder_keeps_its_caches() -> None:
    built = command("tiny-cpu")
    assert "--disable-radix-cache" not in built.argv
    assert value(built, "--chunked-prefill-size") is None
    assert value(built, "--mem-fraction-static") is None


def test_a_fraction_in_the_profile_goes_before_the_encoders_own() -> None:
    profile = load_profile("minilm-cpu")
    limits = profile.limits.model_copy(update={"mem_fraction_static": 0.3})
    built = command(profile.model_copy(update={"limits": limits}), encoder=True)
    assert value(built, "--mem-fraction-static") == "0.3"


def test_the_cpu_engine_is_put_on_the_path_of_the_server_only() -> None:
    built = command(inherited={"PYTHONPATH": "/mine"})
    assert built.env["PYTHONPATH"] == f"{OVERLAY}:/mine"
    assert built.env["SGLANG_USE_CPU_ENGINE"] == "1"
    assert value(built, "--attention-backend") == "torch_native"


def test_an_idle_server_on_the_cpu_does_not_burn_a_core() -> None:
    assert "--sleep-on-idle" in command("tiny-cpu").argv
    assert "--sleep-on-idle" not in command("06b-a10", stand_in=None).argv


def test_real_cpu_kernels_need_no_stand_in() -> None:
    built = command(stand_in=None)
    assert "PYTHONPATH" not in built.env
    assert built.env["SGLANG_USE_CPU_ENGINE"] == "1"


def test_a_gpu_gets_nothing_of_the_cpu_engine() -> None:
    assert set(command("06b-a10", stand_in=None).env) == {
        "SGLANG_TIMEOUT_KEEP_ALIVE",
        "SGL_EMBED_GUARD",
    }


@pytest.mark.parametrize(
    ("inherited", "passed_on"),
    [
        ({}, None),
        ({"SGLANG_PLUGINS": "mine"}, "mine,sgl_embed_guard"),
        ({"SGLANG_PLUGINS": "mine,sgl_embed_guard"}, None),
    ],
)
def test_a_list_of_allowed_plugins_is_added_to(
    inherited: dict[str, str], passed_on: str | None
) -> None:
    assert command(inherited=inherited).env.get("SGLANG_PLUGINS") == passed_on


def test_without_the_guard_nothing_switches_it_on() -> None:
    profile = load_profile("tiny-cpu")
    guard = profile.guard.model_copy(update={"enabled": False})
    built = command(profile.model_copy(update={"guard": guard}), inherited={"SGLANG_PLUGINS": "x"})
    assert not {"SGL_EMBED_GUARD", "SGLANG_PLUGINS"} & set(built.env)


@pytest.mark.parametrize("path", ["/with space/m", "/quote'd", "/$HOME/`id`", "/new\nline"])
def test_the_shell_form_pastes_back_to_the_same_words(path: str) -> None:
    built = build_command(
        load_profile("tiny-cpu"),
        table(),
        model_path=path,
        encoder=False,
        stand_in=OVERLAY,
        inherited={},
    )
    words = shlex.split(built.as_shell().replace("\\\n", ""))
    assert words == [*(f"{k}={v}" for k, v in built.env.items()), *built.argv]


PARSE = """
import argparse, json, sys
from sglang.srt.server_args import ServerArgs
for line in sys.stdin:
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    parsed = parser.parse_args(json.loads(line))
    print(json.dumps([parsed.context_length, parsed.max_total_tokens, parsed.served_model_name]))
"""


@pytest.mark.server
def test_sglangs_own_parser_accepts_every_bundled_profile() -> None:
    if find_installed() is None:
        pytest.skip("SGLang is not installed; get it with: make test")
    profiles = [load_profile(name) for name in bundled_profiles()]
    lines = []
    for profile in profiles:
        for encoder in (False, True):
            argv = command(profile, encoder=encoder).argv
            assert argv[:4] == ("sglang", "serve", "--model-type", "llm")
            lines.append(json.dumps(argv[4:]))  # `sglang serve` takes the others off itself
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(OVERLAY), "SGLANG_USE_CPU_ENGINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    parsed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert parsed == [
        [profile.limits.context_length, profile.limits.max_total_tokens, profile.model.name]
        for profile in profiles
        for _ in range(2)
    ]
