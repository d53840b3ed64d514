"""Ready means ready: a real embedding came back, and from this very server."""

from __future__ import annotations

from http import HTTPStatus
from types import TracebackType

from sgl_embed_kit.client import ConnectionFailedError, EmbeddingClient, RefusedError
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.address import url_of
from sgl_embed_kit.launch.process import ServerProcess
from sgl_embed_kit.profile import Profile

PROBE_TEXT = "Is an embedding server here?"
PROBE_SECONDS = 30.0


class Readiness:
    """Asks one server for an embedding until one comes."""

    def __init__(self, profile: Profile, process: ServerProcess, api_key: str | None) -> None:
        self._profile = profile
        self._process = process
        self._client = EmbeddingClient(
            url_of(profile), model=profile.model.name, api_key=api_key, timeout=PROBE_SECONDS
        )

    def __enter__(self) -> Readiness:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def dimension(self) -> int | None:
        """Return the dimension of an embedding that came from this server; None: not yet.

        Raises:
            KitError: it refuses to embed, or its vectors have another dimension.
        """
        if not self._process.listens_on(self._profile.server.port):
            return None  # whoever answers there now, it is not this server
        try:
            dimension = int(self._client.embed_documents([PROBE_TEXT]).shape[1])
        except ConnectionFailedError:
            return None
        except RefusedError as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return None
            raise KitError(
                "The server is up and refuses to embed.",
                why=error.why,
                cure=f"less {self._process.log}",
            ) from error
        self._check_dimension(dimension)
        return dimension

    def _check_dimension(self, dimension: int) -> None:
        expected = self._profile.embedding.dimensions
        if expected is not None and dimension != expected:
            raise KitError(
                f"The server's vectors have {dimension} dimensions, not {expected}.",
                why="The profile's embedding.dimensions and its model do not belong together.",
                cure=f"set embedding.dimensions: {dimension} in the profile",
            )
