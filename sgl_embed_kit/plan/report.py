"""Show a plan: as text for people, as JSON for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sgl_embed_kit.plan.memory import GIB
from sgl_embed_kit.plan.plan import Alternative, Plan, alternatives, gib
from sgl_embed_kit.plan.weights import DTYPE_BYTES

SCHEMA = "sgl-embed.plan/1"
COLUMNS = 80
LABEL, AMOUNT = 18, 14
INDENT = " " * (2 + LABEL + AMOUNT + 2)
BAR = 76
TEXTS = (128, 512, 2048, 8192, 32768)
"""Lengths in tokens of which the report says how many fit in flight."""
BLOCKS = ("others", "base", "weights", "pool", "working", "spare")
UNICODE = dict(zip(BLOCKS, "╳▒█▓░·", strict=True))
ASCII = dict(zip(BLOCKS, "x:#=-.", strict=True))


def as_text(plan: Plan, *, ascii_only: bool = False) -> str:
    """Return the plan as lines of at most 80 columns: verdict, arithmetic, bar, answers."""
    lines = [*_verdict(plan), "", *_arithmetic(plan), ""]
    lines += bar(plan, ASCII if ascii_only else UNICODE)
    lines += ["", *_answers(plan)]
    others = alternatives(plan)
    if others:
        lines += ["", "What would change it", *(_change(plan, other) for other in others)]
    return "\n".join(line.rstrip() for line in lines)


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as the object that `--format json` prints; sizes in bytes."""
    return {
        "schema": SCHEMA,
        "measured": False,
        "model": plan.demand.model,
        "device": asdict(plan.device),
        "gpus": {"tensor": plan.demand.tensor, "data": plan.demand.data},
        **_numbers(plan),
        "faults": [asdict(fault) for fault in plan.faults],
        "warnings": list(plan.warnings),
        "alternatives": [
            {"change": other.change, **_numbers(other.plan)} for other in alternatives(plan)
        ],
    }


def _numbers(plan: Plan) -> dict[str, Any]:
    demand = plan.demand
    return {
        "fits": plan.fits,
        "tight": plan.is_tight,
        "memory": plan.device.memory,
        **{part: getattr(plan, part) for part in BLOCKS},
        "least_working": plan.least_working,
        "free_at_load": plan.free_at_load,
        "mem_fraction_static": plan.fraction,
        "chunked_prefill_size": plan.chunk,
        "token_bytes": plan.token_bytes,
        "pool_tokens": plan.pool_tokens,
        "context_length": demand.context,
        "context_bytes": plan.context_bytes,
        "largest_context": plan.largest_context,
        "largest_possible_context": plan.largest_possible_context,
        "running_requests": plan.running,
        "least_fraction": plan.least_fraction,
        "most_fraction": plan.most_fraction,
        "texts_in_flight": {str(tokens): plan.in_flight(tokens) for tokens in _lengths(plan)},
    }


def _verdict(plan: Plan) -> Iterator[str]:
    demand, device = plan.demand, plan.device
    count = demand.tensor * demand.data
    name = device.name if count == 1 else f"{count} x {device.name}"
    word = "tight" if plan.is_tight else "fits" if plan.fits else "does not fit"
    where = f"{demand.model} on {name}: {word}."
    yield from textwrap.wrap(f"{where} Computed, not measured.", COLUMNS)
    for label, texts in (
        ("does not fit", [str(fault) for fault in plan.faults]),
        ("warning", plan.warnings),
    ):
        for text in texts:
            yield from textwrap.wrap(
                f"{label}: {text}.", COLUMNS, initial_indent="  ", subsequent_indent="    "
            )


def _arithmetic(plan: Plan) -> Iterator[str]:
    """Yield the sum, a part a line, each with where it is from."""
    demand, device, shape = plan.demand, plan.device, plan.demand.shape
    each = " of each GPU" if demand.tensor * demand.data > 1 else ""
    yield _line("RAM" if device.is_cpu else "card", device.memory, f"{device.origin}{each}", " ")
    if plan.others:
        yield _line("in use", plan.others, "held now by the system and other programs")
    if device.is_cpu:
        yield _line("SGLang itself", plan.base, "three processes with torch, measured")
    else:
        yield _line("driver", plan.base, "with the CUDA context: 1 GiB and 0.5 %, estimated")
    size = DTYPE_BYTES[demand.dtype]
    count = f"{plan.weights // size:,} weights x {size} bytes"
    head = ", with a head of its own" if shape.separate_head else ""
    yield _line("weights", plan.weights, f"{count}{head}{' on each GPU' if each else ''}")
    yield _line("KV pool", plan.pool, _pool(plan))
    yield _line("working memory", plan.working, _working(plan))
    yield _line("spare", plan.spare, "", "=")


