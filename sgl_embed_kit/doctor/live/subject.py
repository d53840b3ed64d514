"""What the live checks look at: a server that runs, and the profile it should follow."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sgl_embed_kit.client.errors import BadAnswerError
from sgl_embed_kit.client.wire import decode_vectors
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.live.answers import (
    Answer,
    Life,
    LiveError,
    ModelCard,
    ModelInfo,
    Models,
    ServerInfo,
    Tokens,
    quoted,
)
from sgl_embed_kit.doctor.live.server import LiveServer
from sgl_embed_kit.model.architectures import Architecture, architecture_of
from sgl_embed_kit.model.facts import ModelFacts
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.masking import NO_MASK, Mask

EMBEDDING_SECONDS = 30.0
IDLE_SECONDS = 6.0
"""Longer than the 5 s after which SGLang itself closes (SGLANG_TIMEOUT_KEEP_ALIVE in
srt/environ.py), and shorter than what gateways wait by default."""

REFUSES_GENERATION = "This server only makes embeddings"
"""How the guard's refusal of a generating route begins (guard/generation.py)."""


@dataclass(frozen=True)
class LiveSubject:
    """Everything that a live check may ask.

    Attributes:
        server: The server.
        profile: What it should be like; None where nobody said.
        model: What the profile's model declares, where its files are on this machine.
        is_intrusive: Whether requests may be sent that could hurt it.
        idle_seconds: How long a connection is left alone.
        mask: Keeps the key out of what is shown.
        nonce: Makes the canary texts of this run unlike those of any other, so that no
            prefix cache knows them.
    """

    server: LiveServer
    profile: Profile | None = None
    model: ModelFacts | None = None
    is_intrusive: bool = False
    idle_seconds: float = IDLE_SECONDS
    mask: Mask = NO_MASK
    nonce: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def release(self) -> str | None:
        """Version of the server's SGLang; None where it does not say."""
        try:
            self.contact()
            version = self.server_info.version
        except LiveError:
            return None
        return self.mask(quoted(version)) if version else None

    @property
    def url(self) -> str:
        """Address of the server."""
        return self.mask(self.server.address)

    def contact(self) -> Answer:
        """Return the first answer of the server.

        Raises:
            LiveError: it gives none that a server of embeddings would give.
        """
        answer = self.server.get("/v1/models")
        if answer.status not in {401, 403, 404, 405}:
            answer.read(Models)
        return answer

    @property
    def card(self) -> ModelCard:
        """What /v1/models says of the served model.

        Raises:
            LiveError: it says nothing.
        """
        models = self.server.get("/v1/models").read(Models).data
        if not models:
            raise LiveError(Finding(Status.ERROR, "/v1/models lists no model", "one"))
        return models[0]

    @property
    def served_name(self) -> str:
        """The model name for requests: the served one, else the profile's, else SGLang's default.

        SGLang takes any name without a colon (`_resolve_lora_path` in
        srt/entrypoints/openai/serving_base.py).
        """
        try:
            return self.card.id
        except LiveError:
            return self.profile.model.name if self.profile else "default"

    @property
    def info(self) -> ModelInfo:
        """What /model_info says.

        Raises:
            LiveError: it says nothing.
        """
        return self.server.get("/model_info").read(ModelInfo)

    @property
    def server_info(self) -> ServerInfo:
        """What /server_info says.

        Raises:
            LiveError: it says nothing.
        """
        return self.server.get("/server_info").read(ServerInfo)

    @property
    def architecture(self) -> Architecture | None:
        """How SGLang serves the model; None where that is not known."""
        try:
            return architecture_of({"architectures": self.info.architectures or []})
        except LiveError:
            return None

    @property
    def has_guard(self) -> bool | None:
        """Whether the guard answers; None where something in front of it does.

        The guard's middleware answers any method on a generating route, so a GET shows it;
        stock SGLang has no GET there and says 405.
        """
        answer = self.server.get("/generate")
        if answer.status == 400 and answer.message.startswith(REFUSES_GENERATION):  # noqa: PLR2004
            return True
        return False if answer.status == 405 else None  # noqa: PLR2004

    @property
    def guard_version(self) -> str | None:
        """The guard's version, as it says itself; None where it does not answer."""
        try:
            return quoted(self.server.get("/livez").read(Life).guard)
        except LiveError:
            return None

    @cached_property
    def first_vector(self) -> NDArray[np.float64]:
        """The vector of the first canary text: float64 (dimension,).

        Raises:
            LiveError: there is none.
        """
        vector: NDArray[np.float64] = self.embed([self.canaries[0]])[0]
        return vector

    @property
    def canaries(self) -> tuple[str, ...]:
        """Short texts in several languages, of different lengths."""
        return tuple(f"{self.nonce} {text}" for text in CANARIES)

    def embed(
        self,
        texts: Sequence[str],
        *,
        encoding: str = "float",
        seconds: float = EMBEDDING_SECONDS,
    ) -> NDArray[np.float64]:
        """Return the vectors of texts as the server sends them: float64 (len(texts), dimension).

        Raises:
            LiveError: there are none.
        """
        answer = self.ask_embeddings(list(texts), encoding=encoding, seconds=seconds)
        answer.expect_ok()
        try:
            # In float64, no square of a hostile float32 overflows.
            return decode_vectors(answer.body, len(texts)).astype(np.float64)
        except BadAnswerError as error:
            found = f"{answer.what} gives no vectors: {error.what} {quoted(error.why)}".rstrip()
            raise LiveError(
                Finding(Status.ERROR, found, f"{len(texts)} vectors of finite numbers")
            ) from error

    def ask_embeddings(
        self,
        texts: list[str],
        *,
        encoding: str = "float",
        seconds: float = EMBEDDING_SECONDS,
    ) -> Answer:
        """Ask for the vectors of texts and return whatever answer comes.

        Raises:
            LiveError: none comes.
        """
        content = {"input": texts, "model": self.served_name, "encoding_format": encoding}
        return self.server.ask("POST", "/v1/embeddings", content, seconds=seconds)

    def tokens(self, text: str, **options: bool) -> list[int]:
        """Return the ids that the server makes of a text.

        Raises:
            LiveError: it does not say.
        """
        content = {"model": self.served_name, "prompt": text, **options}
        return self.server.ask("POST", "/v1/tokenize", content).read(Tokens).tokens


CANARIES = (
    "The quick brown fox jumps over the lazy dog.",
    "苹果是一种水果",
    "a",
    "Searching a large index means comparing vectors. " * 8,
    "التفاح فاكهة",
    "def add(a, b):\n    return a + b",
)
