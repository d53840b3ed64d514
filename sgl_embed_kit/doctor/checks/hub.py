"""Checks of a model's download: the hub, the token for it, and room on the disk."""

from __future__ import annotations

import shlex
from pathlib import Path

from sgl_embed_kit.doctor.checks.variables import set_variable, unset_variable
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.folders import cache_folder, state_folder
from sgl_embed_kit.model.hub import Hub, Reach, Refusal, check_reach, configured_hub
from sgl_embed_kit.model.hub_cache import modelscope_cache
from sgl_embed_kit.model.hub_token import UnreadableTokenError, hub_token
from sgl_embed_kit.model.hub_variables import hub_cache, offline_by
from sgl_embed_kit.model.source import Kind
from sgl_embed_kit.plan.plan import gigabytes

MODELSCOPE = "SGLANG_USE_MODELSCOPE"
LOG_SPACE = 100_000_000
PATIENCE = 0.5
"""Seconds that the hub may take to answer."""


def hub(subject: Subject) -> Finding:
    """Look whether a repository can be fetched: from the cache, the hub, or a mirror."""
    if subject.source.kind is not Kind.REPO:
        return Finding(Status.OK, "none is needed: the model is no repository")
    repo, revision = subject.source.model_path, subject.profile.model.revision
    if subject.has_files:
        return Finding(Status.OK, f"{repo} is in the cache")
    env = subject.environment
    asked = configured_hub(env)
    reach = check_reach(repo, asked, PATIENCE, revision, env)
    if reach.ok:
        return Finding(Status.OK, f"{_named(asked)} has {repo}")
    found = f"{reach.why_not}; {repo} is not in the cache"
    if reach.refusal is Refusal.OFFLINE:
        cure = unset_variable(subject, offline_by(env) or "", "0")
        return Finding(Status.ERROR, found, "the hub, or the model's files", cure)
    if reach.answered:
        return _refused(subject, reach, repo, revision)
    status = Status.WARN if reach.refusal is Refusal.LATE else Status.ERROR  # or a slow network
    if asked.is_modelscope:
        needed = "ModelScope, or Hugging Face where that is in reach"
        return Finding(status, found, needed, unset_variable(subject, MODELSCOPE, "0"))
    needed = (
        "the hub, or a mirror; or ModelScope, with SGLANG_USE_MODELSCOPE=1, if it has the model"
    )
    return Finding(status, found, needed, "export HF_ENDPOINT=https://your-mirror")


def _refused(subject: Subject, reach: Reach, repo: str, revision: str | None) -> Finding:
    """Return what a hub's answer means for a repository, and what can be done."""
    url = reach.hub.url
    if reach.refusal is Refusal.GATED:
        found = f"{repo} is gated at {url}"
        needed = "an account that was granted access on the model's page, and its token"
        fix = "hf auth login"
    elif reach.refusal is Refusal.NO_REVISION:
        found = f"{repo} has no revision {revision or 'main'} at {url}"
        needed = "a revision that the repository has"
        fix = f"curl {url}/api/models/{repo}/refs  # lists its branches and tags"
    elif reach.refusal is Refusal.NO_REPO:
        found = f"{url} has no repository {repo}, or a private one"
        needed = "a repository that this account may read"
        fix = "hf auth login"
        if reach.hub.is_modelscope:
            fix = unset_variable(subject, MODELSCOPE, "0")
    else:
        found = f"{reach.why_not}; {repo} is not in the cache"
        needed = "the model's config.json"
        fix = f"curl -I {url}/{repo}"
    return Finding(Status.ERROR, found, needed, fix)


def token(subject: Subject) -> Finding:
    """Look whether the token for the hub can be read, where there is one."""
    if subject.source.kind is not Kind.REPO or configured_hub(subject.environment).is_modelscope:
        return Finding(Status.OK, "none is needed")
    try:
        found = hub_token(subject.environment)
    except UnreadableTokenError as error:
        return Finding(
            Status.ERROR,
            str(error),
            "a token that can be read, or none: huggingface_hub fails otherwise",
            unset_variable(subject, error.variable)
            if error.variable
            else set_variable(subject, "HF_TOKEN_PATH", "/a/file/you/may/read"),
        )
    return Finding(Status.OK, found.origin if found else "none, and public models need none")


def disk(subject: Subject) -> Finding:
    """Look for room for the model's files and for logs."""
    source = subject.source
    needed = 0 if subject.has_files else source.bytes_needed
    folder = _download_folder(subject)
    for place, room in ((folder, needed + LOG_SPACE), (state_folder(), LOG_SPACE)):
        free = subject.machine.disk_free(place)
        if free < room:
            return Finding(
                Status.ERROR,
                f"{gigabytes(free)} free for {place}",
                gigabytes(room),
                f"df -h {shlex.quote(str(place))}",
            )
    free = subject.machine.disk_free(folder)
    if not subject.has_files and not needed:
        found = f"{gigabytes(free)} free; how large {source.model_path} is is not known here"
        return Finding(Status.SKIP, found)
    return Finding(Status.OK, f"{gigabytes(free)} free")


def _download_folder(subject: Subject) -> Path:
    """Return where the model's files will be: in the cache of whose program fetches them."""
    if subject.source.kind is not Kind.REPO:
        return cache_folder()
    env = subject.environment
    return modelscope_cache(env) if configured_hub(env).is_modelscope else hub_cache(env)


def _named(asked: Hub) -> str:
    return asked.name if asked == configured_hub({}) else f"{asked.name} ({asked.url})"
