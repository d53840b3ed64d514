"""Build the command that serves a profile: argv, and what is added to the environment."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import GUARD_PLUGIN

KEEP_ALIVE_SECONDS = 75
"""SGLang closes an idle connection after 5 s, sooner than proxies and clients expect,
which then see sporadic resets (SGLANG_TIMEOUT_KEEP_ALIVE, srt/environ.py)."""

ENCODER_MEMORY_FRACTION = 0.5


@dataclass(frozen=True)
class Command:
    """What starts a server.

    Attributes:
        argv: The program and its arguments.
        env: Variables to set on top of the environment that it inherits.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]

    def as_shell(self) -> str:
        """Return the command as lines that can be pasted into a POSIX shell."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.env.items()]
        words.append(f"{self.argv[0]} {self.argv[1]}")
        arguments = list(self.argv[2:])
        while arguments:
            flag = arguments.pop(0)
            if arguments and not arguments[0].startswith("--"):
                words.append(f"{flag} {shlex.quote(arguments.pop(0))}")
            else:
                words.append(flag)
        return " \\\n  ".join(words)


def build_command(
    profile: Profile,
    *,
    model_path: str,
    encoder: bool,
    stand_in: Path | None,
    inherited: Mapping[str, str] = os.environ,
) -> Command:
    """Return the command for a profile.

    Args:
        profile: What the user asks for.
        model_path: What SGLang shall load: a folder, or a repository id.
        encoder: Whether attention is bidirectional, so that prefix cache and chunked
            prefill would give wrong vectors (facts measured on SGLang 0.5.23 with BERT).
        stand_in: Folder with the CPU engine's `sgl_kernel`, or None to use the real one.
        inherited: The environment that the server will inherit; some variables in it
            are added to rather than replaced.
    """
    flags: dict[str, object] = {
        "--model-path": model_path,
        "--revision": profile.model.revision if model_path == profile.model.path else None,
        # Without it `sglang serve` asks the hub whether this is a diffusion model.
        "--model-type": "llm",
        "--served-model-name": profile.model.name,
        "--is-embedding": True,
        "--host": profile.server.host,
        "--port": profile.server.port,
        "--dtype": profile.model.dtype,
        "--context-length": profile.limits.context_length,
        "--mem-fraction-static": _memory_fraction(profile, encoder),
        "--max-total-tokens": profile.limits.max_total_tokens,
        "--max-running-requests": profile.limits.max_running_requests,
        "--chunked-prefill-size": -1 if encoder else profile.limits.chunked_prefill_size,
        "--disable-radix-cache": encoder,
        "--json-model-override-args": (
            json.dumps({"is_matryoshka": True}) if profile.embedding.matryoshka else None
        ),
        "--device": profile.hardware.device,
        "--attention-backend": "torch_native" if stand_in else None,
        # An idle scheduler polls without a pause: a whole core of 2 to 16, for nothing.
        "--sleep-on-idle": profile.hardware.device == "cpu",
    }
    argv = ["sglang", "serve"]
    for flag, value in flags.items():
        if value is True:
            argv.append(flag)
        elif value is not None and value is not False:
            argv += [flag, str(value)]
    return Command(tuple(argv), _environment(profile, stand_in, inherited))


def _memory_fraction(profile: Profile, encoder: bool) -> float | None:
    """Return the share of memory to give SGLang; None leaves it to SGLang.

    Its default reserves 1.5 MB for each token of a prefill chunk, and 16384 tokens where
    chunked prefill is off: more than 24 GB, so that the share goes below zero on a small
    machine (srt/arg_groups/memory_hook.py; seen on a CPU with 25 GB).
    """
    if profile.limits.mem_fraction_static is None and encoder:
        return ENCODER_MEMORY_FRACTION
    return profile.limits.mem_fraction_static


def _environment(
    profile: Profile, stand_in: Path | None, inherited: Mapping[str, str]
) -> dict[str, str]:
    env = {"SGLANG_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_SECONDS)}
    if profile.hardware.device == "cpu":
        env["SGLANG_USE_CPU_ENGINE"] = "1"
    if stand_in:
        path = inherited.get("PYTHONPATH")
        env["PYTHONPATH"] = f"{stand_in}{os.pathsep}{path}" if path else str(stand_in)
    if profile.guard.enabled:
        env["SGL_EMBED_GUARD"] = "1"
        allowed = inherited.get("SGLANG_PLUGINS", "")
        if allowed and GUARD_PLUGIN not in allowed.split(","):
            env["SGLANG_PLUGINS"] = f"{allowed},{GUARD_PLUGIN}"
    return env
