"""Check a flag and its value against a release's flag table, and spell it for the command.

The table is what argparse will judge by, minutes later and after ten seconds of imports;
here a wrong flag or value costs nothing and gets the right one named.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from sgl_embed_kit.sglang.advice import advice
from sgl_embed_kit.sglang.flag_history import releases_with
from sgl_embed_kit.sglang.flags import Flag, FlagTable
from sgl_embed_kit.sglang.judged import judged

SIZE = re.compile(r"-?\d+|\d+(\.\d+)?[kMGT]|\d+[KMGT]i")
"""What SGLang's `human_readable_int` takes, such as 8192 or 8k (srt/utils/common.py)."""


NUMBER = re.compile(r"-\d+|-\d*\.\d+")
"""What argparse takes for a negative number and not for a flag."""


class WrongArgumentError(Exception):
    """A flag or value that the release would not take; the text says what to write."""


def words_for(table: FlagTable, name: str, value: Any) -> list[str]:
    """Return the command-line words for a flag of a profile's `sglang.extra_args`.

    Args:
        table: The flags of the release that will run.
        name: The flag's name without the dashes before it.
        value: Its value: a scalar, a list for flags that take several, a mapping for
            JSON, true or false for switches.

    Raises:
        WrongArgumentError: the release has no such flag, or does not take the value.
    """
    flag, spelled = find_flag(table, name)
    useless = advice().for_generation.get(name)
    if useless:
        raise WrongArgumentError(f"`{name}` {useless.why}; leave it out")
    if spelled != f"--{name}" and name not in advice().renamed:
        # argparse would take it; rules by name, such as those on secrets, would not see it.
        raise WrongArgumentError(f"`{name}` is `{spelled[2:]}`: write it in full")
    if flag.type == "switch":
        return _switch(flag, spelled, value)
    if flag.type == "json" and isinstance(value, list):
        value = json.dumps(value)
    values = value if isinstance(value, list) else [value]
    if flag.nargs == "1" and len(values) != 1:
        raise WrongArgumentError(f"`{name}` takes one value, not a list")
    if flag.nargs == "+" and not values:
        raise WrongArgumentError(f"`{name}` takes at least one value")
    texts = [_text(flag, spelled, item) for item in values]
    for text in texts:
        takes = judged(name, text)
        if takes:
            raise WrongArgumentError(f"`{name}` takes {takes}; not {text!r}")
    like_flags = [text for text in texts if text.startswith("-") and not NUMBER.fullmatch(text)]
    if not like_flags:
        return [spelled, *texts]
    if len(texts) == 1:
        return [f"{spelled}={texts[0]}"]  # argparse would take the value for a flag
    raise WrongArgumentError(f"`{name}` cannot take {like_flags[0]!r} as one of several values")


def find_flag(table: FlagTable, name: str) -> tuple[Flag, str]:
    """Return the flag that a name means in a release, and how to spell it.

    As argparse does, the beginning of a name is enough if only one flag begins so.

    Raises:
        WrongArgumentError: no flag, or more than one, is meant.
    """
    if name.startswith("-") or "_" in name:
        right = name.lstrip("-").replace("_", "-")
        raise WrongArgumentError(f"write it as `{right}`: no dashes before it, none as _")
    known = table.by_name
    spelled = f"--{name}"
    if spelled in known:
        return known[spelled], spelled
    renamed = advice().renamed.get(name)
    if renamed and f"--{renamed.now}" in known:
        return known[f"--{renamed.now}"], f"--{renamed.now}"
    begins = {other: flag for other, flag in known.items() if other.startswith(spelled)}
    if len(begins) == 1:
        ((other, flag),) = begins.items()
        return flag, other
    if begins:
        some = ", ".join(f"`{other[2:]}`" for other in sorted(begins)[:4])
        raise WrongArgumentError(f"`{name}` could be {some}: write it in full")
    raise WrongArgumentError(_unknown(table, name))


def _unknown(table: FlagTable, name: str) -> str:
    """Say why a release has no such flag, and what to write."""
    invented = advice().never_existed.get(name)
    if invented:
        use = f"use `{invented.instead}`"
        if invented.instead in advice().set_by_profile:
            key = advice().set_by_profile[invented.instead]
            use = f"in a profile it is `{key}`" if key else "leave it out"
        return f"no SGLang ever had `{name}` ({invented.why}); {use}"
    releases = releases_with(f"--{name}")
    if releases:
        span = releases[0] if len(releases) == 1 else f"{releases[0]} to {releases[-1]}"
        return f"SGLang {table.version} has no `{name}`; known releases with it: {span}"
    names = [other[2:] for other in table.by_name]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return f"SGLang {table.version} has no `{name}`{hint}"


def _switch(flag: Flag, spelled: str, value: Any) -> list[str]:
    if not isinstance(value, bool):
        raise WrongArgumentError(f"`{spelled[2:]}` is a switch: true or false, not {value!r}")
    if value:
        return [spelled]
    opposite = f"--no-{spelled[2:]}"
    return [opposite] if opposite in flag.names else []


def _text(flag: Flag, spelled: str, value: Any) -> str:
    """Return one value as the text of a command line, checked by the flag's type."""
    text = json.dumps(value) if isinstance(value, Mapping) else str(value)
    if isinstance(value, bool) or value is None or isinstance(value, list):
        raise WrongArgumentError(f"`{spelled[2:]}` does not take {value!r}")
    if flag.choices is not None and text not in flag.choices:
        near = difflib.get_close_matches(text, flag.choices, n=1)
        shown = ", ".join(flag.choices[:8]) + (", …" if len(flag.choices) > 8 else "")  # noqa: PLR2004
        hint = f"did you mean {near[0]}? It takes" if near else "it takes"
        raise WrongArgumentError(f"`{spelled[2:]}` does not take {text!r}; {hint} {shown}")
    if not _fits(flag.type, text):
        raise WrongArgumentError(f"`{spelled[2:]}` takes {_KINDS[flag.type]}, not {text!r}")
    return text


_KINDS = {
    "int": "a whole number",
    "size": "a whole number, such as 8192 or 8k",
    "float": "a number",
    "json": "JSON",
    "str": "a text",
}


def _fits(kind: str, text: str) -> bool:
    """Say whether a text is what argparse would turn into a value of this kind."""
    try:
        if kind == "size":
            return SIZE.fullmatch(text) is not None
        if kind == "int":
            int(text)
        if kind == "float":
            float(text)
        if kind == "json":
            json.loads(text)
    except ValueError:
        return False
    return True
