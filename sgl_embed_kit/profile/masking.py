"""Keep what came from the environment out of all that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sgl_embed_kit.errors import KitError

SHORTEST_MASKED = 4
"""A shorter value, such as a port's first digits, stands in too many other words."""


@dataclass(frozen=True)
class Mask:
    """Puts ${NAME} in the place of the variable's value.

    Attributes:
        names: The variables' names, by their values.
    """

    names: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        """Return a text without the values."""
        for value in sorted(self.names, key=len, reverse=True):
            if len(value) >= SHORTEST_MASKED:
                text = text.replace(value, f"${{{self.names[value]}}}")
        return text

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Mask the errors that the block raises."""
        try:
            yield
        except KitError as error:
            error.what, error.why, error.cure = map(self, (error.what, error.why, error.cure))
            raise


NO_MASK = Mask()
"""For what took nothing from the environment."""
