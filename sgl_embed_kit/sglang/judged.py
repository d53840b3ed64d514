"""Values that SGLang's own code judges while it runs, so that no flag table can know them.

Each judge says what its flag takes where a value is not that, and "" where SGLang 0.5.23
takes it; a test asks SGLang's own parser the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable

KV_CANARY_DATA = ("none", "partial", "all")
"""The modes of RealKvHashMode (srt/kv_canary/config.py)."""

GRAPH_KEYS = {
    "decode": {"backend", "max_bs", "bs"},
    "prefill": {
        "backend",
        "max_bs",
        "bs",
        "max_context_size",
        "full_prefill_max_req",
        "full_prefill_prefix_chunk_tokens",
        "max_seq_len",
    },
}
"""ALLOWED_KEYS_PER_PHASE (srt/model_executor/cuda_graph_config.py)."""

GRAPH_BACKENDS = ("full", "breakable", "disabled")
"""ALLOWED_BACKENDS_PER_PHASE, the same for both phases (same file)."""

ADAPTER = "NAME=PATH, PATH, or JSON with lora_name and lora_path"


def judged(name: str, text: str) -> str:
    """Return what a flag takes, where a text is not that; "" where nothing is against it.

    Args:
        name: The flag's name without dashes before it.
        text: One value, as it would stand on the command line.
    """
    judge = _JUDGES.get(name)
    return judge(text) if judge else ""


def _kv_canary_data(text: str) -> str:
    return "" if text in KV_CANARY_DATA else ", ".join(KV_CANARY_DATA)


def _adapter(text: str) -> str:
    """Judge an adapter as LoRAPathAction does (srt/arg_groups/argparse_actions.py)."""
    stripped = text.strip()
    if not (stripped.startswith("{") and stripped.endswith("}")):
        return "" if stripped else ADAPTER
    told = _json(stripped)
    fits = isinstance(told, dict) and {"lora_name", "lora_path"} <= told.keys()
    return "" if fits else ADAPTER


def _graph_config(text: str) -> str:
    """Judge graph settings as parse_cuda_graph_config_arg does (srt/model_executor)."""
    told = _json(text)
    if not isinstance(told, dict):
        return "a JSON object with decode, prefill or both"
    for phase, settings in told.items():
        if phase not in GRAPH_KEYS:
            return f"decode and prefill in its JSON, not {phase!r}"
        if not isinstance(settings, dict):
            return f"a JSON object for {phase}"
        unknown = settings.keys() - GRAPH_KEYS[phase]
        if unknown:
            return f"{', '.join(sorted(GRAPH_KEYS[phase]))} for {phase}, not {min(unknown)!r}"
        if settings.get("backend", "full") not in GRAPH_BACKENDS:
            return f"{', '.join(GRAPH_BACKENDS)} as backend of {phase}"
    return ""


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


_JUDGES: dict[str, Callable[[str], str]] = {
    "kv-canary-real-data": _kv_canary_data,
    "lora-paths": _adapter,
    "cuda-graph-config": _graph_config,
}
