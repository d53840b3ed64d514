"""What huggingface_hub takes from variables: its folders, and whether it may ask the hub.

Its own constants hold for the process that imports it. A server may have other variables, by
its profile; and that import takes 0.1 s.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from sgl_embed_kit.folders import expand_home

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


def hub_cache(env: Mapping[str, str] = os.environ) -> Path:
    """Return the folder in which huggingface_hub keeps what it fetches (constants.py of it)."""
    older = env.get("HUGGINGFACE_HUB_CACHE", f"{_home(env)}/hub")
    return Path(_expanded(env.get("HF_HUB_CACHE", older), env))


def token_file(env: Mapping[str, str] = os.environ) -> Path:
    """Return the file in which it keeps the token."""
    return Path(_expanded(env.get("HF_TOKEN_PATH", f"{_home(env)}/token"), env))


def offline_by(env: Mapping[str, str] = os.environ) -> str | None:
    """Return the variable by which it asks no hub; None where it may ask.

    The first that is set counts, whatever it says.
    """
    name = next((name for name in OFFLINE if env.get(name)), None)
    return name if name and _is_true(env[name]) else None


def sends_token(env: Mapping[str, str] = os.environ) -> bool:
    """Say whether it sends a token that it was not given by the program."""
    return not _is_true(env.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", ""))


def _is_true(text: str) -> bool:
    return text.upper() in {"1", "ON", "YES", "TRUE"}


def _home(env: Mapping[str, str]) -> str:
    above = env.get("XDG_CACHE_HOME", expand_home("~/.cache", env))
    return _expanded(env.get("HF_HOME", f"{above}/huggingface"), env)


def _expanded(path: str, env: Mapping[str, str]) -> str:
    """Return a path as os.path.expanduser and expandvars make it with these variables."""
    return _VARIABLE.sub(
        lambda found: env.get(found[1] or found[2], found[0]), expand_home(path, env)
    )
