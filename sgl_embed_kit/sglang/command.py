"""Build the command that serves a profile: argv, what changes in the environment, keys."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.loading import VARIABLE
from sgl_embed_kit.profile.problems import Place
from sgl_embed_kit.profile.rules import Fault, is_secret_flag
from sgl_embed_kit.profile.schema import KEY_FIELDS, KeySource
from sgl_embed_kit.sglang.advice import advice
from sgl_embed_kit.sglang.arguments import WrongArgumentError, find_flag, words_for
from sgl_embed_kit.sglang.flags import FlagTable
from sgl_embed_kit.sglang.installed import GUARD_PLUGIN, TESTED_FROM
from sgl_embed_kit.sglang.versions import VersionRange, release_of

KEEP_ALIVE_SECONDS = 75
"""SGLang closes an idle connection after 5 s, sooner than proxies and clients expect,
which then see sporadic resets (SGLANG_TIMEOUT_KEEP_ALIVE, srt/environ.py)."""

LARGEST_CHUNK = 8192
"""Tokens of a prefill chunk, the default of GPUs with 60 GB and more."""
MEMORY_FRACTION = 0.5
"""Share of memory for weights and KV pool where a chunk is larger, or off: see
`memory_fraction`."""
FIRST_WITH_SERVE = (0, 5, 6)
FIRST_WITH_MODEL_TYPE = (0, 5, 10)
"""The console script is in the wheels from 0.5.6 on, `--model-type` in cli/serve.py of
0.5.10.post1 and not of 0.5.8."""
FIRST_WITH_PLUGINS = (0, 5, 12)
FIRST_WITH_WAITING_TIMEOUT = (0, 5, 10)
"""srt/plugins is in the wheel of 0.5.12 and not of 0.5.10.post1, SGLANG_REQ_WAITING_TIMEOUT
in srt/environ.py of 0.5.10.post1 and not of 0.5.8."""
FIRST_WITH_ALLOC_CONF = (0, 5, 12)
"""torch 2.9, which 0.5.6 to 0.5.10.post1 pin, ignores the new name for CUDA
(github.com/pytorch/pytorch/issues/183387); 0.5.12 pins 2.11."""
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
BROKEN_EXTRA_WORKERS = VersionRange(">=0.5.6,<0.5.23")
"""Releases whose extra HTTP workers fail at every embedding: the copy of a batch's result
for each worker leaves out `retraction_counts` (srt/managers/multi_tokenizer_mixin.py of the
wheels of 0.5.6 to 0.5.20; right in 0.5.23; github.com/sgl-project/sglang/issues/31890)."""

FULL_BATCH_DEADLOCK = VersionRange("<0.5.23")
"""Releases whose scheduler, with overlap, takes an embedding batch of `max_running_requests`
texts and never another: it resets `batch_is_full` nowhere (up to 0.5.10) or only where no
batch runs (0.5.12 to 0.5.20), and at every step from 0.5.23 on (srt/managers/scheduler.py of
those wheels; github.com/sgl-project/sglang/issues/22518)."""


@dataclass(frozen=True)
class Command:
    """What starts a server.

    Attributes:
        argv: The program and its arguments, but for `--config` and its file.
        env: Variables to set on top of the environment that it inherits.
        keys: Secret flags, by name without dashes: where the value comes from, or the
            value itself. They reach SGLang through a private file for `--config`.
        unset: Variables that the server must not inherit, because a key is in them.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    keys: Mapping[str, KeySource | str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()

    def as_shell(self) -> str:
        """Return the command as lines that can be pasted into a POSIX shell."""
        variables = [f"{name}={_quoted(value)}" for name, value in self.env.items()]
        if self.unset:
            variables = ["env", *(f"-u {name}" for name in self.unset), *variables]
        lines: list[list[str]] = [[]]
        for word in self.argv:
            if word.startswith("--"):
                lines.append([])
            lines[-1].append(_quoted(word))
        written = [*variables, *map(" ".join, lines)]
        if not self.keys:
            return " \\\n  ".join(written)
        return "\n".join(
            [
                "keys=$(mktemp -d -p /dev/shm)/keys.yaml  # in memory, for this user only",
                *(self._line_of_key(flag, source) for flag, source in self.keys.items()),
                " \\\n  ".join([*written, '--config "$keys"']),
                'rm -r "${keys%/*}"',
            ]
        )

    @staticmethod
    def _line_of_key(flag: str, source: KeySource | str) -> str:
        if isinstance(source, str):
            value = _quoted(source)
        elif source.env is not None:
            value = f'"${source.env}"'
        else:
            value = f'"$(cat {shlex.quote(source.file or "")})"'
        return f"""(umask 077; printf '{flag}: "%s"\\n' {value} >> "$keys")"""


def build_command(
    profile: Profile,
    table: FlagTable,
    *,
    model_path: str,
    encoder: bool,
    stand_in: Path | None,
    is_local: bool = False,
    inherited: Mapping[str, str] = os.environ,
) -> Command:
    """Return the command for a profile.

    Args:
        profile: What the user asks for.
        table: The flags of the release that will run.
        model_path: What SGLang shall load: a folder, or a repository id.
        encoder: Whether attention is bidirectional, so that prefix cache and chunked
            prefill would give wrong vectors (facts measured on SGLang 0.5.23 with BERT).
        stand_in: Folder with the CPU engine's `sgl_kernel`, or None to use the real one.
        is_local: Whether the model's files are in a folder, so that no hub is asked.
        inherited: The environment that the server will inherit; some variables in it
            are added to rather than replaced.

    Raises:
        WrongArgumentError: the release lacks a flag that the profile needs; see
            `argument_faults`, which finds them all.
    """
    flags: dict[str, object] = {
        "--model-path": model_path,
        "--revision": profile.model.revision if model_path == profile.model.path else None,
        "--served-model-name": profile.model.name,
        "--is-embedding": True,
        "--host": profile.server.host,
        "--port": profile.server.port,
        "--dtype": profile.model.dtype,
        "--context-length": profile.limits.context_length,
        "--mem-fraction-static": memory_fraction(profile, encoder),
        "--max-total-tokens": profile.limits.max_total_tokens,
        "--max-running-requests": profile.limits.max_running_requests,
        "--max-queued-requests": profile.limits.max_queued_requests,
        "--tp-size": profile.parallel.tensor if profile.parallel.tensor > 1 else None,
        "--dp-size": profile.parallel.data if profile.parallel.data > 1 else None,
        "--chunked-prefill-size": -1 if encoder else profile.limits.chunked_prefill_size,
        "--disable-radix-cache": encoder,
        "--json-model-override-args": (
            json.dumps({"is_matryoshka": True}) if profile.embedding.matryoshka else None
        ),
        "--device": profile.hardware.device,
        "--attention-backend": "torch_native" if stand_in else None,
        # An idle scheduler polls without a pause: a whole core of 2 to 16, for nothing.
        "--sleep-on-idle": profile.hardware.device == "cpu" and "--sleep-on-idle" in table.by_name,
    }
    if table.version in FULL_BATCH_DEADLOCK and "--disable-overlap-schedule" in table.by_name:
        flags["--disable-overlap-schedule"] = True
    argv = _program(table, fast=is_fast(profile, table))
    for flag, value in flags.items():
        if value is not None and value is not False:
            argv += words_for(table, flag[2:], value)
    keys: dict[str, KeySource | str] = dict(profile.server.keys)
    for name, value in profile.sglang.extra_args.items():
        if is_secret_flag(name):
            keys[name] = str(value)
        else:
            argv += words_for(table, name, value)
    env = _environment(profile, table, stand_in, inherited, is_local=is_local)
    variables = (source.env for source in profile.server.keys.values())
    return Command(tuple(argv), env, keys, tuple(name for name in variables if name))


def argument_faults(data: Mapping[str, Any], table: FlagTable) -> Iterator[Fault]:
    """Yield what a release would not take of a profile's limits and `sglang.extra_args`.

    Args:
        data: The profile's content, which need not be valid: so that wrong flags are named
            together with wrong keys.
        table: The flags of the release that will run.
    """
    owned = {f"--{name}": key for name, key in advice().set_by_profile.items()}
    for name, value in _mapping(_mapping(data, "sglang"), "extra_args").items():
        place = ("sglang", "extra_args", name)
        try:
            flag, _ = find_flag(table, name)
            keys = [owned[spelling] for spelling in flag.names if spelling in owned]
            if keys and keys[0]:
                yield place, f"`{name}` is set by the profile's own key `{keys[0]}`"
            elif keys:
                yield place, f"`{name}` is always set; leave it out"
            else:
                words_for(table, name, value)
        except WrongArgumentError as error:
            yield place, str(error)
    for name, key in advice().set_by_profile.items():
        section, _, setting = key.partition(".")
        if section == "limits" and _mapping(data, "limits").get(setting) is not None:
            yield from _lacking(table, name, (section, setting))
    yield from _faults_of_version(data, table)


def _faults_of_version(data: Mapping[str, Any], table: FlagTable) -> Iterator[Fault]:
    """Yield what a profile wants and this release cannot do, or does wrongly."""
    for key in KEY_FIELDS:
        if _mapping(data, "server").get(key) is not None:
            for place, text in _lacking(table, "config", ("server", key)):
                yield place, f"a key reaches SGLang through `--config`: {text}"
            if key.startswith("admin"):
                yield from _lacking(table, "admin-api-key", ("server", key))
    guard = _mapping(data, "guard")
    if release_of(table.version) < FIRST_WITH_PLUGINS and guard.get("enabled", True) is True:
        yield (
            ("guard", "enabled") if "enabled" in guard else ("sglang", "version"),
            f"SGLang {table.version} has no plugins, so that the guard cannot run: "
            "guard.enabled: false, or SGLang 0.5.12 or newer",
        )
    extra = _mapping(_mapping(data, "sglang"), "extra_args")
    if extra.get("tokenizer-worker-num", 1) != 1 and table.version in BROKEN_EXTRA_WORKERS:
        yield (
            ("sglang", "extra_args", "tokenizer-worker-num"),
            f"with extra HTTP workers, SGLang {table.version} fails at every embedding: 1, or "
            "SGLang 0.5.23 or newer",
        )


def _lacking(table: FlagTable, name: str, place: Place) -> Iterator[Fault]:
    try:
        find_flag(table, name)
    except WrongArgumentError as error:
        yield place, str(error)


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _quoted(word: str) -> str:
    """Quote a word for a shell; ${NAME}, which a shown profile may hold, stays alive."""
    if not VARIABLE.search(word):
        return shlex.quote(word)
    kept = VARIABLE.findall(word)
    pieces = VARIABLE.split(word)[:: VARIABLE.groups + 1]
    escaped = [re.sub(r'(["\\\\$`])', r"\\\1", piece) for piece in pieces]
    variables = [f"${{{name}{':-' + default if default else ''}}}" for name, default in kept]
    words = [text for pair in zip(escaped, [*variables, ""], strict=True) for text in pair]
    return f'"{"".join(words)}"'


def is_fast(profile: Profile, table: FlagTable) -> bool:
    """Say whether SGLang's children are forked with their imports done.

    By itself only on a CPU: nobody has seen it work with CUDA.
    """
    wanted = profile.launch.fast_start
    on = profile.hardware.device == "cpu" if wanted == "auto" else wanted
    return on and release_of(table.version) >= TESTED_FROM


def _program(table: FlagTable, *, fast: bool) -> list[str]:
    """Return what starts a release's server: `sglang serve` from 0.5.6 on."""
    release = release_of(table.version)
    if release < FIRST_WITH_SERVE:
        return ["python", "-m", "sglang.launch_server"]
    if fast:
        return ["python", "-P", "-m", "sgl_embed_kit.fast_start", "serve", "--model-type", "llm"]
    if release < FIRST_WITH_MODEL_TYPE:
        return ["sglang", "serve"]
    # Without it `sglang serve` asks the hub whether this is a diffusion model.
    return ["sglang", "serve", "--model-type", "llm"]


def memory_fraction(profile: Profile, encoder: bool) -> float | None:
    """Return the share of memory to give SGLang; None leaves it to SGLang.

    Its default reserves 1.5 MB for each token of a prefill chunk, and 16384 tokens where
    chunked prefill is off: more than 24 GB, so that the share goes below zero on a small
    machine (srt/arg_groups/memory_hook.py; seen on a CPU with 25 GB).
    """
    limits = profile.limits
    if limits.mem_fraction_static is not None:
        return limits.mem_fraction_static
    chunk = -1 if encoder else limits.chunked_prefill_size
    return MEMORY_FRACTION if chunk == -1 or (chunk or 0) > LARGEST_CHUNK else None


def _environment(
    profile: Profile,
    table: FlagTable,
    stand_in: Path | None,
    inherited: Mapping[str, str],
    *,
    is_local: bool,
) -> dict[str, str]:
    """Return the variables to set; those of the profile stand above all others."""
    release, limits = release_of(table.version), profile.limits
    env = {"SGLANG_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_SECONDS)}
    if release >= FIRST_WITH_WAITING_TIMEOUT:
        env["SGLANG_REQ_WAITING_TIMEOUT"] = f"{limits.max_waiting_seconds:g}"
    if profile.hardware.device == "cpu":
        env["SGLANG_USE_CPU_ENGINE"] = "1"
    elif profile.parallel.tensor == 1 and inherited.keys().isdisjoint(ALLOCATOR_VARIABLES):
        # Less fragmentation. Not across GPUs: there, memory that is shared between
        # processes cannot be of this kind (github.com/vllm-project/vllm/issues/42609).
        name = ALLOCATOR_VARIABLES[release < FIRST_WITH_ALLOC_CONF]
        if profile.env.keys().isdisjoint(ALLOCATOR_VARIABLES):
            env[name] = "expandable_segments:True"
    if is_local:
        env["HF_HUB_OFFLINE"] = "1"  # all files are there: no look at the hub at any start
    if profile.guard.enabled:
        env["SGL_EMBED_GUARD"] = "1"
        allowed = inherited.get("SGLANG_PLUGINS", "")
        if allowed and GUARD_PLUGIN not in allowed.split(","):
            env["SGLANG_PLUGINS"] = f"{allowed},{GUARD_PLUGIN}"
        if inherited.get("SGLANG_RUST_SERVER"):
            env["SGLANG_RUST_SERVER"] = "0"  # the guard does not load there
    env |= profile.env
    if stand_in:
        path = profile.env.get("PYTHONPATH", inherited.get("PYTHONPATH"))
        env["PYTHONPATH"] = f"{stand_in}{os.pathsep}{path}" if path else str(stand_in)
    return env
