"""What huggingface_hub takes from variables: as its own constants have it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.model.hub_token import hub_token
from sgl_embed_kit.model.hub_variables import hub_cache, offline_by, sends_token, token_file

ITS_OWN = """
import json, os, sys
worlds = json.load(sys.stdin)
said = []
for env in worlds:
    for name in list(os.environ):
        del os.environ[name]
    os.environ.update(env)
    sys.modules.pop("huggingface_hub.constants", None)
    from importlib import import_module
    c = import_module("huggingface_hub.constants")
    said.append(
        [c.HF_HUB_CACHE, c.HF_TOKEN_PATH, c.HF_HUB_OFFLINE, c.HF_HUB_DISABLE_IMPLICIT_TOKEN]
    )
print(json.dumps(said))
"""
HOME = {"HOME": "/home/alice"}
WORLDS: list[dict[str, str]] = [
    HOME,
    {"HOME": "/"},
    {"HOME": "/home/alice/"},
    {**HOME, "HF_HOME": "~/hf"},
    {**HOME, "HF_HOME": "$DATA/hf", "DATA": "/data"},
    {**HOME, "HF_HOME": "${DATA}/$NONE", "DATA": "/data"},
    {**HOME, "HF_HOME": "~nobody-of-this-name/hf"},
    {**HOME, "XDG_CACHE_HOME": "/xdg"},
    {**HOME, "XDG_CACHE_HOME": "/xdg", "HF_HOME": "/hf"},
    {**HOME, "HUGGINGFACE_HUB_CACHE": "/older"},
    {**HOME, "HUGGINGFACE_HUB_CACHE": "/older", "HF_HUB_CACHE": "~"},
    {**HOME, "HF_HUB_CACHE": "relative"},
    {**HOME, "HF_TOKEN_PATH": "~/token"},
    {**HOME, "HF_HUB_OFFLINE": "1"},
    {**HOME, "HF_HUB_OFFLINE": "on"},
    {**HOME, "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"},
    {**HOME, "HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "Yes"},
    {**HOME, "TRANSFORMERS_OFFLINE": "no"},
    {**HOME, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "true"},
    {**HOME, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"},
]


def test_it_is_what_huggingface_hub_itself_makes_of_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ITS_OWN],
        input=json.dumps(WORLDS),
        capture_output=True,
        text=True,
        check=True,
    )
    for env, its_own in zip(WORLDS, json.loads(done.stdout), strict=True):
        told = [str(hub_cache(env)), str(token_file(env))]
        assert [*told, offline_by(env) is not None, not sends_token(env)] == its_own, env


def test_the_variable_that_keeps_it_offline_is_named() -> None:
    assert offline_by({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}) == "HF_HUB_OFFLINE"
    assert offline_by({"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "1"}) == "TRANSFORMERS_OFFLINE"
    assert offline_by({}) is None


@pytest.mark.parametrize(
    ("env", "value"),
    [
        ({"HF_TOKEN": "hf_a"}, "hf_a"),
        ({"HF_TOKEN": " ", "HUGGING_FACE_HUB_TOKEN": "hf_b"}, "hf_b"),
        ({"HF_TOKEN": "hf_a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, None),
        ({}, "hf_of_the_file"),
    ],
)
def test_the_token_is_that_of_the_variables(
    tmp_path: Path, env: dict[str, str], value: str | None
) -> None:
    (tmp_path / "token").write_text("hf_of_the_file\n")
    found = hub_token({"HF_HOME": str(tmp_path), **env})
    assert (found.value if found else None) == value
