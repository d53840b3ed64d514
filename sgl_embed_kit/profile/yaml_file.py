"""Read one YAML file into plain values, and remember where each of them stood."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sgl_embed_kit.errors import ProfileError
from sgl_embed_kit.profile.problems import InvalidProfileError, Origin, Place, Problem
from sgl_embed_kit.profile.wording import wrong_yaml

MAX_BYTES = 1024 * 1024
MOST_VALUES = 1000
LONGEST_TEXT = 8192
PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
)


@dataclass(frozen=True)
class Document:
    """A file's content, where each key and item of it stood, and what could not be read.

    Attributes:
        data: The content without what could not be read.
        origins: Where each key and item stood.
        unread: What could not be read of it, by its place.
    """

    data: dict[str, Any]
    origins: dict[Place, Origin]
    unread: dict[Place, Problem] = field(default_factory=dict)


def read_yaml(path: Path) -> Document:
    """Read a profile's file.

    Raises:
        ProfileError: it cannot be read, is larger than 1 MiB, not UTF-8, not YAML, or
            not a mapping, or it uses aliases.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(
            f"{path} cannot be read.", why=error.strerror or str(error), cure=f"ls -l {path}"
        ) from error
    if len(raw) > MAX_BYTES:
        raise ProfileError(f"{path} is larger than 1 MiB.", why="A profile is a page of YAML.")
    root = _composed(str(path), raw)
    begin = Origin(str(path), 1, 1)
    if root is None:
        raise InvalidProfileError([Problem(begin, "the file is empty; it needs `model:`")])
    if not isinstance(root, yaml.MappingNode):
        raise InvalidProfileError([Problem(begin, "a profile is a mapping of sections")])
    reader = _Reader(str(path))
    data = reader.value(root, ())
    if data is _UNREAD:
        raise InvalidProfileError(list(reader.unread.values()))
    return Document(data, reader.origins, reader.unread)


def _composed(source: str, raw: bytes) -> yaml.Node | None:
    try:
        return _compose(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        hint = "; it looks like UTF-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else ""
        problem = Problem(Origin(source, line, column), f"not UTF-8 text{hint}")
    except RecursionError:
        problem = Problem(Origin(source, 1, 1), "nested too deep")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = _origin(source, mark) if mark else Origin(source, 1, 1)
        problem = Problem(where, wrong_yaml(error))
    except yaml.reader.ReaderError as error:
        before = raw.decode("utf-8")[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        code = error.character if isinstance(error.character, int) else ord(error.character)
        text = f"the character U+{code:04X} is not allowed"
        problem = Problem(Origin(source, line, column), text)
    raise InvalidProfileError([problem])


def _compose(text: str) -> yaml.Node | None:
    node: yaml.Node | None = yaml.compose(text, Loader=_Bounded)
    return node


class _Bounded(yaml.SafeLoader):
    """Refuses what takes more memory or time than a page of YAML ever does.

    Aliases, because a small file could unfold into a huge one; and more values, or longer
    ones, than a profile can have: a value takes a thousand bytes while it is read.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        self._values += 1
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "anchors and aliases are not allowed in a profile")
        if self._values > MOST_VALUES:
            self._refuse(event, f"more than {MOST_VALUES} keys and values")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST_TEXT:
            self._refuse(event, f"a text of more than {LONGEST_TEXT} characters")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    @staticmethod
    def _refuse(event: Any, problem: str) -> None:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


_UNREAD = object()


class _Reader:
    """Turns YAML nodes into plain values and remembers where each of them stood."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.origins: dict[Place, Origin] = {}
        self.unread: dict[Place, Problem] = {}
        self._constructor = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, place: Place) -> Any:
        """Return the plain value of a node, or _UNREAD."""
        self.origins.setdefault(place, self._origin(node))
        if node.tag not in PLAIN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            return self._not_read(node, place, f"the tag {tag} is unknown to profiles")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            items = [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
            return [item for item in items if item is not _UNREAD]
        try:
            return self._constructor.construct_object(node)
        except ValueError as error:  # a date such as 2026-99-99
            return self._not_read(node, place, f"no date: {error}")

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for index, (key_node, value_node) in enumerate(node.value):
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._not_read(key_node, (*place, index), "a key must be a plain word")
                continue
            if key in content:
                again = f"`{key}` stands here for the second time"
                self._not_read(key_node, (*place, key, index), again)
                continue
            self.origins[(*place, key)] = self._origin(key_node)
            value = self.value(value_node, (*place, key))
            if value is not _UNREAD:
                content[key] = value
        return content

    def _not_read(self, node: yaml.Node, place: Place, text: str) -> object:
        self.unread[place] = Problem(self._origin(node), text)
        return _UNREAD

    def _origin(self, node: yaml.Node) -> Origin:
        return _origin(self._source, node.start_mark)


def _origin(source: str, mark: Any) -> Origin:
    return Origin(source, mark.line + 1, mark.column + 1)
