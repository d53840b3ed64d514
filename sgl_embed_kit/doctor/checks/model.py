"""Checks of the model: its folder, its pooling, and room for its download."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import cache_folder
from sgl_embed_kit.model.facts import ModelFacts
from sgl_embed_kit.model.source import Kind
from sgl_embed_kit.plan.plan import gigabytes
from sgl_embed_kit.profile.patch import patch

LOG_SPACE = 100_000_000


def disk(subject: Subject) -> Finding:
    """Look for room for the model's files and for logs."""
    for folder, needed in (
        (cache_folder(), subject.source.bytes_needed + LOG_SPACE),
        (Path(tempfile.gettempdir()), subject.source.bytes_needed + LOG_SPACE),
    ):
        free = subject.machine.disk_free(folder)
        if free < needed:
            return Finding(
                Status.ERROR,
                f"{gigabytes(free)} free for {folder}",
                gigabytes(needed),
                f"df -h {folder}",
            )
    return Finding(Status.OK, f"{gigabytes(subject.machine.disk_free(cache_folder()))} free")


def model(subject: Subject) -> Finding:
    """Look whether the model's folder can be served, with the pooling that it declares."""
    source = subject.source
    if source.kind is Kind.REPO and not subject.has_files:
        return Finding(Status.OK, f"{source.model_path}, from the hub")
    if not subject.has_files:
        return Finding(Status.OK, f"{subject.profile.model.path} will be made in the cache")
    try:
        folder = subject.model_folder()
    except KitError as error:
        found = f"{error.what.rstrip('.')}: {error.why}" if error.why else error.what
        return Finding(Status.ERROR, found, "a folder that SGLang can serve", error.cure)
    assert folder is not None
    wrong = _wrong_pooling(subject, folder)
    if wrong is not None:
        return wrong
    architecture = folder.architectures[0] if folder.architectures else "unknown architecture"
    pooling = f", {folder.pooling} pooling" if folder.pooling else ""
    return Finding(
        Status.OK, f"{architecture}, {gigabytes(folder.weight_bytes)} of weights{pooling}"
    )


def _wrong_pooling(subject: Subject, folder: ModelFacts) -> Finding | None:
    """Return an error where only the guard, which is off, would pool as declared."""
    served = folder.served.pooling if folder.served else None
    if subject.profile.guard.enabled or None in (folder.pooling, served):
        return None
    if folder.pooling is served:
        return None
    return Finding(
        Status.ERROR,
        f"the model declares {folder.pooling} pooling, SGLang would pool by {served}",
        f"{folder.pooling} pooling, or the vectors are wrong",
        patch(guard={"enabled": True}),
    )
