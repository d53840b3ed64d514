"""The token for the hub, from where huggingface_hub takes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from sgl_embed_kit.model.hub_variables import sends_token, token_file


class UnreadableTokenError(Exception):
    """There is a token that is of no use; the text says why, as a sentence.

    Attributes:
        variable: The variable that it is in; empty where it is in a file.
    """

    def __init__(self, text: str, variable: str = "") -> None:
        super().__init__(text)
        self.variable = variable


@dataclass(frozen=True)
class HubToken:
    """A token.

    Attributes:
        value: The token itself, which is never shown.
        origin: Where it is from.
    """

    value: str = field(repr=False)
    origin: str


def hub_token(env: Mapping[str, str] = os.environ) -> HubToken | None:
    """Return the token that goes to the hub, or None where there is none.

    The variables come before the file (get_token in huggingface_hub/utils/_auth.py, whose
    other sources need a browser or a CI system).

    Args:
        env: The variables of who will ask the hub.

    Raises:
        UnreadableTokenError: huggingface_hub would fail over the file, too.
    """
    if not sends_token(env):
        return None
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if value := env.get(variable, "").strip():
            return _checked(value, variable, variable)
    file = token_file(env)
    try:
        value = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableTokenError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnreadableTokenError(f"{file} is no text") from error
    return _checked(value, str(file)) if value else None


def _checked(value: str, origin: str, variable: str = "") -> HubToken:
    if not (value.isascii() and value.isprintable()):
        text = f"the token in {origin} has characters that no header can hold"
        raise UnreadableTokenError(text, variable)
    return HubToken(value, f"the one in {origin}")
