"""What is wrong in a profile, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass

from sgl_embed_kit.errors import ProfileError

MOST_SHOWN = 100
Place = tuple[str | int, ...]
"""Where a value stands in a profile, such as ("model", "path")."""


@dataclass(frozen=True, order=True)
class Origin:
    """Where a value was written: a file with line and column from 1, or an option.

    Attributes:
        source: The file, or the option, such as "--set server.port".
        line: Line in the file, from 1; 0 for an option.
        column: Column in the file, from 1; 0 for an option.
    """

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a profile."""

    origin: Origin
    text: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.text}"


class InvalidProfileError(ProfileError):
    """A profile with problems; all of them are in `problems`, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(set(problems))
        count = "a problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        shown = [str(problem) for problem in self.problems[:MOST_SHOWN]]
        if len(self.problems) > MOST_SHOWN:
            shown.append(f"… and {len(self.problems) - MOST_SHOWN} more")
        super().__init__(f"The profile has {count}.", why="\n".join(shown))


def name_of(place: Place) -> str:
    """Return a place as people write it: "model.path"."""
    return ".".join(map(str, place))
