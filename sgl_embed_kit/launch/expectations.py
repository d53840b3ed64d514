"""How long each phase of a start took the last times, on this machine, of a server like it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.folders import state_folder
from sgl_embed_kit.sglang.command import is_fast

KEPT = 5
"""Starts that count: enough that one on a busy machine does not matter, few enough that a new
disk does."""
LONGEST = 86400.0
"""Seconds beyond which a phase is no phase."""


@dataclass(frozen=True)
class PastStarts:
    """The last starts that ended with a server that was ready.

    What is kept is a help, not a need: where it cannot be read or written, there is none.

    Attributes:
        file: Where they are kept; None where nothing is.
    """

    file: Path | None

    def expected(self) -> dict[str, float]:
        """Return the median of the seconds that each phase took, by its id."""
        taken: dict[str, list[float]] = {}
        for start in self._starts():
            for phase, seconds in start.items():
                taken.setdefault(phase, []).append(seconds)
        return {phase: statistics.median(seconds) for phase, seconds in taken.items()}

    def remember(self, phases: Mapping[str, float]) -> None:
        """Add a start that ended well.

        Args:
            phases: Seconds that each phase took, by its id.
        """
        if self.file is None:
            return
        rounded = {phase: round(seconds, 2) for phase, seconds in phases.items()}
        starts = [*self._starts(), rounded][-KEPT:]
        partial = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        with suppress(OSError):
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="ascii") as out:
                    json.dump({"starts": starts}, out)
                partial.replace(self.file)
            finally:
                partial.unlink(missing_ok=True)

    def _starts(self) -> list[dict[str, float]]:
        if self.file is None:
            return []
        try:
            content = json.loads(self.file.read_text(encoding="ascii"))
            return [_checked(start) for start in content["starts"]][-KEPT:]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return []


NO_PAST = PastStarts(None)


def past_starts(subject: Subject) -> PastStarts:
    """Return the past starts of servers that start alike.

    Those are of the same model, device and number of GPUs, release and way to start; what
    else a profile says, such as a port, takes no time.
    """
    profile = subject.profile
    alike = [
        profile.model.path,
        profile.model.revision,
        profile.hardware.device,
        profile.parallel.tensor,
        profile.parallel.data,
        subject.release,
        is_fast(profile, subject.table),
    ]
    name = hashlib.sha256(json.dumps(alike).encode()).hexdigest()[:16]
    return PastStarts(state_folder() / "starts" / f"{name}.json")


def _checked(start: Any) -> dict[str, float]:
    """Return what a file says of a start.

    Raises:
        ValueError: it says no such thing.
    """
    found = {str(phase): float(seconds) for phase, seconds in start.items()}
    if not all(math.isfinite(seconds) and 0 <= seconds < LONGEST for seconds in found.values()):
        raise ValueError
    return found
