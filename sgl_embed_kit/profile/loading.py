"""Read a profile from YAML; every error carries file:line:column, all in one go."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sgl_embed_kit.errors import ProfileError
from sgl_embed_kit.profile.schema import Profile

MAX_BYTES = 1024 * 1024
PACKAGED = Path(__file__).parent / "bundled"
CHECKOUT = Path(__file__).parents[2] / "profiles"


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a profile, and where: line and column count from 1."""

    line: int
    column: int
    text: str


class InvalidProfileError(ProfileError):
    """A profile with problems; all of them are in `problems`."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = [f"{path}:{p.line}:{p.column}: {p.text}" for p in problems]
        super().__init__(f"The profile has {count}.", why="\n".join(lines))
        self.problems = problems


def load_profile(reference: str) -> Profile:
    """Load the profile that `reference` names: a file, or the bare name of a bundled one.

    Raises:
        ProfileError: there is no such profile, or it cannot be used.
    """
    path = _find(reference)
    try:
        raw = path.read_bytes()[: MAX_BYTES + 1]
    except OSError as error:
        raise ProfileError(
            f"{path} cannot be read.", why=error.strerror or str(error), cure=f"ls -l {path}"
        ) from error
    if len(raw) > MAX_BYTES:
        raise ProfileError(f"{path} is larger than 1 MiB.", why="A profile is a page of YAML.")
    data, positions = _parse(path, raw)
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        problems = [_problem(item, positions) for item in error.errors(include_url=False)]
        problems.sort(key=lambda problem: (problem.line, problem.column))
        raise InvalidProfileError(path, problems) from None


def bundled_profiles() -> dict[str, Path]:
    """Return the profiles that come with the toolkit, by name."""
    folder = PACKAGED if PACKAGED.is_dir() else CHECKOUT
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


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


Place = tuple[str | int, ...]
"""Where a value stands in a profile, such as ("model", "path")."""


def _parse(path: Path, raw: bytes) -> tuple[dict[str, Any], dict[Place, tuple[int, int]]]:
    """Return the YAML's content and, for every key in it, its line and column from 1."""
    try:
        root = yaml.compose(raw.decode("utf-8"), Loader=_NoAliases)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise InvalidProfileError(path, [Problem(line, column, "not UTF-8 text")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        text = error.problem or error.context or "not YAML"
        raise InvalidProfileError(path, [Problem(*where, text)]) from None
    except (yaml.YAMLError, RecursionError) as error:
        text = (
            str(error).splitlines()[0] if isinstance(error, yaml.YAMLError) else "nested too deep"
        )
        raise InvalidProfileError(path, [Problem(1, 1, text)]) from None
    if root is None:
        raise InvalidProfileError(path, [Problem(1, 1, "the file is empty; it needs `model:`")])
    if not isinstance(root, yaml.MappingNode):
        raise InvalidProfileError(path, [Problem(1, 1, "a profile is a mapping of sections")])
    reader = _Reader()
    data = reader.value(root, ())
    if reader.problems:
        raise InvalidProfileError(path, reader.problems)
    return data, reader.positions


class _NoAliases(yaml.SafeLoader):
    """Refuses aliases, so that a small file cannot unfold into a huge one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not allowed in a profile",
                problem_mark=alias.start_mark,  # type: ignore[arg-type]
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


class _Reader:
    """Turns YAML nodes into plain values and remembers where each of them stood."""

    def __init__(self) -> None:
        self.positions: dict[Place, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._constructor = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, place: Place) -> Any:
        """Return the plain value of a node."""
        self.positions.setdefault(place, _start(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        try:
            return self._constructor.construct_object(node)
        except yaml.MarkedYAMLError as error:
            self._problem(node, error.problem or "a value of an unknown type")
        except ValueError as error:  # a date such as 2026-99-99
            self._problem(node, str(error))
        return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._problem(key_node, "a key must be a plain word")
            elif key in content:
                self._problem(key_node, f"`{key}` stands here for the second time")
            else:
                self.positions[(*place, key)] = _start(key_node)
                content[key] = self.value(value_node, (*place, key))
        return content

    def _problem(self, node: yaml.Node, text: str) -> None:
        self.problems.append(Problem(*_start(node), text))


def _start(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _problem(item: Any, positions: dict[Place, tuple[int, int]]) -> Problem:
    """Turn one of pydantic's errors into a problem with its place in the file."""
    place: Place = tuple(item["loc"])
    known = place
    while known not in positions:  # a missing key is reported where its section begins
        known = known[:-1]
    name = ".".join(str(part) for part in place)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _keys_beside(place), n=1)
        text = f"`{name}` is not a key of a profile"
        text += f"; did you mean `{near[0]}`?" if near else ""
    elif item["type"] == "missing":
        text = f"`{name}` is missing"
    else:
        message = item["msg"].removeprefix("Value error, ")
        text = f"`{name}` is {item['input']!r}: {message[:1].lower()}{message[1:]}"
    return Problem(*positions[known], text)


def _keys_beside(place: Place) -> list[str]:
    """Return the keys that the schema allows where `place` stands."""
    section: type[BaseModel] = Profile
    for part in place[:-1]:
        inner = section.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        section = inner
    return list(section.model_fields)
