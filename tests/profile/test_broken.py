"""A corpus of broken profiles, each with all that is said of it, word for word.

`broken/NAME.yaml` is the profile, `broken/NAME.txt` what `sgl-embed profile check` prints
of it. After a change of words: SGL_EMBED_GOLDEN=write pytest tests/profile/test_broken.py,
and read the difference.
"""

from pathlib import Path

import pytest
from click.testing import CliRunner

from sgl_embed_kit.cli import profile as cli_profile
from tests.golden import assert_golden

FOLDER = Path(__file__).parent / "broken"
BROKEN = sorted(FOLDER.glob("*.yaml"))


def said_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what the command says of a profile where no SGLang is installed."""
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(cli_profile, "find_installed", lambda: None)
    return CliRunner().invoke(cli_profile.check, [path.name]).output


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_each_broken_profile_is_told_all_that_is_wrong(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = said_of(path, monkeypatch)
    assert_golden(path.with_suffix(".txt"), said)
    assert f"{path.name}: The profile has" in said
    assert "Traceback" not in said


def test_the_corpus_is_large_and_whole() -> None:
    assert len(BROKEN) >= 60
    assert {path.stem for path in FOLDER.glob("*.txt")} == {path.stem for path in BROKEN}
