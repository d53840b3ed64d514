"""Checks of the limits: context, KV pool, chunks, queue, truncation and timeouts."""

from __future__ import annotations

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.guard.declared import Pooling
from sgl_embed_kit.model.architectures import known_architectures
from sgl_embed_kit.plan.device import cpu, gpu_here
from sgl_embed_kit.plan.memory import (
    cpu_working_bytes,
    default_chunk,
    default_fraction,
    working_bytes,
)
from sgl_embed_kit.plan.plan import Device, gib, make_plan
from sgl_embed_kit.profile.patch import patch
from sgl_embed_kit.profile.schema import LimitsSection
from sgl_embed_kit.sglang.command import (
    FIRST_WITH_WAITING_TIMEOUT,
    KEEP_ALIVE_SECONDS,
    MEMORY_FRACTION,
    memory_fraction,
)
from sgl_embed_kit.sglang.versions import release_of

LONGER_CONTEXT = ("SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN", "SGLANG_IS_IN_CI")
"""With either, SGLang takes a context beyond the model's and only warns
(_derive_context_length, srt/configs/model_config.py)."""
ON = frozenset({"true", "1", "yes", "y"})
"""What SGLang takes for true (EnvBool, srt/environ.py)."""
PROXY_SECONDS = 60
"""How long nginx and AWS's load balancer keep an idle connection by default
(https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_timeout)."""
TEXTS_PER_REQUEST = 256
"""Texts that the toolkit's own client sends in a request (client/sync.py)."""


def longer_context(subject: Subject) -> Finding:
    """Look whether something makes SGLang take a context beyond the model's."""
    env = subject.environment
    name = next((name for name in LONGER_CONTEXT if env.get(name, "").lower() in ON), None)
    if name is not None:
        return Finding(
            Status.WARN,
            f"{name} is set: SGLang would take a context beyond the model's, too",
            "not set: vectors from beyond the model's positions are wrong",
            patch(env={name: "0"}) if name in subject.profile.env else f"unset {name}",
        )
    return Finding(Status.OK, "SGLang refuses a context beyond the model's")


def pool(subject: Subject) -> Finding:
    """Hold the KV pool against the context: a text longer than the pool hangs the server."""
    demand, device = subject.demand(), _device(subject)
    if demand is None:
        return Finding(Status.SKIP, "the model's shape is not known before its files are here")
    if device is None:
        return Finding(Status.SKIP, "there is no GPU to count for")
    plan = make_plan(demand, device)
    if plan.faults:
        if not plan.faults[0].hangs:
            return Finding(Status.SKIP, f"the plan does not hold for its {plan.faults[0].line}")
        return Finding(
            Status.ERROR,
            plan.faults[0].text,
            f"a KV pool of {demand.context} tokens or more",
            plan.cure,
        )
    if demand.max_tokens is not None and plan.budget_tokens < demand.max_tokens:
        return Finding(
            Status.WARN,
            f"max_total_tokens {demand.max_tokens}, and room for {plan.budget_tokens}",
            "as many tokens as the memory fraction leaves room for",
            patch(limits={"max_total_tokens": plan.budget_tokens}),
        )
    return Finding(
        Status.OK,
        f"{plan.pool_tokens} tokens = {plan.pool_tokens / demand.context:.1f} x context "
        f"{demand.context}; {plan.running} texts at a time",
    )


def chunk(subject: Subject) -> Finding:
    """Look what the prefill chunk leaves of memory where SGLang chooses the fraction."""
    profile, device = subject.profile, _device(subject)
    if device is None:
        return Finding(Status.SKIP, "there is no GPU to count for")
    encoder = subject.bounds is not None and subject.bounds.is_encoder
    limits = subject.settled(profile).limits
    tokens = -1 if encoder else limits.chunked_prefill_size or default_chunk(device.memory)
    what = "whole texts" if tokens == -1 else f"chunks of {tokens} tokens"
    given = memory_fraction(profile, encoder)
    if given is not None:
        return Finding(Status.OK, f"{what}; memory fraction {given:g} is given")
    reserve = _reserve(device, tokens, limits, profile.parallel.tensor)
    own = default_fraction(device.memory, reserve)
    shown = f"{what}: SGLang keeps {gib(reserve)} of {gib(device.memory)} free"
    if own > 0:
        return Finding(Status.OK, f"{shown}, memory fraction {own:g}")
    usual = default_chunk(device.memory)
    return Finding(
        Status.ERROR,
        f"{shown}, so that its memory fraction is {own:g}",
        "a fraction above 0",
        patch(limits={"chunked_prefill_size": usual})
        if usual < tokens
        else patch(limits={"mem_fraction_static": MEMORY_FRACTION}),
    )


