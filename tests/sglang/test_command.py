"""From a profile to the command that serves it."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.profile import Profile, load_profile
from sgl_embed_kit.profile.loading import bundled_profiles
from sgl_embed_kit.profile.schema import KeySource, ParallelSection
from sgl_embed_kit.sglang.command import ALLOCATOR_VARIABLES, Command, build_command
from sgl_embed_kit.sglang.flag_history import table_of
from sgl_embed_kit.sglang.flags import FlagTable
from tests.real_sglang import Sglang, parsed_words


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
    version: str = "0.5.23",
) -> Command:
    loaded = load_profile(profile) if isinstance(profile, str) else profile
    return build_command(
        loaded,
        table(version),
        model_path="/models/m" if loaded.hardware.device == "cpu" else loaded.model.path,
        encoder=encoder,
        stand_in=stand_in,
        is_local=loaded.hardware.device == "cpu",
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


@pytest.mark.parametrize(
    ("version", "avoided"),
    [("0.5.10.post1", True), ("0.5.12", True), ("0.5.20", True), ("0.5.23", False)],
)
def test_a_release_that_hangs_at_a_full_batch_runs_without_overlap(
    version: str, avoided: bool
) -> None:
    profile = load_profile("tiny-cpu")
    unguarded = profile.guard.model_copy(update={"enabled": False})
    built = command(profile.model_copy(update={"guard": unguarded}), version=version)
    assert ("--disable-overlap-schedule" in built.argv) is avoided


def test_a_decoder_keeps_its_caches() -> None:
    built = command("tiny-cpu")
    assert "--disable-radix-cache" not in built.argv
    assert value(built, "--chunked-prefill-size") is None
    assert value(built, "--mem-fraction-static") is None


@pytest.mark.parametrize(("chunk", "fraction"), [(-1, "0.5"), (8193, "0.5"), (8192, None)])
def test_where_sglangs_own_memory_fraction_could_be_negative_it_gets_one(
    chunk: int, fraction: str | None
) -> None:
    profile = load_profile("tiny-cpu")
    limits = profile.limits.model_copy(update={"chunked_prefill_size": chunk})
    built = command(profile.model_copy(update={"limits": limits}))
    assert value(built, "--mem-fraction-static") == fraction


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
        "PYTORCH_ALLOC_CONF",
        "SGLANG_REQ_WAITING_TIMEOUT",
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


@pytest.mark.server
def test_sglangs_own_parser_accepts_every_bundled_profile(sglang_parser: Sglang) -> None:
    for name in bundled_profiles():
        profile = load_profile(name)
        for encoder in (False, True):
            argv = command(profile, encoder=encoder).argv
            parsed = sglang_parser.ask(parsed_words(argv), in_place=True)
            assert parsed["context_length"] == profile.limits.context_length
            assert parsed["max_total_tokens"] == profile.limits.max_total_tokens
            assert parsed["served_model_name"] == profile.model.name


def with_server(**changes: object) -> Profile:
    return load_profile("tiny-cpu").with_server(**changes)


def test_a_key_is_named_and_never_in_argv_or_environment() -> None:
    built = command(with_server(api_key_env="MY_KEY", admin_api_key_file="/run/admin"))
    assert built.keys == {
        "api-key": KeySource(env="MY_KEY"),
        "admin-api-key": KeySource(file="/run/admin"),
    }
    assert built.unset == ("MY_KEY",)
    assert not any("key" in word for word in (*built.argv, *built.env))


def test_a_secret_flag_of_extra_args_goes_the_same_way() -> None:
    profile = load_profile("tiny-cpu")
    sglang = profile.sglang.model_copy(update={"extra_args": {"ssl-keyfile-password": "hush"}})
    built = command(profile.model_copy(update={"sglang": sglang}))
    assert built.keys == {"ssl-keyfile-password": "hush"}
    assert "hush" not in " ".join(built.argv)


@pytest.mark.parametrize(
    ("profile", "wanted", "program"),
    [
        ("tiny-cpu", "auto", "python"),
        ("tiny-cpu", True, "python"),
        ("tiny-cpu", False, "sglang"),
        ("06b-a10", "auto", "sglang"),
        ("06b-a10", True, "python"),
    ],
)
def test_children_are_forked_on_a_cpu_and_where_it_is_asked_for(
    profile: str, wanted: Any, program: str
) -> None:
    loaded = load_profile(profile)
    launch = loaded.launch.model_copy(update={"fast_start": wanted})
    built = command(loaded.model_copy(update={"launch": launch}))
    assert built.argv[0] == program
    if program == "python":
        assert built.argv[:5] == ("python", "-P", "-m", "sgl_embed_kit.fast_start", "serve")


def test_a_release_in_which_it_was_never_tried_starts_the_plain_way() -> None:
    assert command("tiny-cpu", version="0.5.20").argv[0] == "sglang"


def test_the_pasted_form_gives_the_keys_in_a_private_file_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "admin key").write_text("admin-secret\n")
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\nfor last; do :; done\nstat -c %a "$last" "${last%/*}"\ncat "$last"\n'
        'echo "config $last"\necho "inherited ${MY_KEY-nothing}"\necho "argv $*"\n'
    )
    fake.chmod(0o755)
    built = command(
        with_server(api_key_env="MY_KEY", admin_api_key_file=str(tmp_path / "admin key"))
    )
    assert built.argv[0] == "python"
    done = subprocess.run(
        ["sh", "-c", built.as_shell()],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{fake.parent}:/usr/bin:/bin", "MY_KEY": "my-secret"},
    )
    lines = done.stdout.splitlines()
    assert lines[:4] == ["600", "700", 'api-key: "my-secret"', 'admin-api-key: "admin-secret"']
    config = Path(lines[4].removeprefix("config "))
    assert lines[5] == "inherited nothing"
    assert "secret" not in lines[6]
    assert f"--config {config}" in lines[6]
    assert not config.parent.exists()
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("profile", "inherited", "allocator"),
    [
        ("06b-a10", {}, {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}),
        ("06b-a10", {"PYTORCH_CUDA_ALLOC_CONF": "x"}, {}),
        ("tiny-cpu", {}, {}),
    ],
)
def test_the_allocator_is_set_by_torchs_current_name_unless_somebody_chose(
    profile: str, inherited: dict[str, str], allocator: dict[str, str]
) -> None:
    env = command(profile, stand_in=None, inherited=inherited).env
    assert {k: v for k, v in env.items() if k in ALLOCATOR_VARIABLES} == allocator


def test_the_allocator_is_left_alone_by_the_profiles_wish_and_across_gpus() -> None:
    profile = load_profile("06b-a10")
    mine = profile.model_copy(update={"env": {"PYTORCH_CUDA_ALLOC_CONF": "mine"}})
    assert "PYTORCH_ALLOC_CONF" not in command(mine, stand_in=None).env
    spread = profile.model_copy(update={"parallel": ParallelSection(tensor=2)})
    assert "PYTORCH_ALLOC_CONF" not in command(spread, stand_in=None).env


def test_an_older_release_gets_the_names_of_its_time() -> None:
    profile = load_profile("06b-a10")
    built = build_command(
        profile, table("0.5.10.post1"), model_path="o/m", encoder=False, stand_in=None, inherited={}
    )
    assert built.env["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    assert built.env["SGLANG_REQ_WAITING_TIMEOUT"] == "600"
    oldest = build_command(
        profile, table("0.5.8"), model_path="o/m", encoder=False, stand_in=None, inherited={}
    )
    assert "SGLANG_REQ_WAITING_TIMEOUT" not in oldest.env


def test_a_folder_is_served_without_a_look_at_the_hub() -> None:
    assert command("tiny-cpu").env["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in command("06b-a10", stand_in=None).env


def test_texts_wait_as_long_as_the_profile_says() -> None:
    profile = load_profile("tiny-cpu")
    limits = profile.limits.model_copy(update={"max_waiting_seconds": 7.5})
    built = command(profile.model_copy(update={"limits": limits}))
    assert built.env["SGLANG_REQ_WAITING_TIMEOUT"] == "7.5"


def test_the_rust_front_end_of_the_machine_is_switched_off_for_the_guard() -> None:
    assert command(inherited={"SGLANG_RUST_SERVER": "1"}).env["SGLANG_RUST_SERVER"] == "0"
    assert "SGLANG_RUST_SERVER" not in command().env


def test_the_profiles_variables_stand_above_all_but_the_stand_in() -> None:
    profile = load_profile("tiny-cpu")
    wanted = {"SGLANG_TIMEOUT_KEEP_ALIVE": "9", "PYTHONPATH": "/theirs", "HF_HUB_OFFLINE": "0"}
    env = command(profile.model_copy(update={"env": wanted}), inherited={"PYTHONPATH": "/x"}).env
    assert env["SGLANG_TIMEOUT_KEEP_ALIVE"] == "9"
    assert env["HF_HUB_OFFLINE"] == "0"
    assert env["PYTHONPATH"] == f"{OVERLAY}:/theirs"
