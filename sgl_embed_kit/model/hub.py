"""Is the model hub in reach? One short request, honouring mirrors, that never hangs."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass

TIME_LIMIT = 3.0
"""Seconds that the whole check may take, name resolution included."""

MIRROR_HINT = (
    "export HF_ENDPOINT=https://your-mirror     # of Hugging Face",
    "export SGLANG_USE_MODELSCOPE=1             # or ModelScope",
)
"""How to get at the models where the hub is out of reach."""


@dataclass(frozen=True)
class Hub:
    """A model hub: its name for people, and the address asked."""

    name: str
    url: str

    @property
    def is_modelscope(self) -> bool:
        """Whether it is ModelScope, which has its own pages and its own commits."""
        return self.name == "ModelScope"


@dataclass(frozen=True)
class Reach:
    """Whether the hub answered for a repository.

    Attributes:
        hub: The hub that was asked.
        why_not: Why it is of no use; empty where it is.
        answered: Whether it answered at all, be it with a refusal.
    """

    hub: Hub
    why_not: str = ""
    answered: bool = False

    @property
    def ok(self) -> bool:
        """Whether the hub can be used."""
        return not self.why_not


def configured_hub(env: Mapping[str, str] = os.environ) -> Hub:
    """Return the hub that SGLang will load from, by the variables that it honours.

    SGLANG_USE_MODELSCOPE takes ModelScope (srt/environ.py); HF_ENDPOINT names a mirror
    of Hugging Face (huggingface_hub).
    """
    if env.get("SGLANG_USE_MODELSCOPE", "").lower() in {"1", "true", "yes", "y"}:
        domain = env.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn"
        return Hub("ModelScope", f"https://{domain}")
    endpoint = env.get("HF_ENDPOINT", "").rstrip("/")
    if endpoint:
        return Hub("the mirror in HF_ENDPOINT", endpoint)
    return Hub("Hugging Face", "https://huggingface.co")


def check_reach(repo: str, hub: Hub, time_limit: float = TIME_LIMIT) -> Reach:
    """Ask the hub for one small page about `repo`, within `time_limit` seconds.

    The request runs in a thread of its own, because resolving a name knows no time
    limit; a thread that is still at it when the time is up is left behind.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        return Reach(hub, "HF_HUB_OFFLINE is set")
    import httpx

    outcome: list[Reach] = []

    def ask() -> None:
        try:
            response = httpx.head(
                f"{hub.url}/{_page(repo, hub)}", timeout=time_limit, follow_redirects=True
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            reason = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
            outcome.append(Reach(hub, f"{hub.url} cannot be reached ({reason})"))
        else:
            status = response.status_code
            refusal = f"{hub.url} answered {status} for {repo}" if status >= 400 else ""  # noqa: PLR2004
            outcome.append(Reach(hub, refusal, answered=True))

    thread = threading.Thread(target=ask, daemon=True, name="hub-check")
    thread.start()
    thread.join(time_limit)
    if not outcome:
        return Reach(hub, f"{hub.url} did not answer within {time_limit:g} s")
    return outcome[0]


def _page(repo: str, hub: Hub) -> str:
    if hub.is_modelscope:
        return f"models/{repo}"
    return f"{repo}/resolve/main/config.json"
