"""Ready means ready: a real embedding came back, from this very server, and it is right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from importlib import metadata
from types import TracebackType

import httpx
import numpy as np
from numpy.typing import NDArray

from sgl_embed_kit.client.errors import BadAnswerError
from sgl_embed_kit.client.wire import decode_vectors
from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.live.answers import Answer, Life, LiveError, quoted
from sgl_embed_kit.doctor.live.limits import text_of
from sgl_embed_kit.doctor.live.server import LiveServer
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.errors import KitError, NotReadyError
from sgl_embed_kit.launch.address import url_of
from sgl_embed_kit.launch.events import NORM_TOLERANCE
from sgl_embed_kit.launch.listener import holds, listens, process_tree, strangers
from sgl_embed_kit.launch.process import ServerProcess
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import GUARD_PLUGIN

PROBE_TEXT = "Is an embedding server here?"
PROBE_SECONDS = 30.0
SPARE = 8
"""Tokens that are left free where the pool is the limit: SGLang itself leaves 6
(max_req_input_len, srt/managers/tp_worker.py)."""
PACKAGE = "sgl-embed-kit"
LIVEZ = "/livez"
"""Where the guard answers (guard/liveness.py)."""

_LIMITS = re.compile(r"max_total_num_tokens=(\d+),.* context_len=(\d+)")
"""The scheduler's line once its KV pool stands (srt/managers/scheduler.py)."""


@dataclass(frozen=True)
class TokenLimits:
    """How long texts may be, as the server itself has logged it.

    Attributes:
        context: `context_len`: a text of so many tokens is refused.
        pool: `max_total_num_tokens` of the KV pool.
        page: Tokens of a page of the pool.
    """

    context: int
    pool: int
    page: int = 1

    @property
    def longest(self) -> int:
        """Tokens of the longest text that gets its vector.

        SGLang refuses a text of `context` tokens (_validate_one_request,
        srt/managers/tokenizer_manager.py). One that the pool does not hold hangs.
        """
        return max(0, min(self.context - 1, self.pool - self.page + 1 - SPARE))


@dataclass(frozen=True)
class Proof:
    """What a ready server has shown.

    Attributes:
        dimension: Numbers in its vectors.
        norm: Length of the first one.
        limits: How long texts may be; None where its log does not say.
        probed: Tokens of the long text that got its vector; 0 where none was sent.
        guard: The guard's version; None where there is none.
    """

    dimension: int
    norm: float
    limits: TokenLimits | None
    probed: int
    guard: str | None


