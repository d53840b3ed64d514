"""What is wrong with a model, as data: found once, shown by whoever asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from sgl_embed_kit.errors import KitError


class Severity(StrEnum):
    """How much a fault matters.

    An error: SGLang could not serve the model, or would make wrong vectors of it, or one
    text could end the server. A warning: it is served, and there is something to know.
    """

    ERROR = "error"
    WARNING = "warning"


class Concern(StrEnum):
    """What of a model a fault is about."""

    FILES = "files"
    SERVING = "serving"
    POOLING = "pooling"
    LENGTH = "length"
    TOKENIZER = "tokenizer"
    PROMPTS = "prompts"
    CODE = "code"


@dataclass(frozen=True)
class Fault:
    """Something wrong with a model.

    Attributes:
        what: One sentence: what is wrong.
        why: One sentence: the evidence, or what follows from it.
        cure: One command or edit that cures it; empty where there is none.
        severity: How much it matters.
        concern: What of the model it is about.
    """

    what: str
    why: str = ""
    cure: str = ""
    severity: Severity = Severity.ERROR
    concern: Concern = Concern.FILES

    def as_error(self) -> KitError:
        """Return the fault as the error that a command ends with."""
        return KitError(self.what, why=self.why, cure=self.cure)


def warning(what: str, why: str = "", cure: str = "", concern: Concern = Concern.FILES) -> Fault:
    """Return a fault that does not keep the model from being served."""
    return Fault(what, why, cure, Severity.WARNING, concern)


def concerning(concern: Concern, faults: Iterable[Fault]) -> Iterator[Fault]:
    """Return faults as ones that are about `concern`."""
    return (replace(fault, concern=concern) for fault in faults)
