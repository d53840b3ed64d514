"""From a profile's name to a `Profile`: extends, ${VAR}, --set, validation, all errors at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sgl_embed_kit.errors import ProfileError, UsageError
from sgl_embed_kit.profile.problems import InvalidProfileError, Origin, Place, Problem, name_of
from sgl_embed_kit.profile.rules import Fault, contradictions, sensitive_faults
from sgl_embed_kit.profile.schema import Profile
from sgl_embed_kit.profile.yaml_file import Document, read_yaml

PACKAGED = Path(__file__).parent / "bundled"
CHECKOUT = Path(__file__).parents[2] / "profiles"
LONGEST_CHAIN = 8
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
"""${NAME}, or ${NAME:-default}."""


@dataclass(frozen=True)
class Loaded:
    """A profile, and what is known of where it came from.

    Attributes:
        profile: The profile itself.
        shown: The profile as it may be shown: what came from the environment stands in
            it as it was written, such as ${HF_TOKEN}.
        origins: Where each value was written; what is not in it is a default.
        path: The profile's own file.
    """

    profile: Profile
    shown: Profile
    origins: Mapping[Place, Origin]
    path: Path


@dataclass
class _Draft:
    """A profile's content while it is put together, and what was found wrong so far."""

    data: dict[str, Any]
    origins: dict[Place, Origin]
    expanded: dict[Place, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def load_profile(reference: str) -> Profile:
    """Load the profile that `reference` names: a file, or the bare name of a bundled one.

    Raises:
        ProfileError: there is no such profile, or it cannot be used.
    """
    return read_profile(reference).profile


def read_profile(
    reference: str,
    settings: Sequence[str] = (),
    *,
    env: Mapping[str, str] = os.environ,
    allow_unsafe: bool = False,
    also: Callable[[Mapping[str, Any]], Iterable[Fault]] | None = None,
) -> Loaded:
    """Load a profile, change it by `--set KEY=VALUE` settings, and check all of it.

    Args:
        reference: A file, or the bare name of a bundled profile.
        settings: KEY=VALUE each, put over what the files say.
        env: Where ${NAME} is looked up.
        allow_unsafe: Whether keys that could run foreign code are allowed.
        also: One more check of the content, run even if the content is not valid, so
            that all faults are named in one go.

    Raises:
        ProfileError: there is no such profile, or it cannot be used.
        UsageError: a setting is not of the form KEY=VALUE.
    """
    path = _find(reference)
    document = _extended(path, ())
    draft = _Draft(document.data, document.origins)
    for setting in settings:
        _set(draft, setting)
    draft.data = _expand(draft, draft.data, (), env)
    for place, text in sensitive_faults(
        draft.data, frozenset(draft.expanded), allow_unsafe=allow_unsafe
    ):
        draft.problems.append(Problem(_origin(draft, place), text))
    for place, text in also(draft.data) if also else ():
        draft.problems.append(Problem(_origin(draft, place), text))
    try:
        profile = Profile.model_validate(draft.data)
    except ValidationError as error:
        items = error.errors(include_url=False)
        raise InvalidProfileError(
            draft.problems + [_problem(draft, item) for item in items]
        ) from None
    for place, text in contradictions(profile):
        draft.problems.append(Problem(_origin(draft, place), text))
    if draft.problems:
        raise InvalidProfileError(draft.problems)
    shown = profile
    for place, written in draft.expanded.items():
        shown = _with_text(shown, place, written)
    return Loaded(profile, shown, draft.origins, path)


def bundled_profiles() -> dict[str, Path]:
    """Return the profiles that come with the toolkit, by name and in the order of the names."""
    folder = PACKAGED if PACKAGED.is_dir() else CHECKOUT
    return dict(sorted((path.stem, path) for path in folder.glob("*.yaml")))


def head_comment(path: Path) -> str:
    """Return the comment at the head of a profile, which says what its numbers rest on."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# yaml-language-server:"):
            lines.append(line.removeprefix("#").strip())
    return "\n".join(lines)


def _find(reference: str) -> Path:
    path = Path(reference).expanduser()
    if path.exists():
        return path
    bundled = bundled_profiles()
    if reference in bundled:
        return bundled[reference]
    near = difflib.get_close_matches(Path(reference).stem, bundled, n=1)
    raise ProfileError(
        f"There is no profile {reference}.",
        why=f"No such file, and the bundled profiles are {', '.join(bundled)}.",
        cure=f"sgl-embed launch {near[0]}" if near else "",
    )


def _extended(path: Path, chain: tuple[Path, ...]) -> Document:
    """Read a file and put it over the profile that it extends, if it names one.

    Raises:
        ProfileError: a file cannot be read, or `extends` leads in a circle, too far, or
            out of the folder.
    """
    document = read_yaml(path)
    if "extends" not in document.data:
        return document
    named = document.data.pop("extends")
    origin = document.origins.pop(("extends",))
    target = path.parent / str(named)
    if not isinstance(named, str) or Path(named).name != named or named in {"", ".", ".."}:
        problem = "must be a file of this folder or the name of a bundled profile"
    elif not target.is_file() and named not in bundled_profiles():
        problem = f"there is no {named} in this folder, and no bundled profile of that name"
    else:
        target = target if target.is_file() else bundled_profiles()[named]
        chain = (*chain, path.resolve())
        if target.resolve() not in chain and len(chain) < LONGEST_CHAIN:
            return _merged(_extended(target, chain), document)
        problem = f"{named} extends this profile in turn, or the chain is too long"
    raise InvalidProfileError([Problem(origin, f"`extends` is {named!r}: {problem}")])


def _merged(base: Document, over: Document) -> Document:
    """Put one profile over another: sections key by key, anything else as a whole."""
    data, origins = dict(base.data), {**base.origins, **over.origins}
    for key, value in over.data.items():
        below = data.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            inner = _merged(Document(below, {}), Document(value, {}))
            data[key] = inner.data
        else:
            data[key] = value
    return Document(data, origins)


def _set(draft: _Draft, setting: str) -> None:
    """Put one value into the profile, as `--set limits.context_length=4096` says."""
    key, separator, text = setting.partition("=")
    place = tuple(key.strip().split("."))
    if not separator or not all(place):
        raise UsageError(
            f"{setting!r} is no setting.",
            why="A setting is KEY=VALUE, with the key as in a profile.",
            cure="sgl-embed launch PROFILE --set limits.context_length=4096",
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    section = draft.data
    for part in place[:-1]:
        inner = section.setdefault(part, {})
        section = inner if isinstance(inner, dict) else {}
    section[place[-1]] = value
    draft.origins[place] = Origin(f"--set {setting}")


def _expand(draft: _Draft, value: Any, place: Place, env: Mapping[str, str]) -> Any:
    """Return a value with each ${NAME} in its texts replaced from the environment."""
    if isinstance(value, dict):
        return {key: _expand(draft, inner, (*place, key), env) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(draft, inner, (*place, n), env) for n, inner in enumerate(value)]
    if not isinstance(value, str) or not VARIABLE.search(value):
        return value

    def replacement(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = env.get(name) or default
        if found is None:
            text = f"`{name_of(place)}` needs the variable {name}, which is not set"
            draft.problems.append(Problem(_origin(draft, place), text))
        return found or ""

    draft.expanded[place] = value
    return VARIABLE.sub(replacement, value)


def _with_text(value: Any, place: Place, text: str) -> Any:
    """Return a profile, or a part of it, with a text at a place, unvalidated."""
    if not place:
        return text
    head, rest = place[0], place[1:]
    if isinstance(value, BaseModel):
        inner = _with_text(getattr(value, str(head)), rest, text)
        return value.model_copy(update={str(head): inner})
    if isinstance(value, list):
        return [_with_text(v, rest, text) if n == head else v for n, v in enumerate(value)]
    return {**value, head: _with_text(value[head], rest, text)}


def _origin(draft: _Draft, place: Place) -> Origin:
    while place not in draft.origins:  # what is missing is reported where its section begins
        place = place[:-1]
    return draft.origins[place]


def _problem(draft: _Draft, item: Any) -> Problem:
    """Turn one of pydantic's errors into a problem with its place in the file."""
    place: Place = tuple(item["loc"])
    name = name_of(place)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _keys_beside(place), n=1)
        text = f"`{name}` is not a key of a profile"
        text += f"; did you mean `{near[0]}`?" if near else ""
    elif item["type"] == "missing":
        text = f"`{name}` is missing"
    else:
        message = item["msg"].removeprefix("Value error, ")
        shown = "…" if place in draft.expanded else repr(item["input"])
        text = f"`{name}` is {shown}: {message[:1].lower()}{message[1:]}"
    return Problem(_origin(draft, place), text)


def _keys_beside(place: Place) -> list[str]:
    """Return the keys that the schema allows where `place` stands."""
    section: type[BaseModel] = Profile
    for part in place[:-1]:
        inner = section.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        section = inner
    return list(section.model_fields)
