"""What a fix may be: one command to paste, or one edit of a profile."""

from __future__ import annotations

import re
import shlex

import yaml
from pydantic import ValidationError

from sgl_embed_kit.profile import Profile

_NAMES = """
apt-get cat certbot chmod chown curl df docker du export find free git hf kill ldconfig ln ls lsof
mkdir modelscope mount mv nproc nvidia-smi openssl pip ps python python3.12 rm sgl-embed ss ssh sudo
sysctl systemctl timedatectl ulimit umask unset uname
"""
PROGRAMS = frozenset(_NAMES.split())
"""What a fix may call: programs of Linux, of NVIDIA's driver and of Python's packages."""
HARMFUL = re.compile(
    r"--gpu-reset|--disable-flash-attn|fuser -k|OVERWRITE_LONGER_CONTEXT_LEN\W+(1|t|y)",
    re.IGNORECASE,
)
"""Cures of other people that do harm, or do not exist (P12 and P27 in tests/pitfalls.yaml)."""


def is_command(fix: str) -> bool:
    """Say whether a fix is one line that a shell takes and that begins with a program."""
    try:
        words = shlex.split(fix.lstrip("("), comments=True)
    except ValueError:
        return False
    return "\n" not in fix and bool(words) and words[0].rstrip(";") in PROGRAMS


def is_edit(fix: str) -> bool:
    """Say whether a fix is YAML that a profile may hold."""
    try:
        edit = yaml.safe_load(fix)
        if not isinstance(edit, dict):
            return False
        model = edit.get("model", {})
        whole = {"path": "tiny:", **model} if isinstance(model, dict) else model
        Profile.model_validate({**edit, "model": whole})
    except (yaml.YAMLError, ValidationError):
        return False
    return True


def is_pasteable(fix: str) -> bool:
    """Say whether a fix can be pasted, and does no harm."""
    return (is_command(fix) or is_edit(fix)) and not HARMFUL.search(fix)
