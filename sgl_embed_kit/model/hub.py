"""Is the model hub in reach? One short request, honouring mirrors, that never hangs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from sgl_embed_kit.loopback import is_loopback
from sgl_embed_kit.model.hub_token import UnreadableTokenError, hub_token
from sgl_embed_kit.model.hub_variables import offline_by
from sgl_embed_kit.time_limit import within

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

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way reads what is sent there: by TLS, or on this machine."""
        address = urlsplit(self.url)
        return address.scheme == "https" or is_loopback(address.hostname or "")


class Refusal(StrEnum):
    """Why a hub is of no use for a repository, where the cure depends on it.

    The values are what the hub itself calls it (X-Error-Code), where it says so.
    """

    OFFLINE = "offline"
    LATE = "late"
    GATED = "GatedRepo"
    NO_REPO = "RepoNotFound"
    NO_REVISION = "RevisionNotFound"
    OTHER = "other"


@dataclass(frozen=True)
class Reach:
    """Whether the hub answered for a repository.

    Attributes:
        hub: The hub that was asked.
        why_not: Why it is of no use; empty where it is.
        answered: Whether it answered at all, be it with a refusal.
        refusal: The kind of the reason; None where the hub can be used.
    """

    hub: Hub
    why_not: str = ""
    answered: bool = False
    refusal: Refusal | None = None

    @property
    def ok(self) -> bool:
        """Whether the hub can be used."""
        return not self.why_not


def configured_hub(env: Mapping[str, str] = os.environ) -> Hub:
    """Return the hub that SGLang will load from, by the variables that it honours.

    SGLANG_USE_MODELSCOPE takes ModelScope (srt/environ.py), whose address is in
    MODELSCOPE_ENDPOINT, or without its scheme in MODELSCOPE_DOMAIN (config.py of
    modelscope_hub); HF_ENDPOINT names a mirror of Hugging Face (huggingface_hub).
    """
    if env.get("SGLANG_USE_MODELSCOPE", "").lower() in {"1", "true", "yes", "y"}:
        domain = env.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn"
        endpoint = env.get("MODELSCOPE_ENDPOINT", "").rstrip("/")
        return Hub("ModelScope", endpoint or f"https://{domain}")
    endpoint = env.get("HF_ENDPOINT", "").rstrip("/")
    if endpoint:
        return Hub("the mirror in HF_ENDPOINT", endpoint)
    return Hub("Hugging Face", "https://huggingface.co")


def check_reach(
    repo: str,
    hub: Hub,
    time_limit: float = TIME_LIMIT,
    revision: str | None = None,
    env: Mapping[str, str] = os.environ,
) -> Reach:
    """Ask the hub for one small page about `repo`.

    Args:
        repo: The repository.
        hub: The hub.
        time_limit: Seconds after which it is given up, the resolving of its name included.
        revision: A branch, tag or commit; the main branch by default.
        env: The variables of who will load it: with them goes the token, and whether the hub
            may be asked at all.
    """
    offline = offline_by(env)
    if offline is not None:
        return Reach(hub, f"{offline} is set", refusal=Refusal.OFFLINE)
    import httpx

    def ask() -> Reach:
        try:
            response = httpx.head(
                f"{hub.url}/{_page(repo, hub, revision)}",
                headers=_credentials(hub, env),  # httpx keeps them from any other host
                timeout=time_limit,
                follow_redirects=True,
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            reason = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
            why_not = f"{hub.url} cannot be reached ({reason})"
            return Reach(hub, why_not, refusal=Refusal.OTHER)
        return _verdict(repo, hub, response.status_code, response.headers)

    try:
        return within(time_limit, ask, "hub-check")
    except TimeoutError:
        why_not = f"{hub.url} did not answer within {time_limit:g} s"
        return Reach(hub, why_not, refusal=Refusal.LATE)


def _verdict(repo: str, hub: Hub, status: int, headers: Mapping[str, str]) -> Reach:
    """Say what an answer means, as hf_raise_for_status of huggingface_hub reads it."""
    if status < HTTPStatus.BAD_REQUEST:
        return Reach(hub, answered=True)
    named = headers.get("X-Error-Code", "")
    if named in list(Refusal):
        refusal = Refusal(named)
    elif status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND} and not named:
        refusal = Refusal.NO_REPO
    else:
        refusal = Refusal.OTHER
    return Reach(hub, f"{hub.url} answered {status} for {repo}", True, refusal)


def _credentials(hub: Hub, env: Mapping[str, str]) -> dict[str, str]:
    """Return the header with the token for the hub, where it may be sent there."""
    if hub.is_modelscope or not hub.is_private:
        return {}
    try:
        token = hub_token(env)
    except UnreadableTokenError:
        return {}
    return {"Authorization": f"Bearer {token.value}"} if token else {}


def _page(repo: str, hub: Hub, revision: str | None) -> str:
    if hub.is_modelscope:
        return f"models/{repo}"
    return f"{repo}/resolve/{quote(revision or 'main', safe='')}/config.json"
