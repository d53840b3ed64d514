"""What is known of each check is whole, true to the schema, and one with the functions."""

import re

import pytest

from sgl_embed_kit.cli.explain import explanation
from sgl_embed_kit.doctor.catalogue import catalogue
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.live import LIVE_CHECKS
from sgl_embed_kit.profile import Profile
from tests.doctor.checks.fixes import is_pasteable

IDS = sorted(catalogue())


def test_every_entry_has_its_function_and_every_function_its_entry() -> None:
    ids = [check.id for check in CHECKS] + [check.id for check in LIVE_CHECKS]
    assert ids == list(catalogue())


@pytest.mark.parametrize("name", IDS)
def test_an_entry_says_what_why_and_how_to_cure_it(name: str) -> None:
    about = catalogue()[name]
    assert re.fullmatch(r"SGE-[A-Z]+-\d{3}", about.id)
    assert about.severity in {"error", "warn", "info"}
    assert about.category in {
        *("python", "hardware", "network", "host", "model", "compile", "security", "limits"),
        "live",
    }
    for text in (about.means, about.why):
        assert text.endswith(".")
        assert text[0].isupper()
    assert len(about.title) <= 7  # the reports' column


@pytest.mark.parametrize("name", IDS)
def test_a_cure_can_be_pasted_or_is_a_sentence(name: str) -> None:
    cure = catalogue()[name].cure
    assert is_pasteable(cure) is not cure.endswith(".")
    if cure.endswith("."):
        assert cure[0].isupper()
    else:
        assert f"cure       {cure}" in explanation(catalogue()[name])  # in one line


@pytest.mark.parametrize("name", IDS)
def test_the_keys_that_it_reads_are_keys_of_a_profile(name: str) -> None:
    for key in catalogue()[name].reads:
        section, _, field = key.partition(".")
        inner = Profile.model_fields[section].annotation
        assert (not field and section == "env") or field in getattr(inner, "model_fields", {})


def test_names_and_titles_are_each_used_once() -> None:
    for field in ("name", "title"):
        values = [getattr(about, field) for about in catalogue().values()]
        assert len(values) == len(set(values))
