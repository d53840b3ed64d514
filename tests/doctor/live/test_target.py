"""Which server is asked, with which key, and what it is compared with."""

from pathlib import Path

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.doctor.live.target import live_subject
from sgl_embed_kit.errors import KitError, UsageError
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.masking import Mask
from tests.machines import FakeMachine
from tests.model.builders import small_model

HERE = "http://127.0.0.1:30000"
ABROAD = "http://far.example:30000"
SECURE = "https://far.example"
KEY = "k3y.of-the_users"


def described(path: str = "tiny:", mask: Mask | None = None, **server: str) -> Subject:
    profile = Profile.model_validate({"model": {"path": path}, "server": server})
    return Subject.of(profile, None, FakeMachine(), mask or Mask({}))


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SGL_EMBED_API_KEY", raising=False)
    monkeypatch.setenv("MINE", KEY)


def has_key(subject: LiveSubject, name: str) -> bool:
    """Say whether the server has the key, which is then masked by the name."""
    assert subject.mask(KEY) == (f"${{{name}}}" if subject.server.has_key else KEY)
    return subject.server.has_key


def test_without_a_profile_the_usual_variable_has_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = live_subject(HERE, None)
    assert not has_key(subject, "")
    assert (subject.profile, subject.model, subject.is_intrusive) == (None, None, False)
    monkeypatch.setenv("SGL_EMBED_API_KEY", KEY)
    assert has_key(live_subject(HERE, None), "SGL_EMBED_API_KEY")


def test_a_profile_says_where_its_key_is_or_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SGL_EMBED_API_KEY", "an0ther.key")
    assert not has_key(live_subject(HERE, described()), "")
    assert has_key(live_subject(HERE, described(api_key_env="MINE")), "MINE")
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    subject = live_subject(HERE, described(api_key_file=str(tmp_path / "key")))
    assert has_key(subject, "the server's key")


def test_the_command_line_comes_before_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", "an0ther.key")
    subject = live_subject(HERE, described(api_key_env="OTHER"), key_variable="MINE")
    assert has_key(subject, "MINE")
    with pytest.raises(KitError, match="NOWHERE"):
        live_subject(HERE, None, key_variable="NOWHERE")


@pytest.mark.parametrize(
    ("url", "plain", "key", "travels"),
    [
        (HERE, False, "MINE", True),
        (SECURE, False, "MINE", True),
        (ABROAD, True, "MINE", True),
        (ABROAD, False, None, True),
        (ABROAD, False, "MINE", False),
    ],
)
def test_a_key_travels_where_nobody_reads_it_or_where_that_was_allowed(
    url: str, plain: bool, key: str | None, travels: bool
) -> None:
    if travels:
        assert live_subject(url, None, key_variable=key, plain_http=plain).url == url
    else:
        with pytest.raises(UsageError, match="would travel to far"):
            live_subject(url, None, key_variable=key)  # unasked


def test_the_profile_and_the_facts_of_its_model_are_compared_with(tmp_path: Path) -> None:
    folder = small_model(tmp_path / "model")
    about = described(str(folder), Mask({"fr0m-env": "NAME"}))
    subject = live_subject(HERE, about, is_intrusive=True)
    assert subject.profile is about.profile
    assert subject.model is not None
    assert subject.is_intrusive
    assert subject.mask("fr0m-env") == "${NAME}"
    (folder / "config.json").unlink()
    assert live_subject(HERE, described(str(folder))).model is None
