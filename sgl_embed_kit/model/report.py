"""Show a model: as text for people, as JSON for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from sgl_embed_kit.model.architectures import DESCRIBED_VERSION, Caches, Task
from sgl_embed_kit.model.facts import ModelFacts
from sgl_embed_kit.model.faults import Fault, Severity
from sgl_embed_kit.model.inspection import Inspection
from sgl_embed_kit.model.tokenizer import TokenizerFacts
from sgl_embed_kit.model.weights import listed

SCHEMA = "sgl-embed.model/1"
COLUMNS = 80
LABEL = 15
"""Columns of a line's label, its indent included."""
HOW_COLUMNS = (16, 20, 20)
"""Columns of the table of how vectors are made, but for the last one."""
_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}
Line = tuple[str, str]


def as_text(found: Inspection, *, colour: bool = False) -> str:
    """Return the report as lines of at most 80 columns, cures and names of files excepted."""
    facts = found.facts
    heading = _bold if colour else str
    lines = [heading(facts.name)]
    if found.revision:
        lines.append(f"commit {found.revision}")
    for title, rows in (
        ("Model", _model(facts)),
        ("Weights", _weights(facts)),
        ("Tokenizer", _tokenizer(found.tokenizer, facts)),
    ):
        lines += ["", heading(title), *_rows(rows)]
    lines += ["", heading("Vectors"), *_how(facts), *_rows(_vectors(found))]
    lines += ["", *_faults(found, colour)]
    return "\n".join(lines)


def as_json(found: Inspection) -> dict[str, Any]:
    """Return the report as the object that `--format json` prints."""
    facts, served, declared = found.facts, found.facts.served, found.facts.declared
    weights, tokenizer = facts.weights, found.tokenizer
    return {
        "schema": SCHEMA,
        "name": facts.name,
        "revision": found.revision,
        "can_be_served": found.can_be_served,
        "architectures": list(facts.architectures),
        "config": asdict(facts.config),
        "positions": {
            "config": facts.positions,
            "usable": facts.usable_positions,
            "card": facts.known.card.context if facts.known else None,
            "longest_text": facts.longest_text,
        },
        "shape_of": facts.like,
        "weights": {
            "bytes": weights.size,
            "dtype": weights.dtype,
            "parameters": dict(weights.parameters),
            "bytes_by_dtype": dict(weights.data_bytes),
            "files": [{"name": file.name, "bytes": file.size} for file in weights.files],
            "pickles": list(weights.pickles),
            "ignored": list(weights.ignored),
            "separate_head": facts.separate_head,
        },
        "tokenizer": asdict(tokenizer) if tokenizer else None,
        "declared": None
        if declared is None
        else {
            "pooling": list(declared.modes),
            "normalised": declared.is_normalised,
            "dense": list(declared.dense),
            "other_modules": list(declared.others),
        },
        "sglang": None
        if served is None
        else {
            "version": DESCRIBED_VERSION,
            "class": served.name,
            "source": served.where,
            "task": served.task,
            "pooling": served.pooling,
            "normalised": served.normalised,
            "needs_is_embedding": served.needs_flag,
            "bidirectional": served.is_bidirectional,
            "caches": served.caches,
            "dtype": facts.auto_dtype,
        },
        "guard": {"pooling": facts.pooling_with_guard},
        "dimensions": facts.full_dimensions,
        "matryoshka": asdict(facts.matryoshka),
        "prompts": {"texts": dict(facts.prompts.texts), "default": facts.prompts.default},
        "remote_code": [asdict(code) for code in facts.remote_code],
        "fingerprint": found.fingerprint,
        "fingerprint_of": asdict(found.ingredients) if found.ingredients else None,
        "faults": [asdict(fault) for fault in found.faults],
    }


def _model(facts: ModelFacts) -> Iterator[Line]:
    config = facts.config
    yield "architecture", ", ".join(facts.architectures) or "not named"
    layers, hidden = _number(config.layers), _number(config.hidden_size)
    yield (
        "shape",
        f"{layers} layers, {hidden} wide, feed-forward {_number(config.intermediate_size)}",
    )
    heads, kv_heads = _number(config.attention_heads), _number(config.kv_heads)
    of_keys = "" if heads == kv_heads else f", {kv_heads} of keys and values"
    yield "attention", f"{heads} heads{of_keys}, each {_number(config.head_dim)} wide"
    if facts.like:
        yield "", f"This is the shape of {facts.like}."
    context = f"{_number(facts.positions)} tokens by config.json"
    if facts.usable_positions != facts.positions:
        context += f", {_number(facts.usable_positions)} of them usable"
    if facts.known:
        context += f"; {_number(facts.known.card.context)} by the model card"
    if facts.longest_text:
        context += f"; texts are meant to have {_number(facts.longest_text)} at most"
    yield "context", context
    if config.rope_scaling:
        yield "", f"positions scaled: {config.rope_scaling}"
    if config.sliding_window:
        yield "", f"attention looks back {_number(config.sliding_window)} tokens"
    if config.quantization:
        yield "quantised", config.quantization


