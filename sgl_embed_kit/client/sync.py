"""`EmbeddingClient`: the synchronous client."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

import httpx
import numpy as np
from numpy.typing import NDArray

from sgl_embed_kit.client.errors import BadAnswerError, ConnectionFailedError, RefusedError
from sgl_embed_kit.client.prompts import default_query_prompt, query_prompt
from sgl_embed_kit.client.wire import decode_error, decode_model, decode_vectors, encode_request

TEXTS_PER_REQUEST = 256


class EmbeddingClient:
    """Asks an OpenAI-compatible embeddings server, SGLang first of all, for vectors.

    Texts are brought to Unicode's NFC form, because another form of the same text
    gives other tokens. Vectors come back with norm 1 in float32: a server that
    computes in bfloat16 leaves norms at 1 ± 0.001.

    Args:
        base_url: Address of the server, with or without `/v1` at its end.
        model: Model name to send; None asks the server for the one it serves.
        api_key: Key for the server, if it asks for one.
        timeout: Seconds that one request may take.
        transport: How requests travel; for tests.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:30000",
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self._model = model
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the server."""
        self._http.close()

    @property
    def model(self) -> str:
        """The model name that requests carry."""
        return self._model if self._model is not None else self._served[0]

    def embed_documents(
        self, texts: Sequence[str], *, normalize: bool = True
    ) -> NDArray[np.float32]:
        """Return the vectors of documents: float32 (len(texts), dimension), in order.

        Args:
            texts: The documents, bare.
            normalize: Bring every norm to 1 in float32; False leaves the vectors as the
                server sent them.

        Raises:
            EmbeddingError: the server cannot be reached, refuses, or answers wrongly.
        """
        return self._embed(texts, "", normalize=normalize)

    def embed_query(self, text: str, *, task: str | None = None) -> NDArray[np.float32]:
        """Return the vector of a query: float32 (dimension,).

        Args:
            text: The query, bare.
            task: What the query is for, one English sentence; it is put before the
                text in Qwen3-Embedding's form. None takes the model's own default.

        Raises:
            EmbeddingError: the server cannot be reached, refuses, or answers wrongly.
        """
        prompt = query_prompt(task) if task is not None else default_query_prompt(*self._served)
        vector: NDArray[np.float32] = self._embed([text], prompt)[0]
        return vector

    @cached_property
    def _served(self) -> tuple[str, str]:
        return decode_model(self._request("GET", "/v1/models"))

    def _embed(
        self, texts: Sequence[str], prompt: str, *, normalize: bool = True
    ) -> NDArray[np.float32]:
        if isinstance(texts, str):
            raise TypeError("embed_documents takes a list of texts, not one text")
        prepared = [unicodedata.normalize("NFC", prompt + text) for text in texts]
        batches = [
            self._batch(prepared[start : start + TEXTS_PER_REQUEST])
            for start in range(0, len(prepared), TEXTS_PER_REQUEST)
        ]
        if not batches:
            return np.empty((0, 0), dtype=np.float32)
        vectors = np.concatenate(batches) if len(batches) > 1 else batches[0]
        if normalize:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def _batch(self, texts: list[str]) -> NDArray[np.float32]:
        body = self._request("POST", "/v1/embeddings", encode_request(texts, self.model))
        vectors = decode_vectors(body, len(texts))
        if not vectors.any(axis=1).all():
            raise BadAnswerError("The answer holds a vector of zeros, which has no direction.")
        return vectors

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        url = f"{self.base_url}{path}"
        try:
            response = self._http.request(
                method, url, content=body, headers={"Content-Type": "application/json"}
            )
        except httpx.HTTPError as error:
            raise ConnectionFailedError(
                f"{self.base_url} gave no answer.",
                why=str(error) or type(error).__name__,
                cure=f"curl -i {self.base_url}/health",
            ) from error
        if response.status_code != httpx.codes.OK:
            raise RefusedError(response.status_code, decode_error(response.content))
        return response.content