class Readiness:
    """Asks one server for an embedding until one comes, and holds it to what it should be."""

    def __init__(
        self,
        subject: Subject,
        process: ServerProcess,
        *,
        api_key: str | None = None,
        launch_id: str = "",
    ) -> None:
        """Prepare to ask.

        Args:
            subject: What was started.
            process: Its process.
            api_key: The key that it asks for, or None.
            launch_id: What the guard in it was told to answer.
        """
        self._subject, self._process, self._launch_id = subject, process, launch_id
        self._profile = subject.profile
        self._server = LiveServer(httpx.URL(url_of(self._profile)), api_key)
        self.reason = "Nothing listens on its port yet."
        """Why it is not ready, for people."""

    def __enter__(self) -> Readiness:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()

    def proof(self, seconds: float) -> Proof | None:
        """Return the proof that the server is ready; None: not yet.

        Args:
            seconds: Time that is left for it.

        Raises:
            KitError: it refuses to embed, its vectors are not what they should be, the guard
                is not active, or another server can be reached in its place.
            NotReadyError: the long text got no answer in the time that is left.
        """
        tree, server = process_tree(self._process.pid), self._profile.server
        if not listens(tree, server.port):
            return None
        self._expect_no_stranger(tree)
        try:
            answer = self._embed([PROBE_TEXT], min(seconds, PROBE_SECONDS))
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                self.reason = f"It says {answer.status}: {answer.message}"
                return None
            if not holds(tree, server.port, answer.local):
                self.reason = "Another server than this one answers at its address."
                return None
            vector = self._vector(answer)
            guard = self._guard(answer) if self._profile.guard.enabled else None
        except LiveError as error:
            self.reason = f"{error.finding.found}."
            return None
        limits = self._limits()
        return Proof(
            dimension=vector.size,
            norm=float(np.linalg.norm(vector)),
            limits=limits,
            probed=self._probe(limits, seconds) if limits else 0,
            guard=guard,
        )

    def _expect_no_stranger(self, tree: frozenset[int]) -> None:
        server = self._profile.server
        others = strangers(tree, server.host, server.port)
        if others:  # perhaps a child, forked since, that has not closed what it inherited
            others = strangers(process_tree(self._process.pid), server.host, server.port)
        if others:
            whose = f"Process {others[0].pid}" if others[0].pid else "Another user's process"
            raise KitError(
                f"Two servers listen on port {server.port}: clients reach the one or the other.",
                why=f"{whose} listens on {others[0].address}, too.",
                cure=f"ss -ltnp 'sport = :{server.port}'",
            )

    def _embed(self, texts: list[str], seconds: float) -> Answer:
        content = {"input": texts, "model": self._profile.model.name, "encoding_format": "base64"}
        return self._server.ask("POST", "/v1/embeddings", content, seconds=seconds)

    def _vector(self, answer: Answer) -> NDArray[np.float64]:
        if answer.status != HTTPStatus.OK:
            raise KitError(
                "The server is up and refuses to embed.",
                why=f"{answer.status}: {answer.message}",
                cure=f"less {self._process.log}",
            )
        try:
            vector: NDArray[np.float64] = decode_vectors(answer.body, 1)[0].astype(np.float64)
        except BadAnswerError as error:
            raise KitError(
                f"The server's vectors cannot be used. {error.what}",
                why=error.why or "float16 overflows in some models.",
                cure="set model.dtype: float32 in the profile",
            ) from error
        self._check(vector)
        return vector

    def _check(self, vector: NDArray[np.float64]) -> None:
        expected, dimension = self._profile.embedding.dimensions, vector.size
        if expected is not None and dimension != expected:
            raise KitError(
                f"The server's vectors have {dimension} dimensions, not {expected}.",
                why="The profile's embedding.dimensions and its model do not belong together.",
                cure=f"set embedding.dimensions: {dimension} in the profile",
            )
        norm = float(np.linalg.norm(vector))
        if norm == 0 or (self._is_normalised() and abs(norm - 1) > NORM_TOLERANCE):
            raise KitError(
                f"The server's vectors have length {norm:.4f}, not 1.",
                why="SGLang scales this model's vectors to length 1; something else made these.",
                cure=f"sgl-embed doctor --log {self._process.log}",
            )

    def _is_normalised(self) -> bool:
        facts = self._subject.model_facts()
        return facts is not None and facts.served is not None and facts.served.normalised

    def _guard(self, embedded: Answer) -> str:
        """Return the guard's version, once it has named this launch over this connection."""
        answer = self._server.ask("GET", LIVEZ, with_key=False)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            answer.expect_ok()
        try:
            life = answer.read(Life)
        except LiveError:
            life = None
        if life is None or life.launch_id != self._launch_id or answer.local != embedded.local:
            raise self._without_guard()
        ours = metadata.version(PACKAGE)
        if life.guard != ours:
            raise KitError(
                f"The guard in the server is of version {quoted(life.guard)}, this is {ours}.",
                why="The server runs in an environment with another sgl-embed-kit.",
                cure=f"pip install {PACKAGE}=={ours}, where the server's Python is",
            )
        return life.guard

    def _without_guard(self) -> KitError:
        plugins = self._profile.env.get("SGLANG_PLUGINS")
        installed = self._subject.installed
        if installed is not None and not installed.sees_guard:
            why = f"Its environment has no entry point {GUARD_PLUGIN}, by which SGLang finds it."
            cure = "pip install --force-reinstall --no-deps sgl-embed-kit"
        elif plugins and GUARD_PLUGIN not in plugins.split(","):
            why = f"SGLANG_PLUGINS in the profile leaves {GUARD_PLUGIN} out."
            cure = f"set env.SGLANG_PLUGINS: {plugins},{GUARD_PLUGIN} in the profile"
        else:
            why = "SGLang has plugins from 0.5.12 on, and skips one that fails, with a log line."
            cure = f"grep -in plugin {self._process.log}"
        return KitError(
            f"The server is up, and the guard is not active: {LIVEZ} does not name this launch.",
            why=why,
            cure=cure,
        )

    def _limits(self) -> TokenLimits | None:
        page = self._profile.sglang.extra_args.get("page-size", 1)
        found = [
            TokenLimits(context=int(context), pool=int(pool), page=int(page))
            for pool, context in _LIMITS.findall(self._process.end_of_log())
        ]
        return min(found, key=lambda one: one.longest, default=None)

    def _probe(self, limits: TokenLimits, seconds: float) -> int:
        """Embed a long text, and return how many tokens it had."""
        wanted = probe_tokens(self._profile, limits.longest)
        if not wanted:
            return 0
        live = LiveSubject(self._server, self._profile)
        try:
            text, tokens = text_of(live, wanted)
        except LiveError:  # an old release, which does not count tokens
            return 0
        try:
            answer = self._embed([text], seconds)
        except LiveError as error:
            raise NotReadyError(
                f"A text of {tokens} tokens did not get its vector.",
                why=f"{error.finding.found}. Short texts do; this one may hold up all others.",
                cure="set limits.context_length in the profile to less",
            ) from error
        self._vector(answer)
        return tokens


def probe_tokens(profile: Profile, longest: int) -> int:
    """Return how many tokens the long text should have; 0 for none.

    Args:
        profile: Says how many, or leaves it open.
        longest: Tokens of the longest text that fits.
    """
    wanted = profile.launch.probe_tokens
    if wanted == "auto":
        return 0 if profile.hardware.device == "cpu" else longest
    return min(wanted, longest)