def _weights(facts: ModelFacts) -> Iterator[Line]:
    weights = facts.weights
    count = len(weights.files)
    named = "safetensors file" if count == 1 else "safetensors files"
    yield "files", f"{count} {named}" if count else "none that is whole"
    for dtype, parameters in weights.parameters.items():
        size = weights.data_bytes[dtype]
        yield "parameters", f"{parameters:,} of {dtype}, {size:,} bytes ({_gigabytes(size)})"
    if facts.separate_head:
        yield "", "SGLang allocates an output head besides, which no embedding needs."
    yield "loaded as", f"{facts.auto_dtype}, with dtype: auto"
    yield "pickles", f"{listed(weights.pickles)}: unsafe" if weights.pickles else "none"
    code = listed(sorted({code.file for code in facts.remote_code}))
    yield "remote code", code or "none"


def _tokenizer(tokenizer: TokenizerFacts | None, facts: ModelFacts) -> Iterator[Line]:
    if tokenizer is None:
        yield "", "none that can be tried"
        return
    yield "kind", ", ".join([tokenizer.kind, *tokenizer.normalisers])
    rows = facts.config.vocabulary
    yield (
        "vocabulary",
        f"{tokenizer.vocabulary:,} tokens, ids up to {tokenizer.highest_id:,}; "
        f"the model has {_number(rows)} rows",
    )
    begins = f"begins with {tokenizer.first}" if tokenizer.first else ""
    ends = f"ends in {tokenizer.last} ({tokenizer.last_id})" if tokenizer.last else ""
    yield "a text", ", ".join(filter(None, (begins, ends))) or "stays as it is: no token is added"
    same = "the same tokens" if tokenizer.joins_forms else "other tokens: normalise texts to NFC"
    yield "é or e + ´", same


def _how(facts: ModelFacts) -> list[str]:
    """Return the table of what the model declares and what becomes of it."""
    served, declared = facts.served, facts.declared
    head = ("", "declared", f"SGLang {DESCRIBED_VERSION}", "sgl-embed launch")
    if served is None or served.task is not Task.EMBED:
        says = "not known" if served is None else f"none: {served.task}"
        rows = [("pooling", _modes(facts), says, says)]
    else:
        normalised = _yes(served.normalised)
        launched = "on" if served.caches is Caches.SAFE else "off"
        caches = {Caches.SAFE: "on", Caches.SWITCHED_OFF: "off", Caches.UNSAFE: "on: wrong"}
        rows = [
            ("pooling", _modes(facts), f"{served.pooling}", f"{facts.pooling_with_guard}"),
            (
                "length 1",
                "-" if declared is None else _yes(declared.is_normalised),
                normalised,
                normalised,
            ),
            ("prefix cache", "-", caches[served.caches], launched),
        ]
    return [_columns(row) for row in (head, *rows)]


def _modes(facts: ModelFacts) -> str:
    return ", ".join(facts.declared.modes) if facts.declared and facts.declared.modes else "-"


def _columns(cells: tuple[str, str, str, str]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, HOW_COLUMNS, strict=False)]
    return f"  {''.join(padded)}{cells[3]}".rstrip()


def _vectors(found: Inspection) -> Iterator[Line]:
    facts, cut = found.facts, found.facts.matryoshka
    yield "dimensions", _number(facts.full_dimensions)
    if cut.dimensions:
        yield "", f"can be cut to {', '.join(map(str, cut.dimensions))}"
    elif cut.declared:
        yield "", "can be cut to fewer"
    elif cut.smallest:
        yield "", f"can be cut to {cut.smallest} at least, with embedding.matryoshka: true"
    if facts.served and facts.served.task is Task.EMBED:
        needed = "needed" if facts.served.needs_flag else "not needed"
        yield "flag", f"--is-embedding is {needed} (sgl-embed launch sets it)"
    yield "prompts", listed([name for name, text in facts.prompts.texts.items() if text]) or "none"
    yield "fingerprint", found.fingerprint or "not known"


def _faults(found: Inspection, colour: bool) -> Iterator[str]:
    if not found.faults:
        yield "Nothing is wrong with it."
        return
    for fault in sorted(found.faults, key=lambda fault: fault.severity is Severity.WARNING):
        yield from _fault(fault, found.facts.name, colour)


def _fault(fault: Fault, name: str, colour: bool) -> Iterator[str]:
    label = f"{fault.severity.value}:"
    what = fault.what.removeprefix(f"{name}/")  # which stands above it all
    first, *more = _wrapped(f"{label} {what}", "", " " * 9)
    styled = click.style(label, fg=_COLOURS[fault.severity], bold=True) if colour else label
    yield styled + first.removeprefix(label)
    yield from more
    if fault.why:
        yield from _wrapped(f"why:  {fault.why}", "  ", " " * 8)
    if fault.cure:
        yield f"  cure: {fault.cure}"


def _rows(rows: Iterator[Line]) -> Iterator[str]:
    for label, value in rows:
        yield from _wrapped(value, f"  {label:<{LABEL + 1}}", " " * (LABEL + 3))


def _wrapped(text: str, first: str, following: str) -> list[str]:
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=first,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _number(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _bold(text: str) -> str:
    return click.style(text, bold=True)
