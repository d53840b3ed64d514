"""What the schema alone cannot say: secrets, unsafe keys, and keys that contradict others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any

import yaml

from sgl_embed_kit.profile.problems import Place, name_of
from sgl_embed_kit.profile.schema import Profile

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
        if secret and place not in expanded:
            variable = f"${{{_variable(name)}}}"
            yield place, f"`{name}` is a secret, and a profile holds none; write {variable}"
        elif not allow_unsafe and _matches("unsafe", kind, name):
            danger = "could run foreign code or disarm checks"
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
    if extra.get("tokenizer-worker-num", 1) != 1 and profile.guard.enabled:
        yield (
            ("sglang", "extra_args", "tokenizer-worker-num"),
            "SGLang's extra HTTP workers never load the guard: 1, or guard.enabled: false",
        )
    for flag in ("smg-grpc-mode", "grpc-mode", "grpc-port"):
        if extra.get(flag) and profile.guard.enabled:
            yield (
                ("sglang", "extra_args", flag),
                "the guard does not watch gRPC: without it, or guard.enabled: false",
            )
    if profile.env.get("SGLANG_RUST_SERVER", "0") not in {"", "0"} and profile.guard.enabled:
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


@cache
def _sensitive() -> dict[str, dict[str, list[str]]]:
    text = resources.files(__package__).joinpath("sensitive.yaml").read_text(encoding="utf-8")
    content: dict[str, dict[str, list[str]]] = yaml.safe_load(text)
    return content
