"""Properties: any valid profile makes a command that SGLang's own parser takes; any input
to the loader ends in a profile or in sentences, never in a traceback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.model.bounds import bounds_or_none
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.plan.limits import beyond_model, settled_limits
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.loading import bundled_profiles
from sgl_embed_kit.profile.rules import contradictions
from sgl_embed_kit.sglang.arguments import WrongArgumentError, words_for
from sgl_embed_kit.sglang.command import (
    LARGEST_CHUNK,
    MEMORY_FRACTION,
    argument_faults,
    build_command,
)
from sgl_embed_kit.sglang.flag_history import table_of
from sgl_embed_kit.sglang.flags import Flag, FlagTable
from sgl_embed_kit.sglang.installed import find_installed
from sgl_embed_kit.sglang.tables import installed_table
from tests.real_sglang import Sglang, parsed_words

SHIPPED = [path.read_bytes() for path in bundled_profiles().values()]
TOKENS = [
    *(b"${A}", b"${", b"!x ", b"!!binary ", b"&a ", b"*a", b"<<: ", b"? ", b"---\n", b"|\n"),
    *(b"{", b"}", b"[", b"]", b": ", b"- ", b"\n", b"  ", b"\t", b"'", b'"', b"#", b"\0"),
    *(b"~", b"1e999", b"0x10", b".inf", b".nan", b"2026-13-01", b"extends: 06b-a10\n"),
]
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
                "chunked_prefill_size": st.just(-1) | st.integers(1, 10**5),
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


graph_settings = st.dictionaries(
    st.sampled_from(["backend", "max_bs", "bs", "max_seq_len", "tc_compiler"]),
    st.sampled_from(["full", "breakable", "disabled", "tc_piecewise"]) | st.integers(1, 512),
    max_size=3,
)
JUDGED: dict[str, st.SearchStrategy[Any]] = {
    "--kv-canary-real-data": st.sampled_from(["none", "partial", "all", "some"]),
    "--lora-paths": st.lists(
        st.sampled_from(["a", "a=/b", "{", "{}", "{a}", "", '{"lora_name": "a"}', "[]"])
        | st.just({"lora_name": "a", "lora_path": "/b", "pinned": True}),
        min_size=1,
        max_size=3,
    ),
    "--cuda-graph-config": st.dictionaries(
        st.sampled_from(["decode", "prefill", "verify"]), graph_settings | st.just(1), max_size=2
    )
    | st.sampled_from(["", "[]", "{", '"full"']),
}
"""Good and bad values of the flags that SGLang's own code judges, and so ours does."""


def values_of(flag: Flag) -> st.SearchStrategy[Any]:
    """Return values that a flag takes."""
    if flag.type == "switch":
        return st.booleans()
    if flag.names[0] in JUDGED:
        return JUDGED[flag.names[0]]
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
    table = newest()
    flags = [f for f in table.flags if not f.deprecated and f.names[0] != "--config"]
    chosen = draw(st.lists(st.sampled_from(flags), max_size=6, unique_by=lambda f: f.names[0]))
    return {flag.names[0][2:]: draw(values_of(flag)) for flag in chosen}