def _reserve(device: Device, chunk: int, limits: LimitsSection, tensor: int) -> int:
    """Return the bytes that SGLang would keep free where it chooses the memory fraction."""
    if device.is_cpu:
        return cpu_working_bytes(device.memory, chunk, tensor)
    return working_bytes(
        device.memory, chunk, limits.max_running_requests, tensor, limits.max_total_tokens
    )


def queue(subject: Subject) -> Finding:
    """Hold the length of the queue against the texts of one request."""
    limits = subject.profile.limits
    queued, running = limits.max_queued_requests, limits.max_running_requests
    at_a_time = f"{running or 'as many as fit'} at a time"
    if queued is None:
        return Finding(Status.OK, f"{at_a_time}, any number waiting")
    if queued < TEXTS_PER_REQUEST:
        return Finding(
            Status.WARN,
            f"{queued} texts may wait, and a request has up to {TEXTS_PER_REQUEST}",
            f"{TEXTS_PER_REQUEST} or more: each text waits for itself, and one that cannot "
            "makes the whole request a 503",
            patch(limits={"max_queued_requests": TEXTS_PER_REQUEST}),
        )
    return Finding(Status.OK, f"{at_a_time}, {queued} waiting")


def truncation(subject: Subject) -> Finding:
    """Look whether SGLang would cut the token from which the vector is taken."""
    if not subject.profile.sglang.extra_args.get("allow-auto-truncate"):
        return Finding(Status.OK, "a text beyond the context is refused, none is cut")
    pooling = _pooling(subject)
    if pooling is None:
        return Finding(Status.SKIP, "the model's pooling is not known before its files are here")
    if pooling is Pooling.LAST:
        return Finding(
            Status.WARN,
            "allow-auto-truncate cuts a long text's end, and with it the EOS token",
            "the last token, from which this model's vectors are taken",
            patch(sglang={"extra_args": {"allow-auto-truncate": False}}),
        )
    return Finding(Status.OK, "a long text loses its end; its vector is made of what is left")


def keep_alive(subject: Subject) -> Finding:
    """Hold the server's idle time against that of proxies before it."""
    name = "SGLANG_TIMEOUT_KEEP_ALIVE"
    text = subject.profile.env.get(name, str(KEEP_ALIVE_SECONDS))
    seconds = _number(text, int)
    if seconds is None or not seconds > PROXY_SECONDS:
        return Finding(
            Status.WARN,
            f"{name}={text}: idle connections are closed before a proxy closes them",
            f"more than the {PROXY_SECONDS} s of nginx, or clients see sporadic 502",
            patch(env={name: str(KEEP_ALIVE_SECONDS)}),
        )
    return Finding(
        Status.OK, f"idle connections live {seconds:g} s, those of nginx {PROXY_SECONDS} s"
    )


def waiting(subject: Subject) -> Finding:
    """Look whether a text that waits for ever gets an answer."""
    name = "SGLANG_REQ_WAITING_TIMEOUT"
    limits, release = subject.profile.limits, subject.release
    if release is not None and release_of(release) < FIRST_WITH_WAITING_TIMEOUT:
        return Finding(
            Status.WARN,
            f"SGLang {release} knows no {name}: a text may wait for ever",
            "0.5.10 or newer, which answers 503 to a text that waits too long",
            "pip install 'sgl-embed-kit[server]'",
        )
    text = subject.profile.env.get(name, f"{limits.max_waiting_seconds:g}")
    seconds = _number(text, float)
    if seconds is None or not seconds > 0:
        return Finding(
            Status.WARN,
            f"{name}={text}: a text may wait for ever",
            "a limit: /health says 200 while nothing is answered",
            patch(env={name: f"{limits.max_waiting_seconds:g}"}),
        )
    return Finding(Status.OK, f"a text that waited {seconds:g} s is answered with 503")


def _pooling(subject: Subject) -> Pooling | None:
    """Return how the vectors are pooled, by the model's files or what is known without them."""
    try:
        folder = subject.model_folder()
    except KitError:  # its fault is another check's to name
        return None
    if folder is not None:
        return folder.pooling_with_guard
    known = known_architectures().get(subject.shape.architecture) if subject.shape else None
    return known.pooling if known else None


def _device(subject: Subject) -> Device | None:
    if subject.profile.hardware.device == "cpu":
        return cpu(subject.machine)
    return gpu_here(subject.profile, subject.machine)


def _number(text: str, kind: type[int] | type[float]) -> float | None:
    """Return a variable's number, or None where SGLang cannot read it (srt/environ.py)."""
    try:
        return kind(text)
    except ValueError:
        return None
