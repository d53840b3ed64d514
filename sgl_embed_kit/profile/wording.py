"""What pydantic and PyYAML find wrong, in words for the person who wrote the profile."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from sgl_embed_kit.profile.problems import Place, name_of
from sgl_embed_kit.profile.schema import Profile

LONGEST_SHOWN = 60


def wrong_value(error: Mapping[str, Any], *, hidden: bool) -> str:
    """Return the sentence for one of pydantic's errors other than an unknown key.

    Args:
        error: An item of `ValidationError.errors()`.
        hidden: Whether the value must not be shown.
    """
    name = name_of(tuple(error["loc"]))
    if error["type"] == "missing":
        return f"`{name}` is missing"
    shown = "…" if hidden else _shortened(repr(error["input"]))
    return f"`{name}` is {shown}: {_rule(error)}"


def unknown_key(place: Place) -> str:
    """Return the sentence for a key that the schema does not have at a place."""
    text = f"`{name_of(place)}` is not a key of a profile"
    near = nearest_key(place)
    if near:
        return f"{text}; did you mean `{near}`?"
    owners = [
        section
        for section, field in Profile.model_fields.items()
        if str(place[-1]) in getattr(field.annotation, "model_fields", {})
    ]
    return f"{text}; it belongs in `{owners[0]}`" if owners else text


def nearest_key(place: Place) -> str:
    """Return the key that was probably meant at a place, or an empty text."""
    section: type[BaseModel] = Profile
    for part in place[:-1]:
        inner = section.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        section = inner
    near = difflib.get_close_matches(str(place[-1]), section.model_fields, n=1)
    return near[0] if near else ""


def wrong_yaml(error: yaml.MarkedYAMLError) -> str:
    """Return the sentence for a file that is not YAML."""
    problem = error.problem or error.context or "not YAML"
    if problem.startswith("expected <block end>"):
        return "the indentation does not fit the lines above"
    if problem.startswith("found character '\\t'"):
        return "a tab; YAML takes only spaces for indentation"
    if problem == "mapping values are not allowed here":
        return "a colon that YAML cannot place; is one missing in the line above?"
    if error.context and problem.startswith("but "):
        return f"{error.context}, {problem}"
    begin, end = error.context_mark, error.problem_mark
    if error.context and begin and end and begin.line != end.line:
        where = f"{begin.line + 1}:{begin.column + 1}"
        return f"{problem}, {error.context} that begins at {where}"
    return problem


RULES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a text; put it in quotes",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be the name of an environment variable",
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be more than {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be less than {lt:g}",
    "literal_error": "must be {expected}",
    "model_type": "must hold keys with values",
    "dict_type": "must hold keys with values",
}
"""What a value must be, by pydantic's name for the error."""


ONLY = "must be {only}: nothing else works in this version"
"""Of a key whose other values the toolkit does not act on yet."""


def _rule(error: Mapping[str, Any]) -> str:
    if error["type"] == "literal_error" and " or " not in error["ctx"]["expected"]:
        return ONLY.format(only=error["ctx"]["expected"].replace("'", "").lower())
    if error["type"] == "too_long" and error["ctx"]["max_length"] == 0:
        return ONLY.format(only="[]")
    if error["type"] not in RULES:
        message = str(error["msg"]).removeprefix("Value error, ")
        return message[:1].lower() + message[1:]
    rule = RULES[error["type"]].format(**error.get("ctx", {})).replace("'", "")
    if error["type"] == "literal_error":
        rule = rule.lower()  # as YAML spells true and false
    if error["type"] == "model_type" and ":" in str(error["input"]):
        rule += "; a colon needs a blank after it"
    return rule


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
