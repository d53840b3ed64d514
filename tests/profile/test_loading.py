"""Reading profiles: right ones load, wrong ones say where and why."""

from pathlib import Path

import pytest

from sgl_embed_kit.errors import ExitCode, ProfileError
from sgl_embed_kit.profile import Profile, load_profile
from sgl_embed_kit.profile.loading import bundled_profiles
from sgl_embed_kit.profile.problems import InvalidProfileError
from sgl_embed_kit.profile.schema import LimitsSection
from sgl_embed_kit.profile.yaml_file import MAX_BYTES


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    """Return the problems of a profile, as line:column: text."""
    path = tmp_path / "profile.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InvalidProfileError) as caught:
        load_profile(str(path))
    assert caught.value.exit_code is ExitCode.USAGE
    return [f"{p.origin.line}:{p.origin.column}: {p.text}" for p in caught.value.problems]


@pytest.mark.parametrize("name", sorted(bundled_profiles()))
def test_every_bundled_profile_loads_by_name_and_by_path(name: str) -> None:
    assert load_profile(name) == load_profile(str(bundled_profiles()[name]))


def test_all_problems_come_in_one_go_with_their_places(tmp_path: Path) -> None:
    text = "model:\n  pth: x\n  dtype: int8\nserver: {port: 99999}\nlimit: 3\n"
    assert problems(tmp_path, text) == [
        "2:3: `model.pth` is not a key of a profile; did you mean `path`?",
        "3:3: `model.dtype` is 'int8': must be auto, half, float16, bfloat16, float or float32",
        "4:10: `server.port` is 99999: must be at most 65535",
        "5:1: `limit` is not a key of a profile; did you mean `limits`?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: the file is empty; it needs `model:`"),
        ("# only a comment\n", "1:1: the file is empty; it needs `model:`"),
        ("- a\n- b\n", "1:1: a profile is a mapping of sections"),
        ("model: {path: x\n", "2:1: expected ',' or '}', but got '<stream end>'"),
        ("model:\n\tpath: x\n", "2:1: a tab; YAML takes only spaces for indentation"),
        ("model: {path: x}\nmodel: {path: y}\n", "2:1: `model` stands here for the second time"),
        ("model: {path: &a x, dtype: *a}\n", "1:28: anchors and aliases are not allowed in a "),
        ("model: {path: x}\n? [1]\n: 2\n", "2:3: a key must be a plain word"),
        (
            "model: {path: !!python/name:os.system x}\n",
            "1:15: the tag !!python/name:os.sys",
        ),
        ("model: {path: x}\nserver: {port: 2026-99-99}\n", "2:16: no date: month must be in 1..12"),
        (b"model:\n  path: \xff\n", "2:9: not UTF-8 text"),
        ("model: {path: ''}\n", "1:9: `model.path` is '': must not be empty"),
        ("model: {path: x, served_name: 'a:b'}", "1:18: `model.served_name` is 'a:b': must not"),
        (
            "model: {path: x}\nserver: {port: '80'}\n",
            "2:10: `server.port` is '80': must be",
        ),
        ("model: {path: x}\nlimits: 3\n", "2:1: `limits` is 3: must hold keys with values"),
    ],
)
def test_each_fault_is_named_where_it_stands(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(expected)


def test_deep_nesting_is_an_error_and_no_crash(tmp_path: Path) -> None:
    assert problems(tmp_path, "model: " + "[" * 5000) == ["1:1: nested too deep"]


def test_a_file_of_more_than_a_mebibyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ProfileError, match="larger than 1 MiB"):
        load_profile(str(path))


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(str(tmp_path))


def test_a_misspelt_name_is_answered_with_the_nearest_profile() -> None:
    with pytest.raises(ProfileError, match="no profile minilm-cpv") as caught:
        load_profile("minilm-cpv")
    assert caught.value.cure == "sgl-embed launch minilm-cpu"


@pytest.mark.parametrize(
    ("path", "kept", "name"),
    [
        ("Qwen/Qwen3-Embedding-0.6B/", "Qwen/Qwen3-Embedding-0.6B", "Qwen3-Embedding-0.6B"),
        ("/models/e5//", "/models/e5", "e5"),
        ("demo:all-minilm-l6-v2", "demo:all-minilm-l6-v2", "all-minilm-l6-v2"),
        ("tiny:", "tiny:", "tiny"),
    ],
)
def test_a_trailing_slash_goes_and_the_name_comes_from_the_path(
    tmp_path: Path, path: str, kept: str, name: str
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"model: {{path: '{path}'}}\n")
    model = load_profile(str(file)).model
    assert (model.path, model.name) == (kept, name)


def test_a_section_whose_keys_are_all_commented_out_is_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("model: {path: x}\nlimits:\n  # context_length: 512\nenv:\n")
    profile = load_profile(str(path))
    assert profile.limits == LimitsSection()
    assert profile.env == {}


def test_a_key_is_hidden_even_where_it_stands_for_its_name(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "model: {path: x}\nserver: {api_key_env: 0123-secret}\n")
    assert "secret" not in problem


@pytest.mark.parametrize(
    "section", ["server: {api_key: abc}", "sglang: {extra_args: {api-key: a}}"]
)
def test_a_key_in_the_profile_is_told_where_keys_come_from(tmp_path: Path, section: str) -> None:
    (problem,) = problems(tmp_path, f"model: {{path: x}}\n{section}\n")
    assert "write the name of a variable, as server.api_key_env" in problem


def test_a_profile_may_have_every_section(tmp_path: Path) -> None:
    path = tmp_path / "whole.yaml"
    path.write_text(
        "model: {path: Qwen/Qwen3-Embedding-0.6B, served_name: qwen3, dtype: auto}\n"
        "server: {host: 127.0.0.1, port: 30000, api_key_env: KEY, drain_seconds: 30}\n"
        "hardware: {device: cuda, gpu: A10, gpus: 1}\n"
        "parallel: {tensor: 1, data: 1}\n"
        "limits: {context_length: 8192, mem_fraction_static: 0.60, chunked_prefill_size: 8192}\n"
        "embedding: {dimensions: 1024, matryoshka: true}\n"
        "guard: {enabled: true, required: false, strict_model: false, allow_routes: []}\n"
        "launch: {fast_start: auto, timeout_seconds: 600}\n"
        "restart: {policy: never}\n"
        "watchdog: {enabled: true}\n"
        "doctor: {ignore: {SGE-SHM-001: why}}\n"
        'sglang: {version: ">=0.5.12", extra_args: {attention-backend: triton}}\n'
        "env: {}\n"
    )
    assert load_profile(str(path)).model_fields_set == set(Profile.model_fields)
