"""What people and editors need to write a profile: its JSON Schema, and a first draft."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from pydantic import BaseModel, ValidationError

from sgl_embed_kit.errors import UsageError
from sgl_embed_kit.model.known import known_model
from sgl_embed_kit.profile import schema
from sgl_embed_kit.profile.schema import ModelSection, Profile

SCHEMA_FILE = "profile.schema.json"
SCHEMA_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a profile, with the words that document each key."""
    result = Profile.model_json_schema()
    result["title"] = "A profile of sgl-embed"
    result["properties"]["extends"] = {
        "type": "string",
        "description": "Start from another profile of this folder, or a bundled one.",
    }
    documented = _documented_keys()
    for name, section in {"Profile": result, **result["$defs"]}.items():
        for key, words in documented.get(name, {}).items():
            section["properties"][key]["description"] = words
    # Any text may hold ${NAME}; a profile that extends another one may leave out model.
    del result["required"]
    return result


def new_profile(model: str, device: str, gpu: str | None, context_length: int, port: int) -> str:
    """Return the text of a profile to begin with, each line with its reason.

    Raises:
        UsageError: the model's path can be none.
    """
    try:
        ModelSection(path=model)
    except ValidationError as error:
        raise UsageError(
            f"{model!r} cannot be a model's path.",
            why=error.errors(include_url=False)[0]["msg"].removeprefix("Value error, "),
            cure="sgl-embed profile new FILE --model Qwen/Qwen3-Embedding-0.6B",
        ) from None
    known = known_model(model)
    lines = [
        SCHEMA_LINE,
        "# Editors find that file after: sgl-embed profile schema > profile.schema.json",
        "# Computed, not measured: try it with `sgl-embed doctor` on this file.",
        "model:",
        f"  path: {_scalar(model)}",
    ]
    if known:
        lines.append(f"  revision: {known.revision}  # so that the vectors stay the same")
    lines += ["hardware:", f"  device: {device}"]
    if gpu:
        lines.append(f"  gpu: {_scalar(gpu)}  # doctor compares it with the GPU that is there")
    lines += [
        "server:",
        "  host: 127.0.0.1  # only this machine; 0.0.0.0 for every interface",
        f"  port: {port}",
        "  # api_key_env: SGL_EMBED_API_KEY  # the variable with the key that clients must send",
        "limits:",
        "  # SGLang refuses a text of this many tokens or more.",
        f"  context_length: {context_length}",
        "  # Two full texts: one that is longer than the KV pool would hang the server.",
        f"  max_total_tokens: {max(16384, 2 * context_length)}",
    ]
    if known:
        lines += [
            "embedding:",
            "  # Of a full vector; launch holds the server to it.",
            f"  dimensions: {known.shape.hidden_size}",
            "  matryoshka: true  # trained so: a request may ask for fewer dimensions",
        ]
    return "\n".join([*lines, ""])


def _scalar(text: str) -> str:
    """Return a text as YAML that reads back as just this text."""
    import yaml

    written: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10_000)
    return written.strip()


def _documented_keys() -> dict[str, dict[str, str]]:
    """Return the text under each field of the schema's classes, by class and field.

    pydantic can collect them itself, but does so at every import, which costs more than
    all the rest of reading a profile.
    """
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(schema)).body:
        if not isinstance(node, ast.ClassDef) or not _is_section(node.name):
            continue
        doc = ast.get_docstring(node) or ""
        keys: dict[str, str] = {}
        for statement, following in zip(node.body, node.body[1:], strict=False):
            match statement, following:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    keys[name] = inspect.cleandoc(words)
        found.setdefault(node.name, {}).update(keys)
        for name, field in Profile.model_fields.items():
            if getattr(field.annotation, "__name__", "") == node.name:
                found.setdefault("Profile", {})[name] = doc
    return found


def _is_section(name: str) -> bool:
    return issubclass(getattr(schema, name), BaseModel)
