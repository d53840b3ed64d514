"""Versions of SGLang, compared by their release numbers."""

from __future__ import annotations

import operator
import re

_COMPARE = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_CONDITION = re.compile(r"\s*(>=|<=|<|>|==)?\s*(\d+(?:\.\d+)*)(?:\.post\d+)?\s*")


def release_of(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version: "0.5.10.post1" gives (0, 5, 10)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


class VersionRange:
    """Versions such as `0.5.23`, `>=0.5.12` or `>=0.5.12,<0.6`.

    Raises:
        ValueError: the text is of another form.
    """

    def __init__(self, text: str) -> None:
        self._conditions: list[tuple[str, tuple[int, ...]]] = []
        for part in text.split(","):
            match = _CONDITION.fullmatch(part)
            if match is None:
                raise ValueError("must be like 0.5.23, >=0.5.12 or >=0.5.12,<0.6")
            self._conditions.append((match[1] or "==", release_of(match[2])))

    @property
    def named(self) -> str:
        """The first version that the range names, to go by where none is installed."""
        return ".".join(map(str, self._conditions[0][1]))

    def __contains__(self, version: str) -> bool:
        release = release_of(version)
        return all(_COMPARE[sign](release, wanted) for sign, wanted in self._conditions)
