"""What is wrong with a model, as data: found once, shown by whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sgl_embed_kit.errors import KitError


class Severity(StrEnum):
    """How much a fault matters.

    An error: SGLang could not serve the model, or would make wrong vectors of it, or one
    text could end the server. A warning: it is served, and there is something to know.
    """

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Fault:
    """Something wrong with a model.

    Attributes:
        what: One sentence: what is wrong.
        why: One sentence: the evidence, or what follows from it.
        cure: One command or edit that cures it; empty where there is none.
        severity: How much it matters.
    """

    what: str
    why: str = ""
    cure: str = ""
    severity: Severity = Severity.ERROR

    def as_error(self) -> KitError:
        """Return the fault as the error that a command ends with."""
        return KitError(self.what, why=self.why, cure=self.cure)


def warning(what: str, why: str = "", cure: str = "") -> Fault:
    """Return a fault that does not keep the model from being served."""
    return Fault(what, why, cure, Severity.WARNING)
