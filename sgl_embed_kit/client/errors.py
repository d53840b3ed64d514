"""What can go wrong between a client and its server."""

from __future__ import annotations

from sgl_embed_kit.errors import KitError


class EmbeddingError(KitError):
    """The vectors asked for could not be had."""


class ConnectionFailedError(EmbeddingError):
    """The server cannot be reached, or the connection to it broke."""


class RefusedError(EmbeddingError):
    """The server answered with an error.

    Attributes:
        status: The HTTP status of its answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The server refused the request ({status}).", why=message, cure="")
        self.status = status


class BadAnswerError(EmbeddingError):
    """The server answered with something that cannot be the vectors asked for."""
