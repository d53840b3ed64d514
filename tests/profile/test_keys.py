"""Reading a server's keys from where a profile says that they are."""

import os
from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.profile.keys import LONGEST_KEY, read_key, read_keys
from sgl_embed_kit.profile.schema import KeySource, ServerSection


def test_keys_come_from_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "admin").write_text("other.key_+/=\r\n")
    server = ServerSection(api_key_env="MY_KEY", admin_api_key_file=str(tmp_path / "admin"))
    keys = read_keys(server.keys, {"MY_KEY": "secret"})
    assert keys == {"api-key": "secret", "admin-api-key": "other.key_+/="}


def test_a_profile_without_keys_has_none() -> None:
    assert ServerSection().keys == {}


@pytest.mark.parametrize("env", [{}, {"MY_KEY": ""}])
def test_a_variable_that_is_not_set_is_named_with_a_cure(env: dict[str, str]) -> None:
    with pytest.raises(KitError, match="The variable MY_KEY holds no key") as caught:
        read_key(KeySource(env="MY_KEY"), env)
    assert caught.value.cure == 'export MY_KEY="$(openssl rand -hex 32)"'


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_file_without_a_key_is_named_with_a_cure(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(KitError, match="holds no key") as caught:
        read_key(KeySource(file=str(tmp_path / "key")), {})
    assert "openssl rand -hex 32 >" in caught.value.cure


@pytest.mark.parametrize(
    "key",
    [
        "two words",
        "-dash",
        "quote'd",
        'quote"d',
        "back\\slash",
        "ключ",
        "tab\t",
        "a\nb",
        "k" * (LONGEST_KEY + 1),
    ],
)
def test_what_no_client_could_send_is_refused_and_never_shown(key: str) -> None:
    with pytest.raises(KitError, match="holds what cannot be a key") as caught:
        read_key(KeySource(env="K"), {"K": key})
    assert key not in caught.value.what + caught.value.why + caught.value.cure


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(KitError, match="is not a file"):
        read_key(KeySource(file=str(tmp_path / "fifo")), {})


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="cannot be read"):
        read_key(KeySource(file=str(tmp_path / ("long" * 100))), {})
