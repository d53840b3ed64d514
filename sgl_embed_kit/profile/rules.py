"""What the schema alone cannot say: secrets, unsafe keys, and keys that contradict others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from sgl_embed_kit.data_files import data_file
from sgl_embed_kit.profile.problems import Place, name_of
from sgl_embed_kit.profile.schema import KEY_FIELDS, Profile

OFF = frozenset({"", "0", "false", "no", "n"})
Fault = tuple[Place, str]
"""A place in the profile, and what is wrong there."""


def sensitive_faults(
    data: Mapping[str, Any], expanded: frozenset[Place], *, allow_unsafe: bool
) -> Iterator[Fault]:
    """Yield what a profile must not hold: secrets, and what could run foreign code.

    Args:
        data: The profile's content before it is validated.
        expanded: Places whose value came from the environment.
        allow_unsafe: Whether the user asked to allow what could run code.
    """
    for place, value in _leaves(data, ()):
        kind = {"sglang.extra_args": "flags", "env": "env"}.get(name_of(place[:-1]), "")
        name = str(place[-1])
        secret = _matches("secret", kind, name) or _looks_like_a_secret(name, value)
        if name in KEY_FIELDS:
            continue  # they name where a key is
        if secret and place not in expanded:
            instead = f"${{{_variable(name)}}}"
            named = f"{name.replace('-', '_')}_env"
            if named in KEY_FIELDS:
                instead = f"the name of a variable, as server.{named}"
            yield place, f"`{name}` is a secret, and a profile holds none; write {instead}"
        elif not allow_unsafe and _matches("unsafe", kind, name):
            danger = "could run foreign code, delete files or disarm checks"
            yield place, f"`{name}` {danger}; it needs --allow-unsafe"


def contradictions(profile: Profile) -> Iterator[Fault]:
    """Yield keys of a valid profile that cannot both be meant."""
    limits, parallel, extra = profile.limits, profile.parallel, profile.sglang.extra_args
    needed = parallel.tensor * parallel.data
    if profile.hardware.device == "cuda" and needed > profile.hardware.gpus:
        yield (
            ("parallel",),
            f"tensor {parallel.tensor} x data {parallel.data} needs {needed} GPUs, "
            f"hardware.gpus is {profile.hardware.gpus}",
        )
    if profile.hardware.device == "cpu" and needed > 1:
        yield ("parallel",), "a server on the CPU is not spread over GPUs"
    if profile.hardware.device == "cpu" and profile.hardware.gpu is not None:
        yield ("hardware", "gpu"), "a profile for the CPU names no GPU"
    pool, context = limits.max_total_tokens, limits.context_length
    if pool is not None and context is not None and pool < context:
        yield (
            ("limits", "max_total_tokens"),
            f"a KV pool of {pool} tokens is smaller than the context of {context}: "
            "one text longer than the pool would hang the server",
        )
    yield from _parts_that_exclude_each_other(profile)
    for key, source in profile.server.keys.items():
        if source.env is not None and source.file is not None:
            name = key.replace("-", "_")
            yield (
                ("server", f"{name}_file"),
                f"the key comes from {name}_env or from {name}_file, not from both",
            )
    page = extra.get("page-size", 1)
    chunk = limits.chunked_prefill_size or -1
    if isinstance(page, int) and page > 0 and chunk > 0 and chunk % page:
        yield (
            ("limits", "chunked_prefill_size"),
            f"{chunk} tokens are no multiple of the page size, which is {page}",
        )


def _parts_that_exclude_each_other(profile: Profile) -> Iterator[Fault]:
    """Yield parts of SGLang that cannot run together, or not with the guard or a key.

    SGLang 0.5.23 refuses a key in its multi-tokenizer mode (init_multi_tokenizer in
    srt/entrypoints/http_server.py) and with gRPC (handle_deprecated_args in
    srt/arg_groups/serving_hook.py); neither runs the hooks that the guard lives in.
    """
    extra, guarded = profile.sglang.extra_args, profile.guard.enabled
    if extra.get("tokenizer-worker-num", 1) != 1:
        place: Place = ("sglang", "extra_args", "tokenizer-worker-num")
        if guarded:
            yield (
                place,
                "SGLang's extra HTTP workers never load the guard: 1, or guard.enabled: false",
            )
        if profile.server.keys:
            yield place, "SGLang's extra HTTP workers cannot check a key: 1, or no key"
    for section, flag in (
        ("sglang.extra_args", "smg-grpc-mode"),
        ("sglang.extra_args", "grpc-mode"),
        ("sglang.extra_args", "grpc-port"),
        ("env", "SGLANG_GRPC_PORT"),
    ):
        place = (*section.split("."), flag)
        if not (profile.env if section == "env" else extra).get(flag):
            continue
        if guarded:
            yield place, "the guard does not watch gRPC: without it, or guard.enabled: false"
        if profile.server.keys:
            yield place, "SGLang's gRPC door asks for no key: without it, or no key"
    if profile.env.get("SGLANG_RUST_SERVER", "0").lower() not in OFF and guarded:
        yield (
            ("env", "SGLANG_RUST_SERVER"),
            "the guard does not load in SGLang's Rust front end: without it, or "
            "guard.enabled: false",
        )


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*place, index))
    elif place:
        yield place, value


def _matches(group: str, kind: str, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _sensitive()[group].get(kind, ()))


def _looks_like_a_secret(name: str, value: Any) -> bool:
    if name in {"api_key", "admin_api_key", "password", "token"}:
        return True
    patterns = _sensitive()["secret"]["values"]
    return isinstance(value, str) and any(fnmatchcase(value, pattern) for pattern in patterns)


def _variable(name: str) -> str:
    """Return a name for the environment variable that should hold a secret."""
    return name if name.isupper() else f"SGL_EMBED_{name.upper().replace('-', '_')}"


def is_secret_flag(name: str) -> bool:
    """Say whether a flag of SGLang carries a secret, which must not stand in an argv."""
    return _matches("secret", "flags", name)


@cache
def _sensitive() -> dict[str, dict[str, list[str]]]:
    content: dict[str, dict[str, list[str]]] = data_file(__package__, "sensitive.yaml")
    return content
