"""The pages under docs/ are true: every command in them is run, and its output compared."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import Page, Shown, assert_matches, shell

DOCS = [Page(str(path.relative_to(ROOT))) for path in sorted((ROOT / "docs").glob("*.md"))]
PAGES = [Page("README.md"), Page("CONTRIBUTING.md"), Page("CHANGELOG.md"), *DOCS]


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        pytest.param(page, shown, id=f"{page.path} line {shown.line}")
        for page in DOCS
        for shown in page.commands
    ],
)
def test_each_command_prints_what_the_page_shows(page: Page, shown: Shown, tmp_path: Path) -> None:
    page.write_files(tmp_path)
    assert_matches(shown.output, shell(shown.command, tmp_path))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_link_to_a_file_leads_somewhere(page: Page) -> None:
    assert [path for path in page.links_to_files if not path.exists()] == []


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a … c", "a b c", True),
        ("a … c", "a b d", False),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\n…", "a", True),
        ("a", "a\nb", False),
        ("a.c", "abc", False),
    ],
)
def test_the_comparison_can_fail(expected: str, printed: str, same: bool) -> None:
    if same:
        assert_matches(expected, printed)
    else:
        with pytest.raises(AssertionError):
            assert_matches(expected, printed)
