"""Whether a server that ended is started again, and when."""

import pytest

from sgl_embed_kit.launch.restart import Again, GiveUp, Restarts
from sgl_embed_kit.profile.schema import RestartSection

RULES = RestartSection(
    policy="on-failure",
    max_restarts=3,
    window_seconds=100,
    first_delay_seconds=2,
    max_delay_seconds=6,
)


def restarts_of(rules: RestartSection, *, was_ready: bool = True) -> Restarts:
    restarts = Restarts(rules)
    restarts.was_ready = was_ready
    return restarts


def test_nothing_is_restarted_unless_the_profile_says_so() -> None:
    restarts = restarts_of(RestartSection())
    assert restarts.decide(0, heals=True, chance=1) == GiveUp("")
    assert restarts.total == 0


def test_the_delay_doubles_up_to_its_limit() -> None:
    restarts = restarts_of(RULES)
    assert [restarts.decide(now, heals=None, chance=1) for now in (0, 10, 20)] == [
        Again(1, 2),
        Again(2, 4),
        Again(3, 6),
    ]
    assert restarts.total == 3


@pytest.mark.parametrize(("chance", "delay"), [(0, 1.0), (0.5, 1.5), (1, 2.0)])
def test_chance_takes_up_to_a_half_off_the_delay(chance: float, delay: float) -> None:
    assert restarts_of(RULES).decide(0, heals=None, chance=chance) == Again(1, delay)


def test_too_many_restarts_within_the_window_are_the_end() -> None:
    restarts = restarts_of(RULES)
    for now in (0, 10, 20):
        assert isinstance(restarts.decide(now, heals=True, chance=1), Again)
    assert restarts.decide(99, heals=True, chance=1) == GiveUp(
        "It is not started again: 3 restarts within 100 s are the limit (restart.max_restarts)."
    )


def test_restarts_before_the_window_are_forgotten_and_so_is_their_delay() -> None:
    restarts = restarts_of(RULES)
    for now in (0, 10, 20):
        restarts.decide(now, heals=None, chance=1)
    assert restarts.decide(100, heals=None, chance=1) == Again(3, 6)
    assert restarts.decide(201, heals=None, chance=1) == Again(1, 2)
    assert restarts.total == 5


@pytest.mark.parametrize("was_ready", [False, True])
def test_a_cause_that_cannot_heal_is_not_tried_again(was_ready: bool) -> None:
    after = restarts_of(RULES, was_ready=was_ready).decide(0, heals=False, chance=1)
    assert after == GiveUp("It is not started again: another start would end the same way.")


def test_a_server_that_never_was_ready_is_tried_again_only_where_the_cause_can_heal() -> None:
    restarts = restarts_of(RULES, was_ready=False)
    assert restarts.decide(0, heals=None, chance=1) == GiveUp(
        "It is not started again: it has never been ready."
    )
    assert restarts.decide(0, heals=True, chance=1) == Again(1, 2)
