"""Properties: any valid profile makes a command that SGLang's own parser takes; any input
to the loader ends in a profile or in sentences, never in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.profile import Profile, read_profile
from sgl_embed_kit.profile.rules import contradictions
from sgl_embed_kit.sglang.arguments import WrongArgumentError, words_for
from sgl_embed_kit.sglang.command import argument_faults, build_command
from sgl_embed_kit.sglang.flag_history import table_of
from sgl_embed_kit.sglang.flags import Flag, FlagTable
from sgl_embed_kit.sglang.installed import find_installed
from sgl_embed_kit.sglang.tables import installed_table

SHARED = [HealthCheck.function_scoped_fixture]
EXAMPLES = int(os.environ.get("SGL_EMBED_FUZZ", "150"))
"""Inputs a test; once in a while, run this file with SGL_EMBED_FUZZ=10000."""

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._/ 苹", min_size=1, max_size=24)
optional = st.none()

sections = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"path": names.filter(lambda n: n.strip("/ ") and n[0] != "-")},
            optional={
                "served_name": names.filter(lambda n: n.strip() and n[0] != "-"),
                "dtype": st.sampled_from(["auto", "half", "bfloat16", "float32"]),
            },
        ),
        "hardware": st.fixed_dictionaries({"gpus": st.integers(1, 8)}),
    },
    optional={
        "server": st.fixed_dictionaries(
            {}, optional={"port": st.integers(1, 65535), "host": st.ip_addresses().map(str)}
        ),
        "parallel": st.fixed_dictionaries(
            {}, optional={"tensor": st.integers(1, 8), "data": st.integers(1, 8)}
        ),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "context_length": st.integers(8, 10**6),
                "mem_fraction_static": st.floats(0.01, 0.99),
                "max_total_tokens": st.integers(64, 10**7),
                "max_running_requests": st.integers(1, 10**4),
                "max_queued_requests": st.integers(1, 10**4),
                "chunked_prefill_size": st.integers(-1, 10**5),
            },
        ),
        "embedding": st.fixed_dictionaries({}, optional={"matryoshka": st.booleans()}),
    },
)


def newest() -> FlagTable:
    installed = find_installed()
    table = installed_table(installed) if installed else table_of("0.5.23")
    assert table is not None
    return table


def values_of(flag: Flag) -> st.SearchStrategy[Any]:
    """Return values that a flag takes."""
    if flag.type == "switch":
        return st.booleans()
    single: st.SearchStrategy[Any]
    if flag.choices is not None:
        single = st.sampled_from(flag.choices)
    else:
        single = {
            "int": st.integers(1, 10**6),
            "size": st.integers(1, 10**6) | st.sampled_from(["8k", "1.5k", "2Ki"]),
            "float": st.floats(0, 10, allow_nan=False),
            "json": st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
            "str": st.text("abc def", min_size=1, max_size=9),
        }[flag.type]
    return single if flag.nargs in {"1", "?"} else st.lists(single, min_size=1, max_size=3)


@st.composite
def extra_args(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a few flags with values that the table says they take."""
    # What these take is decided by code that runs, which the table cannot know.
    by_code = {
        "--config",
        "--cuda-graph-backend-decode",
        "--cuda-graph-backend-prefill",
        "--cuda-graph-config",
        "--kv-canary-real-data",
        "--lora-paths",
        "--reasoning-parser",
        "--tool-call-parser",
    }
    table = newest()
    flags = [f for f in table.flags if not f.deprecated and f.names[0] not in by_code]
    chosen = draw(st.lists(st.sampled_from(flags), max_size=6, unique_by=lambda f: f.names[0]))
    return {flag.names[0][2:]: draw(values_of(flag)) for flag in chosen}


PARSE = """
import argparse, json, sys
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
print("ready", flush=True)
for line in sys.stdin:
    try:
        parsed = parser.parse_args(json.loads(line))
        print(json.dumps({k: str(v) for k, v in vars(parsed).items()}), flush=True)
    except SystemExit:
        print("refused", flush=True)
"""