def _pool(plan: Plan) -> str:
    tokens = f"{plan.pool_tokens:,} tokens x {plan.token_bytes / 1024:g} KiB"
    if plan.is_limited:
        return f"{tokens}, as max_total_tokens says"
    whose = "" if plan.demand.fraction else ", SGLang's own,"
    return (
        f"{tokens}; {plan.fraction:g}{whose} of the {gib(plan.free_at_load)} free, less the weights"
    )


def _working(plan: Plan) -> str:
    tokens = "whole texts" if plan.chunk <= 0 else f"chunks of {plan.chunk}"
    if plan.working == plan.least_working:
        return f"activations for {tokens}"
    return f"SGLang's estimate for {tokens}; {gib(plan.least_working)} by the model's shape"


def _line(label: str, size: int, text: str, sign: str = "-") -> str:
    amount = f"{sign} {size / GIB:7.2f} GiB"
    wrapped = textwrap.wrap(text, COLUMNS - len(INDENT)) or [""]
    first = f"  {label:<{LABEL}}{amount:>{AMOUNT}}  {wrapped[0]}"
    return "\n".join([first, *(f"{INDENT}{line}" for line in wrapped[1:])])


def bar(plan: Plan, glyphs: dict[str, str]) -> list[str]:
    """Return a bar that shows how the device's memory divides, and what its parts mean.

    Where the parts are more than there is, the bar shows them all and marks the end of the
    device below it.
    """
    parts = {name: max(getattr(plan, name), 0) for name in BLOCKS}
    whole = max(sum(parts.values()), 1)
    drawn, passed, last = "", 0, 0
    for name, size in parts.items():
        passed += size
        end = round(BAR * passed / whole)
        drawn += glyphs[name] * (end - last)
        last = end
    lines = [f"  {drawn}"]
    if plan.spare < 0:
        end = round(BAR * plan.device.memory / whole)
        lines.append(f"  {'here the memory ends ^':>{end}}")
    names = {"base": "SGLang" if plan.device.is_cpu else "driver", "others": "in use"}
    legend = [
        f"{glyphs[name]} {names.get(name, name)} {size / GIB:.1f}"
        for name, size in parts.items()
        if size
    ]
    rows = (
        [legend] if sum(map(len, legend)) + 3 * len(legend) < COLUMNS else [legend[:3], legend[3:]]
    )
    return [*lines, *(f"  {'   '.join(row)}" for row in rows)]


def _answers(plan: Plan) -> Iterator[str]:
    demand = plan.demand
    yield _answer(
        "one full context",
        f"{demand.context} tokens x {plan.token_bytes / 1024:g} KiB = {gib(plan.context_bytes)}; "
        f"the pool holds {plan.pool_tokens // demand.context}",
    )
    if plan.running:
        yield _answer(
            "running texts",
            f"{plan.running} at most; {plan.pool_tokens // plan.running} tokens each fill the pool",
        )
        texts = ", ".join(f"{plan.in_flight(n)} of {n}" for n in _lengths(plan))
        yield _answer("texts in flight", f"{texts} tokens")
    if plan.pool_tokens:
        yield _answer("largest context", _contexts(plan))
    yield _answer("fraction to set", _fractions(plan))


def _contexts(plan: Plan) -> str:
    possible = plan.largest_possible_context
    if possible <= plan.largest_context:
        return f"{plan.largest_context} tokens"
    by = (
        f"max_total_tokens at {possible}"
        if plan.is_limited
        else f"a fraction of {plan.most_fraction:g}"
    )
    return f"{plan.largest_context} tokens; {possible} with {by}"


def _fractions(plan: Plan) -> str:
    least, most = plan.least_fraction, plan.most_fraction
    if least is None:
        return "none: weights and one full context are more than there is"
    if plan.is_limited:
        return f"none is needed beside max_total_tokens; {least:g} holds one full context"
    if most is None or least > most:
        return f"{least:g} holds one full context, beside less working memory than SGLang keeps"
    return f"{least:g} holds one full context, {most:g} is the most beside the working memory"


def _answer(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        COLUMNS,
        initial_indent=f"  {label:<{LABEL}}",
        subsequent_indent=" " * (2 + LABEL),
    )


def _change(plan: Plan, other: Alternative) -> str:
    changed = other.plan
    word = "tight" if changed.is_tight else "fits" if changed.fits else "does not fit"
    text = (
        f"{word}; weights {gib(changed.weights)}, pool of {changed.pool_tokens} tokens "
        f"({_full_contexts(changed)}), spare {gib(changed.spare)}"
    )
    if changed.demand.kv_dtype != plan.demand.kv_dtype:
        text += "; changes the vectors"
    return textwrap.fill(
        text, COLUMNS, initial_indent=f"  {other.change:<26}", subsequent_indent=" " * 28
    )


def _full_contexts(plan: Plan) -> str:
    number = plan.pool_tokens // plan.demand.context
    return f"{number} full context{'' if number == 1 else 's'}"


def _lengths(plan: Plan) -> list[int]:
    shorter = [tokens for tokens in TEXTS if tokens < plan.demand.context]
    return [*shorter, plan.demand.context]
