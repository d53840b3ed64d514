"""Live checks of what is served: release, kind, name, context and pooling."""

from __future__ import annotations

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.live.answers import LiveError, quoted
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.guard.declared import Pooling
from sgl_embed_kit.model.architectures import Architecture, Caches
from sgl_embed_kit.profile.patch import patch
from sgl_embed_kit.sglang.installed import TESTED_BELOW, TESTED_FROM, tested_range
from sgl_embed_kit.sglang.versions import VersionRange, release_of

WITH_GUARD = "sgl-embed launch PROFILE  # with guard: {enabled: true}"


def version(subject: LiveSubject) -> Finding:
    """Look at the server's release against what is tested and what the profile is for."""
    said = subject.server_info.version
    if not said:
        return Finding(Status.SKIP, "/server_info does not say the version")
    found, tested = f"SGLang {quoted(said)}", f"SGLang {tested_range()}"
    install = "pip install 'sgl-embed-kit[server]'  # where the server runs"
    wanted = subject.profile.sglang.version if subject.profile else None
    if wanted is not None and said not in VersionRange(wanted):
        return Finding(Status.ERROR, found, f"SGLang {wanted}, as the profile says", install)
    if not TESTED_FROM <= release_of(said) < TESTED_BELOW:
        return Finding(Status.WARN, f"{found}, which is not tested", tested, install)
    return Finding(Status.OK, found)


def kind(subject: LiveSubject) -> Finding:
    """Look whether the server embeds or generates."""
    if subject.info.is_generation:
        return Finding(
            Status.ERROR,
            "the server generates text: it was started without --is-embedding",
            "an embedding server, or /v1/embeddings is answered with 400",
            "sgl-embed launch PROFILE  # or --is-embedding on its command",
        )
    return Finding(Status.OK, "an embedding server (is_generation is false)")


def served_name(subject: LiveSubject) -> Finding:
    """Look at the name by which clients ask for the model."""
    name, profile = subject.card.id, subject.profile
    found = f"the model is served as {quoted(name)}"
    if profile is not None and name != profile.model.name:
        return Finding(
            Status.ERROR,
            found,
            f"{profile.model.name}, as the profile says",
            "sgl-embed launch PROFILE  # serves it by that name",
        )
    if ":" in name or name.startswith("/") or name.endswith("/"):
        return Finding(
            Status.WARN,
            found,
            "a name without a path and a colon, which SGLang takes for a LoRA adapter",
            "sgl-embed launch PROFILE --set model.served_name=NAME  # or --served-model-name",
        )
    return Finding(Status.OK, found)


def context(subject: LiveSubject) -> Finding:
    """Hold the context against the KV pool and the profile."""
    length, profile = subject.card.max_model_len, subject.profile
    if length is None:
        return Finding(Status.SKIP, "/v1/models does not say the context length")
    found = f"context length {length}"
    wanted = profile.limits.context_length if profile else None
    if wanted is not None and wanted != length:
        return Finding(
            Status.ERROR,
            found,
            f"{wanted}, as the profile says",
            "sgl-embed launch PROFILE  # starts it anew with this profile",
        )
    pool = pool_tokens(subject)
    if pool is None:
        return Finding(Status.OK, f"{found}; the KV pool is not told")
    if pool < length:
        return Finding(
            Status.ERROR,
            f"{found}, but the KV pool holds {pool} tokens: one longer text waits for ever, "
            "and every request behind it",
            f"{pool} < {length}: a pool of at least {length} tokens, or a shorter context",
            patch(limits={"context_length": pool}),
        )
    return Finding(Status.OK, f"{found}; the KV pool holds {pool} tokens")


def pool_tokens(subject: LiveSubject) -> int | None:
    """Return how many tokens the KV pool holds; None where the server does not tell."""
    try:
        return subject.server_info.max_total_num_tokens
    except LiveError:
        return None


def plan(subject: LiveSubject) -> Finding:
    """Look whether vectors are pooled as the model declares, and no cache spoils them."""
    info = subject.info
    if info.is_generation:
        return Finding(Status.SKIP, "the server generates text")
    architecture = subject.architecture
    if architecture is None or architecture.pooling is None:
        names = quoted(", ".join(info.architectures or []))
        return Finding(Status.SKIP, f"nothing is known of the architecture {names}".rstrip())
    cache = info.embedding.cache if info.embedding else None
    if architecture.caches is Caches.UNSAFE and cache is not None:
        on = [
            name
            for name, is_off in (
                ("prefix cache", cache.radix_cache_disabled),
                ("chunked prefill", cache.chunked_prefill_disabled),
            )
            if not is_off
        ]
        if on:
            return Finding(
                Status.ERROR,
                f"{' and '.join(on)} on for {architecture.name}, whose tokens see the whole "
                "text: a vector depends on what was asked before",
                "both off",
                f"{WITH_GUARD}; or --disable-radix-cache --chunked-prefill-size -1",
            )
    return _pooling(subject, architecture, architecture.pooling)


def _pooling(subject: LiveSubject, architecture: Architecture, stock: Pooling) -> Finding:
    if not architecture.guard_pools:
        return _against_declared(subject, stock, f"{stock} pooling, by {architecture.where}")
    guarded = subject.has_guard
    if guarded:
        declared = subject.model.pooling if subject.model else None
        return Finding(Status.OK, f"{declared or 'the declared'} pooling, by the guard")
    if guarded is None:
        return Finding(Status.SKIP, "whether the guard pools cannot be seen through what is before")
    found = f"cls pooling whatever {architecture.name} was trained for: there is no guard"
    return _against_declared(subject, stock, found, is_doubtful=True)


def _against_declared(
    subject: LiveSubject, does: Pooling, found: str, *, is_doubtful: bool = False
) -> Finding:
    declared = subject.model.pooling if subject.model else None
    if declared is not None and declared is not does:
        return Finding(
            Status.ERROR, f"{found}: the vectors are wrong", f"{declared} pooling", WITH_GUARD
        )
    if declared is None and is_doubtful:
        return Finding(Status.WARN, found, "the pooling that the model declares", WITH_GUARD)
    return Finding(Status.OK, found if not is_doubtful else f"{does} pooling, as declared")