@pytest.fixture(scope="module")
def parser() -> Iterator[subprocess.Popen[str]]:
    """SGLang's real parser, in a process of its own that takes one argv a line."""
    if find_installed() is None:
        pytest.skip("SGLang is not installed; get it with: make test")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PARSE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(OVERLAY), "SGLANG_USE_CPU_ENGINE": "1"},
    )
    with process:
        assert process.stdout is not None
        assert any(line == "ready\n" for line in process.stdout)
        yield process
        process.kill()


def parse(parser: subprocess.Popen[str], argv: list[str]) -> dict[str, str]:
    """Return what the real parser makes of an argv, which it must accept."""
    assert parser.stdin is not None
    assert parser.stdout is not None
    parser.stdin.write(json.dumps(argv) + "\n")
    parser.stdin.flush()
    for line in parser.stdout:
        if line.startswith("{"):
            result: dict[str, str] = json.loads(line)
            return result
        assert line != "refused\n", argv
    raise AssertionError("the parser ended")


@pytest.mark.server
@settings(max_examples=300, deadline=None, suppress_health_check=SHARED)
@given(content=sections, extra=extra_args(), encoder=st.booleans())
def test_sglangs_parser_takes_the_command_of_any_valid_profile(
    parser: subprocess.Popen[str], content: dict[str, Any], extra: dict[str, Any], encoder: bool
) -> None:
    content["sglang"] = {"extra_args": extra}
    table = newest()
    owned = {str(place[-1]) for place, _ in argument_faults(content, table)}
    content["sglang"] = {"extra_args": {k: v for k, v in extra.items() if k not in owned}}
    assert list(argument_faults(content, table)) == []
    profile = Profile.model_validate(content)
    if list(contradictions(profile)):
        return
    built = build_command(
        profile, table, model_path=profile.model.path, encoder=encoder, stand_in=None, inherited={}
    )
    assert built.argv[:4] == ("sglang", "serve", "--model-type", "llm")
    parsed = parse(parser, list(built.argv[4:]))
    limits, parallel = profile.limits, profile.parallel
    assert parsed["model_path"] == profile.model.path
    assert parsed["served_model_name"] == profile.model.name
    assert parsed["is_embedding"] == "True"
    assert parsed["port"] == str(profile.server.port)
    assert parsed["host"] == profile.server.host
    assert parsed["dtype"] == profile.model.dtype
    assert parsed["tp_size"] == str(parallel.tensor)
    assert parsed["dp_size"] == str(parallel.data)
    assert parsed["context_length"] == str(limits.context_length)
    assert parsed["max_total_tokens"] == str(limits.max_total_tokens)
    assert parsed["max_queued_requests"] == str(limits.max_queued_requests)
    if encoder:
        assert parsed["chunked_prefill_size"] == "-1"
        assert parsed["disable_radix_cache"] == "True"
    if limits.mem_fraction_static is not None:
        assert float(parsed["mem_fraction_static"]) == limits.mem_fraction_static


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
section_names = st.sampled_from([*Profile.model_fields, "extends", "modl"])


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=SHARED,
)
@given(data=st.dictionaries(section_names, anything, max_size=6))
def test_any_mapping_loads_or_is_refused_in_sentences(tmp_path: Path, data: Any) -> None:
    _load(tmp_path, yaml.safe_dump(data, allow_unicode=True).encode())


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=SHARED,
)
@given(
    raw=st.binary(max_size=200)
    | st.text("model:path{}[]&*!|>#%@`'\"\\\t\n -?,0.:$", max_size=80).map(str.encode)
)
def test_any_bytes_load_or_are_refused_in_sentences(tmp_path: Path, raw: bytes) -> None:
    _load(tmp_path, raw)


def _load(folder: Path, raw: bytes) -> None:
    path = folder / "fuzzed.yaml"
    path.write_bytes(raw)
    try:
        read_profile(str(path), env={})
    except KitError as error:
        assert error.what
        assert "Traceback" not in error.why


@settings(max_examples=EXAMPLES, deadline=None)
@given(name=st.text(max_size=30), value=anything)
def test_any_argument_becomes_words_or_is_refused_in_a_sentence(name: str, value: Any) -> None:
    table = table_of("0.5.23")
    assert table is not None
    try:
        words = words_for(table, name, value)
    except WrongArgumentError as error:
        assert str(error)
    else:
        assert all(isinstance(word, str) for word in words)
