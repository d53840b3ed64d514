"""From a profile's name to a `Profile`: extends, ${VAR}, --set, validation, all errors at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sgl_embed_kit.errors import ProfileError, UsageError
from sgl_embed_kit.folders import with_home
from sgl_embed_kit.profile.masking import Mask
from sgl_embed_kit.profile.problems import InvalidProfileError, Origin, Place, Problem, name_of
from sgl_embed_kit.profile.rules import Fault, contradictions, sensitive_faults
from sgl_embed_kit.profile.schema import KEY_FIELDS, Profile
from sgl_embed_kit.profile.wording import nearest_key, unknown_key, wrong_value
from sgl_embed_kit.profile.yaml_file import Document, read_yaml

PACKAGED = Path(__file__).parent / "bundled"
CHECKOUT = Path(__file__).parents[2] / "profiles"
LONGEST_CHAIN = 8
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^{}]*))?\}")
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
        mask: Keeps the values that came from the environment out of a text.
    """

    profile: Profile
    shown: Profile
    origins: Mapping[Place, Origin]
    path: Path
    mask: Mask


@dataclass
class _Draft:
    """A profile's content while it is put together, and what was found wrong so far.

    Attributes:
        data: The content.
        origins: Where each value was written.
        expanded: What stood where a value came from the environment.
        values: The variables' names, by their values.
        settled: Places of which enough was said, whatever the schema finds there.
        problems: What is wrong.
    """

    data: dict[str, Any]
    origins: dict[Place, Origin]
    expanded: dict[Place, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    settled: set[Place] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def origin(self, place: Place) -> Origin:
        """Return where a place was written; what is missing, where its section begins."""
        while place not in self.origins:
            place = place[:-1]
        return self.origins[place]

    def blame(self, faults: Iterable[Fault]) -> None:
        """Add faults to the problems, with their places in the file."""
        self.problems += [Problem(self.origin(place), text) for place, text in faults]


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
    check_content: Callable[[Mapping[str, Any]], Iterable[Fault]] | None = None,
    check_profile: Callable[[Profile], Iterable[Fault]] | None = None,
) -> Loaded:
    """Load a profile, change it by `--set KEY=VALUE` settings, and check all of it.

    Args:
        reference: A file, or the bare name of a bundled profile.
        settings: KEY=VALUE each, put over what the files say.
        env: Where ${NAME} is looked up.
        allow_unsafe: Whether keys that could run foreign code are allowed.
        check_content: One more check of the content, which need not be valid.
        check_profile: One more check of the profile, run without its invalid values.

    Raises:
        ProfileError: there is no such profile, or it cannot be used.
        UsageError: a setting is not of the form KEY=VALUE.
    """
    path = _find(reference)
    document = _extended(path, ())
    draft = _Draft(document.data, document.origins, problems=list(document.unread.values()))
    draft.settled.update(document.unread)
    for setting in settings:
        _set(draft, setting)
    # A section whose keys are all commented out reads as null.
    draft.data = {key: {} if value is None else value for key, value in draft.data.items()}
    draft.data = _expand(draft, draft.data, (), env)
    for place, text in sensitive_faults(
        draft.data, frozenset(draft.expanded), allow_unsafe=allow_unsafe
    ):
        draft.settled.add(place)
        draft.blame([(place, text)])
    if check_content:
        faults = check_content(draft.data)
        draft.blame((place, text) for place, text in faults if place not in draft.settled)
    profile = _validated(draft)
    if profile is not None:
        draft.blame(contradictions(profile))
        if check_profile:
            draft.blame(check_profile(profile))
    mask = Mask(draft.values)
    if draft.problems:
        masked = [replace(problem, text=mask(problem.text)) for problem in draft.problems]
        raise InvalidProfileError(masked)
    assert profile is not None
    shown = profile
    for place, written in draft.expanded.items():
        shown = _with_text(shown, place, written)
    return Loaded(profile, shown, draft.origins, path, mask)


def _validated(draft: _Draft) -> Profile | None:
    """Return the profile of a draft, or what is left of it without its invalid values.

    So that values that contradict each other are named together with invalid ones.
    """
    try:
        return Profile.model_validate(draft.data)
    except ValidationError as error:
        items = error.errors(include_url=False)
    unknown = [item["loc"] for item in items if item["type"] == "extra_forbidden"]
    meant = {(*place[:-1], nearest_key(place)) for place in unknown}
    for item in items:
        place = item["loc"]
        if place in draft.settled or (item["type"] == "missing" and place in meant):
            continue  # something better was said of it
        if place in unknown:
            draft.blame([(place, unknown_key(place))])
        else:
            hidden = place in draft.expanded or place[-1] in KEY_FIELDS
            draft.blame([(place, wrong_value(item, hidden=hidden))])
    if any(item["type"] == "missing" for item in items):
        return None
    try:
        return Profile.model_validate(_without(draft.data, [item["loc"] for item in items]))
    except ValidationError:
        return None


def _without(data: dict[str, Any], places: Iterable[Place]) -> dict[str, Any]:
    """Return a copy of a profile's content without the values at some places."""
    copied = deepcopy(data)
    for place in places:
        section: Any = copied
        for part in place[:-1]:
            section = section.get(part, {}) if isinstance(section, dict) else {}
        if isinstance(section, dict):
            section.pop(place[-1], None)
    return copied


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
    path = with_home(reference)
    if path.exists():
        return path
    bundled = bundled_profiles()
    if reference in bundled:
        return bundled[reference]
    near = difflib.get_close_matches(Path(reference).stem, bundled, n=1)
    raise ProfileError(
        f"There is no profile {reference}.",
        why="No such file is here, and no profile of that name comes with the toolkit.",
        cure=f"sgl-embed launch {near[0]}" if near else "sgl-embed profile list",
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
    chain = (*chain, path.resolve())
    if not isinstance(named, str) or Path(named).name != named or named in {"", ".", ".."}:
        problem = "must be a file of this folder or the name of a bundled profile"
    elif not target.is_file() and named not in bundled_profiles():
        here = [file.name for file in path.parent.glob("*.yaml")]
        near = difflib.get_close_matches(named, [*here, *bundled_profiles()], n=1)
        problem = "there is no such file in this folder, and no such bundled profile"
        problem += f"; did you mean {near[0]}?" if near else ""
    else:
        target = target if target.is_file() else bundled_profiles()[named]
        if target.resolve() in chain:
            problem = "that leads back to this profile"
        elif len(chain) >= LONGEST_CHAIN:
            problem = f"a profile extends no more than {LONGEST_CHAIN - 1} others in a row"
        else:
            return _merged(_extended(target, chain), document)
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
    return Document(data, origins, {**base.unread, **over.unread})


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
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date in month 13
        value = text
    section = draft.data
    for part in place[:-1]:
        inner = section.setdefault(part, {})
        section = inner if isinstance(inner, dict) else {}
    section[place[-1]] = value
    draft.origins[place] = Origin(f"--set {key.strip()}")


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
        if env.get(name):
            draft.values[env[name]] = name
            # The served model name may be made of the last part of a path.
            draft.values.setdefault(PurePosixPath(env[name]).name, name)
        if found is None:
            draft.settled.add(place)
            text = f"`{name_of(place)}` needs the variable {name}, which is not set"
            draft.blame([(place, text)])
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
