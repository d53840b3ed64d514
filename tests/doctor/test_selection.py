"""Which checks run, and the ids that people mistype."""

from collections.abc import Sequence
from typing import Any

import pytest

from sgl_embed_kit.doctor.catalogue import catalogue
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.engine import Check
from sgl_embed_kit.doctor.live import LIVE_CHECKS
from sgl_embed_kit.doctor.selection import about_of, nearest, only
from sgl_embed_kit.errors import UsageError


@pytest.mark.parametrize("name", ["SGE-NET-001", "sge-net-001", "port", " Port "])
def test_a_check_is_known_by_id_and_by_name_in_any_case(name: str) -> None:
    assert about_of(name).id == "SGE-NET-001"


def test_an_unknown_check_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        about_of("SGE-NET-01")
    assert caught.value.cure == "sgl-embed explain SGE-NET-001"
    assert "The nearest are SGE-NET-001 (port), " in caught.value.why


def test_a_mistyped_name_is_answered_with_the_check_of_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        about_of("prot")
    assert caught.value.cure == "sgl-embed explain SGE-NET-001"


def test_no_word_means_two_checks() -> None:
    for about in catalogue().values():
        assert {about_of(word).id for word in (about.id, about.name, about.title)} == {about.id}


def test_even_nonsense_has_a_nearest_check() -> None:
    assert nearest("").startswith("SGE-")


def test_only_what_was_asked_for_runs_in_the_order_of_the_reports() -> None:
    assert [check.id for check in only(CHECKS, ["port", "SGE-PY-001"])] == [
        "SGE-PY-001",
        "SGE-NET-001",
    ]
    assert only(CHECKS, []) == CHECKS


@pytest.mark.parametrize(
    ("checks", "name", "why", "cure"),
    [
        (CHECKS, "canary", "It asks a server that runs.", "sgl-embed doctor --url URL"),
        (LIVE_CHECKS, "port", "It looks at a machine.", "sgl-embed doctor PROFILE"),
    ],
)
def test_a_check_of_another_kind_is_told_with_how_to_run_it(
    checks: Sequence[Check[Any]], name: str, why: str, cure: str
) -> None:
    with pytest.raises(UsageError, match="cannot run here") as caught:
        only(checks, [name])
    assert (caught.value.why, caught.value.cure) == (why, cure)
