"""Follow a server's start by the lines that it prints: phases, progress, problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sgl_embed_kit.launch.events import Noticed, PhaseBegan, Progress
from sgl_embed_kit.launch.output import Line
from sgl_embed_kit.sglang.log import IMPORTING, Phase, phase_of, progress_of
from sgl_embed_kit.sglang.problems import problem_of, problems

NOTICED = ("error", "warn")
"""Severities of a problem that are worth a word before the server has ended, or is ready."""


class StartLog:
    """What the log has said of one start so far.

    Attributes:
        phases: Each phase and when it began, on the monotonic clock; the last one lasts.
    """

    def __init__(self, began: float, expected: Mapping[str, float]) -> None:
        """Begin with the import, of which no line tells.

        Args:
            began: When the process was started, on the monotonic clock.
            expected: Seconds that each phase is likely to take, by its id.
        """
        self.phases: list[tuple[Phase, float]] = [(IMPORTING, began)]
        self._expected = expected
        self._progress: Progress | None = None
        self._told: Progress | None = None
        self._known: set[str] = set()

    def begin(self) -> PhaseBegan:
        """Return the event of the first phase."""
        return self._began(IMPORTING)

    def read(
        self, lines: Sequence[Line], begun: str = ""
    ) -> Iterator[PhaseBegan | Progress | Noticed]:
        """Yield what new lines tell; of progress, only the last of each phase.

        Args:
            lines: The lines.
            begun: The line that has not ended yet: a bar that grows.
        """
        for line in lines:
            phase = phase_of(line.text)
            if phase is not None and phase is not self.phases[-1][0]:
                yield from self._new_progress()
                self.phases.append((phase, line.at))
                self._progress = self._told = None
                yield self._began(phase)
            self._look_for_progress(line.text)
            yield from self._problem(line.text)
        self._look_for_progress(begun)
        yield from self._new_progress()

    def seconds(self, now: float) -> dict[Phase, float]:
        """Return what each phase has taken, if the last one ends now."""
        ends = [*(began for _, began in self.phases[1:]), now]
        taken: dict[Phase, float] = {}
        for (phase, began), end in zip(self.phases, ends, strict=True):
            taken[phase] = taken.get(phase, 0.0) + end - began
        return taken

    def _began(self, phase: Phase) -> PhaseBegan:
        return PhaseBegan(phase, self._expected.get(phase.id))

    def _new_progress(self) -> Iterator[Progress]:
        if self._progress is not None and self._progress != self._told:
            self._told = self._progress
            yield self._progress

    def _look_for_progress(self, line: str) -> None:
        found = progress_of(line)
        if found is not None:
            self._progress = Progress(self.phases[-1][0], *found)

    def _problem(self, line: str) -> Iterator[Noticed]:
        problem = problem_of(line, problems(), phase=self.phases[-1][0].id)
        if problem is None or problem.severity not in NOTICED or problem.id in self._known:
            return
        self._known.add(problem.id)
        shown = "".join(char for char in line.strip() if char.isprintable())
        yield Noticed(problem.id, problem.severity, problem.means, problem.cure, shown)
