"""A start is told by the lines of the log: phases, progress, problems."""

from collections.abc import Sequence

import pytest

from sgl_embed_kit.launch.events import Noticed, PhaseBegan, Progress
from sgl_embed_kit.launch.following import StartLog
from sgl_embed_kit.launch.output import Line
from sgl_embed_kit.sglang.log import IMPORTING, start_phases

ARGUMENTS = "[2026-11-21 19:53:11] server_args={'model_path': '/models/m'}"
WEIGHTS = "[2026-11-21 19:53:24] Load weight begin. avail mem=20.69 GB"
BOUND = "[2026-11-21 19:53:25] INFO:     Uvicorn running on http://127.0.0.1:1 (Press CTRL+C)"
BAR = "Multi-thread loading shards: {0:3}% Completed | {1}/{2} [00:00<?, ?it/s]"
POOL = (
    "[2026-11-21 11:24:38] KV pool holds 1024 tokens, fewer than --context-length 2048. One "
    "full-length request cannot fit, so long requests will be refused or truncated."
)


def lines(*texts: str, at: float = 1.0) -> Sequence[Line]:
    return [Line(at + number, text) for number, text in enumerate(texts)]


def ids(start: StartLog) -> list[str]:
    return [phase.id for phase, _ in start.phases]


def phase(name: str) -> object:
    return next(phase for phase in start_phases() if phase.id == name)


def test_it_begins_with_the_import() -> None:
    start = StartLog(0.0, {"importing": 7.5})
    assert start.begin() == PhaseBegan(IMPORTING, 7.5)
    assert ids(start) == ["importing"]


def test_lines_begin_phases_at_the_time_they_came_whenever_they_are_looked_at() -> None:
    start = StartLog(0.5, {"weights": 12.0})
    events = list(start.read(lines("something", ARGUMENTS, "more", WEIGHTS, at=2.0)))
    assert [type(event) for event in events] == [PhaseBegan, PhaseBegan]
    assert events[0].expected is None  # type: ignore[union-attr]
    assert events[1] == PhaseBegan(phase("weights"), 12.0)  # type: ignore[arg-type]
    assert [began for _, began in start.phases] == [0.5, 3.0, 5.0]
    assert list(start.seconds(9.0).values()) == [2.5, 2.0, 4.0]


def test_a_phase_that_is_said_twice_began_once() -> None:
    start = StartLog(0.0, {})
    told = list(start.read(lines(WEIGHTS, WEIGHTS)))  # by each process of a server
    assert len(told) == 1
    assert len(start.phases) == 2


def test_a_phase_that_comes_again_is_one_in_the_sum() -> None:
    start = StartLog(0.0, {})
    list(start.read(lines(WEIGHTS, BOUND, WEIGHTS)))
    assert list(start.seconds(10.0).values()) == [1.0, 8.0, 1.0]


@pytest.mark.parametrize("has_ended", [True, False])
def test_progress_is_read_in_whole_lines_and_in_one_that_grows(has_ended: bool) -> None:
    start = StartLog(0.0, {})
    bar = BAR.format(50, 2, 4)
    *_, progress = start.read(lines(WEIGHTS, *([bar] * has_ended)), "" if has_ended else bar)
    assert progress == Progress(phase("weights"), 2, 4)  # type: ignore[arg-type]


def test_of_progress_only_the_last_is_told_and_only_once() -> None:
    start = StartLog(0.0, {})
    bars = [BAR.format(25 * done, done, 4) for done in (1, 2, 3)]
    *_, progress = start.read(lines(WEIGHTS, *bars))
    assert progress == Progress(phase("weights"), 3, 4)  # type: ignore[arg-type]
    assert list(start.read([], bars[-1])) == []
    assert list(start.read([], BAR.format(100, 4, 4))) == [
        Progress(phase("weights"), 4, 4)  # type: ignore[arg-type]
    ]


def test_progress_is_told_of_its_own_phase_however_short_that_was() -> None:
    start = StartLog(0.0, {})
    told = list(start.read(lines(WEIGHTS, BAR.format(100, 4, 4), BOUND)))
    assert told[1] == Progress(phase("weights"), 4, 4)  # type: ignore[arg-type]
    assert [type(event) for event in told] == [PhaseBegan, Progress, PhaseBegan]
    assert list(start.read([])) == []


def test_a_problem_is_noticed_once_with_its_line_and_its_cure() -> None:
    start = StartLog(0.0, {})
    (noticed,) = start.read(lines(f"\x1b[31m{POOL}", POOL))
    assert isinstance(noticed, Noticed)
    assert (noticed.problem, noticed.severity) == ("pool-below-context", "warn")
    assert noticed.line == f"[31m{POOL}"
    assert noticed.means
    assert noticed.cure
    assert list(start.read(lines(POOL))) == []


def test_a_symptom_is_not_noticed() -> None:
    start = StartLog(0.0, {})
    symptom = "Received sigquit from a child process. It usually means the child failed."
    assert list(start.read(lines(symptom, "fine"))) == []
