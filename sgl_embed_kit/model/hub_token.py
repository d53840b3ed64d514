"""The token for the hub, from where huggingface_hub takes it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


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


def hub_token() -> HubToken | None:
    """Return the token, or None where there is none.

    The variables come before the file (get_token in huggingface_hub/utils/_auth.py, whose
    other sources need a browser or a CI system). Its import takes 0.1 s.

    Raises:
        UnreadableTokenError: huggingface_hub would fail over the file, too.
    """
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if value := os.environ.get(variable, "").strip():
            return _checked(value, variable, variable)
    from huggingface_hub.constants import HF_TOKEN_PATH

    try:
        value = Path(HF_TOKEN_PATH).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableTokenError(f"{HF_TOKEN_PATH} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnreadableTokenError(f"{HF_TOKEN_PATH} is no text") from error
    return _checked(value, HF_TOKEN_PATH) if value else None


def _checked(value: str, origin: str, variable: str = "") -> HubToken:
    if not (value.isascii() and value.isprintable()):
        text = f"the token in {origin} has characters that no header can hold"
        raise UnreadableTokenError(text, variable)
    return HubToken(value, f"the one in {origin}")
