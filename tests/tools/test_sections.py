"""Sections of a page that a program writes."""

from collections.abc import Callable
from types import ModuleType

import pytest

PAGE = "# Page\n\nprose\n{}\nmore prose\n"
BEGIN, END = "<!-- mine: begin -->", "<!-- mine: end -->"


@pytest.fixture
def sections(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("sections")


def test_a_section_replaces_what_stood_between_the_markers_and_nothing_else(
    sections: ModuleType,
) -> None:
    other = "<!-- other: begin -->\nkept\n<!-- other: end -->"
    once = sections.with_section(PAGE.format(f"{BEGIN}\nold\nlines\n{END}\n{other}"), "mine", "new")
    assert once == PAGE.format(f"{BEGIN}\nnew\n{END}\n{other}")
    assert sections.with_section(once, "mine", "new") == once


@pytest.mark.parametrize(
    "markers", ["", BEGIN, END, END + BEGIN, BEGIN + BEGIN + END, BEGIN + END + END]
)
def test_a_page_without_its_one_pair_of_markers_is_refused(
    sections: ModuleType, markers: str
) -> None:
    with pytest.raises(ValueError, match="once each"):
        sections.with_section(PAGE.format(markers), "mine", "new")