@pytest.mark.server
@settings(max_examples=300, deadline=None, suppress_health_check=SHARED)
@given(content=sections, extra=extra_args(), encoder=st.booleans())
def test_sglangs_parser_takes_the_command_of_any_valid_profile(
    sglang_parser: Sglang, content: dict[str, Any], extra: dict[str, Any], encoder: bool
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
    parsed = sglang_parser.ask(parsed_words(built.argv), in_place=True)
    limits, parallel = profile.limits, profile.parallel
    assert parsed["model_path"] == profile.model.path
    assert parsed["served_model_name"] == profile.model.name
    assert parsed["is_embedding"] is True
    assert parsed["port"] == profile.server.port
    assert parsed["host"] == profile.server.host
    assert parsed["dtype"] == profile.model.dtype
    assert parsed["tp_size"] == parallel.tensor
    assert parsed["dp_size"] == parallel.data
    assert parsed["context_length"] == limits.context_length
    assert parsed["max_total_tokens"] == limits.max_total_tokens
    assert parsed["max_running_requests"] == limits.max_running_requests
    assert parsed["max_queued_requests"] == limits.max_queued_requests
    assert parsed["disable_radix_cache"] is (encoder or bool(extra.get("disable-radix-cache")))
    chunk = -1 if encoder else limits.chunked_prefill_size
    assert parsed["chunked_prefill_size"] == chunk
    is_wide = chunk is not None and (chunk == -1 or chunk > LARGEST_CHUNK)
    fraction = MEMORY_FRACTION if is_wide else None
    assert parsed["mem_fraction_static"] == (limits.mem_fraction_static or fraction)


def some_of(values: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a mapping with about half of the keys; Hypothesis's `optional` draws far fewer."""
    every = st.fixed_dictionaries({key: st.none() | value for key, value in values.items()})
    return every.map(lambda drawn: {k: v for k, v in drawn.items() if v is not None})


# Within what the tiny model can do, so that few examples are thrown away.
limits_on_a_cpu = some_of(
    {
        "context_length": st.integers(8, 4096),
        "mem_fraction_static": st.floats(0.05, 0.95),
        "max_total_tokens": st.integers(4096, 10**6),
        "max_running_requests": st.integers(1, 10**4),
        "max_queued_requests": st.integers(1, 10**4),
        "max_waiting_seconds": st.floats(0.5, 10**4),
        "chunked_prefill_size": st.just(-1) | st.integers(1, 10**4) | st.sampled_from([64, 4096]),
    },
)
useful_on_a_cpu = some_of(
    {
        "enable-metrics": st.booleans(),
        "log-level": st.sampled_from(["debug", "info", "warning"]),
        "watchdog-timeout": st.floats(1, 10**4),
        "enable-tokenizer-batch-encode": st.booleans(),
        "schedule-policy": st.sampled_from(["fcfs", "lpm", "random"]),
        "max-prefill-tokens": st.integers(1024, 10**5) | st.just("16k"),
        "disable-overlap-schedule": st.booleans(),
        "page-size": st.sampled_from([16, 64]),
        "random-seed": st.integers(0, 2**31 - 1),
        "skip-server-warmup": st.booleans(),
        "tokenizer-mode": st.sampled_from(["auto", "slow"]),
        "load-format": st.sampled_from(["auto", "safetensors"]),
        "kv-cache-dtype": st.just("auto"),
        "extra-metric-labels": st.just({"team": "search"}),
    },
)


@pytest.mark.server
@settings(max_examples=200, deadline=None, suppress_health_check=SHARED)
@given(content=sections, limits=limits_on_a_cpu, extra=useful_on_a_cpu, encoder=st.booleans())
def test_sglang_resolves_the_command_of_any_valid_profile_for_the_cpu(
    sglang_resolver: Sglang,
    tiny_folder: Path,
    content: dict[str, Any],
    limits: dict[str, Any],
    extra: dict[str, Any],
    encoder: bool,
) -> None:
    content = {
        **content,
        "limits": limits,
        "model": {**content["model"], "path": str(tiny_folder)},
        "hardware": {"device": "cpu"},
        "sglang": {"extra_args": extra},
    }
    content.pop("parallel", None)
    profile = Profile.model_validate(content)
    bounds = bounds_or_none(locate(profile.model.path))
    assert bounds is not None
    assume(not [*contradictions(profile), *beyond_model(profile, bounds)])
    profile = profile.model_copy(update={"limits": settled_limits(profile.limits, bounds)})
    built = build_command(
        profile,
        newest(),
        model_path=profile.model.path,
        encoder=encoder,
        stand_in=OVERLAY,
        inherited={},
    )
    resolved = sglang_resolver.ask(parsed_words(built.argv))
    settled = profile.limits
    assert resolved["context_length"] == settled.context_length
    assert resolved["max_total_tokens"] == settled.max_total_tokens
    assert resolved["max_running_requests"] == settled.max_running_requests
    assert resolved["max_queued_requests"] == settled.max_queued_requests
    assert resolved["served_model_name"] == profile.model.name
    assert resolved["port"] == profile.server.port
    assert resolved["is_embedding"] is True
    assert resolved["device"] == "cpu"
    assert resolved["attention_backend"] == "torch_native"
    assert resolved["disable_radix_cache"] is encoder
    if encoder:
        assert resolved["chunked_prefill_size"] == -1
    elif settled.chunked_prefill_size is not None:
        assert resolved["chunked_prefill_size"] == settled.chunked_prefill_size
    if settled.mem_fraction_static is not None:
        assert resolved["mem_fraction_static"] == settled.mem_fraction_static
    assert 0 < resolved["mem_fraction_static"] < 1


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


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a shipped profile with a few of its bytes changed, dropped or doubled."""
    raw = draw(st.sampled_from(SHIPPED))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 12)))
        put = st.binary(max_size=4) | st.just(raw[start:end] * 2) | st.sampled_from(TOKENS)
        raw = raw[:start] + draw(put) + raw[end:]
    return raw


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SHARED)
@given(raw=mutated())
def test_any_mutation_of_a_shipped_profile_loads_or_is_refused_in_sentences(
    tmp_path: Path, raw: bytes
) -> None:
    _load(tmp_path, raw)


def _load(folder: Path, raw: bytes) -> None:
    path = folder / "fuzzed.yaml"
    path.write_bytes(raw)
    try:
        read_runnable(str(path), (), None)
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
