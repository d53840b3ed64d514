"""Read the keys of a server from where a profile says that they are."""

from __future__ import annotations

from collections.abc import Mapping

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import with_home
from sgl_embed_kit.profile.schema import KeySource

LONGEST_KEY = 4096


def read_keys(sources: Mapping[str, KeySource], env: Mapping[str, str]) -> dict[str, str]:
    """Return the keys by the name of SGLang's flag.

    Raises:
        KitError: a key is not where the profile says, or could not be one.
    """
    return {flag: read_key(source, env) for flag, source in sources.items()}


def read_key(
    source: KeySource,
    env: Mapping[str, str],
    why: str = "The profile says that the server's key is there.",
) -> str:
    """Return one key, without the line end that a file may have after it.

    Args:
        source: Where it is.
        env: The environment.
        why: Who says so.

    Raises:
        KitError: there is none, or no client could send it.
    """
    if source.env is not None:
        key, where = env.get(source.env, ""), f"The variable {source.env}"
        cure = f'export {source.env}="$(openssl rand -hex 32)"'
    else:
        assert source.file is not None
        key, where = _content(source.file), f"The file {source.file}"
        cure = f"(umask 077; openssl rand -hex 32 > {source.file})"
    if not key:
        raise KitError(
            f"{where} holds no key.",
            why=why,
            cure=cure,
        )
    wrong = _wrong_with(key)
    if wrong:
        raise KitError(f"{where} holds what cannot be a key.", why=f"It {wrong}.", cure=cure)
    return key


def _content(file: str) -> str:
    path = with_home(file)
    try:
        if path.exists() and not path.is_file():  # a FIFO would block, a device never end
            raise KitError(
                f"{file} is not a file.",
                why="The profile expects a key in it.",
                cure=f"ls -ld {file}",
            )
        with path.open("rb") as opened:
            content = opened.read(LONGEST_KEY + 2)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise KitError(
            f"The key in {file} cannot be read.",
            why=error.strerror or str(error),
            cure=f"ls -l {file}",
        ) from error
    return content.decode("latin-1").removesuffix("\n").removesuffix("\r")


def _wrong_with(key: str) -> str:
    """Say why a text cannot be a key; empty where it can.

    It travels in `Authorization: Bearer …`, in YAML and in an argv that SGLang makes of
    that: hence no blanks, quotes, backslashes and leading dashes.
    """
    if len(key) > LONGEST_KEY:
        return f"is longer than {LONGEST_KEY} characters"
    if key.startswith("-"):
        return "begins with a dash, which SGLang would take for an option"
    if not key.isascii() or not key.isprintable() or any(char in " \"'\\" for char in key):
        return "has characters other than visible ASCII without quotes and backslashes"
    return ""
