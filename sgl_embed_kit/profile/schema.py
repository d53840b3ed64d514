"""The shape of a profile: one frozen model for each section of the YAML file."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Section(BaseModel):
    """A part of a profile: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelSection(Section):
    """Which model is served, and under which name."""

    path: Annotated[str, Field(min_length=1)]
    """A folder, a repository id, `demo:all-minilm-l6-v2`, or `tiny:`."""
    revision: str | None = None
    """Commit of the repository; None takes its newest state."""
    served_name: str | None = None
    """Name in `/v1/models`; None derives it from the path."""
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = "auto"

    @field_validator("path")
    @classmethod
    def _without_trailing_slash(cls, path: str) -> str:
        # A repository id with a slash at its end is an OSError in transformers, and
        # either kind would carry the slash into the served model name.
        return path.rstrip("/") or path

    @field_validator("served_name")
    @classmethod
    def _without_colon(cls, name: str | None) -> str | None:
        # SGLang reads "base:adapter" as a LoRA adapter and asserts that there is none.
        if name is not None and (":" in name or not name.strip()):
            raise ValueError("must not be empty or contain ':'")
        return name

    @property
    def name(self) -> str:
        """The served model name: as given, else the last part of the path."""
        if self.served_name is not None:
            return self.served_name
        scheme, _, rest = self.path.rpartition(":")
        return PurePosixPath(rest).name or scheme


class ServerSection(Section):
    """Where the server listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 30000


class HardwareSection(Section):
    """What the profile was written for."""

    device: Literal["cuda", "cpu"] = "cuda"
    gpu: str | None = None
    """A part of the GPU's name, such as A10; doctor compares it with what is there."""


class LimitsSection(Section):
    """What the server may take; None leaves a limit to SGLang."""

    context_length: Annotated[int, Field(ge=8)] | None = None
    """SGLang refuses a text of this many tokens or more."""
    mem_fraction_static: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the device's memory for weights and KV pool."""
    max_total_tokens: Annotated[int, Field(ge=64)] | None = None
    """Tokens in the KV pool."""
    max_running_requests: Annotated[int, Field(ge=1)] | None = None
    chunked_prefill_size: Annotated[int, Field(ge=-1)] | None = None


class EmbeddingSection(Section):
    """What the vectors are."""

    dimensions: Annotated[int, Field(ge=1)] | None = None
    """Dimension of a full vector; where it is set, launch holds the server to it."""
    matryoshka: bool = False
    """Whether a request may ask for fewer dimensions."""


class GuardSection(Section):
    """Whether the guard runs inside the server."""

    enabled: bool = True


class LaunchSection(Section):
    """How the server is started."""

    timeout_seconds: Annotated[float, Field(gt=0)] = 600.0
    """Time in which the first embedding must come back."""


class Profile(Section):
    """A whole profile."""

    model: ModelSection
    server: ServerSection = ServerSection()
    hardware: HardwareSection = HardwareSection()
    limits: LimitsSection = LimitsSection()
    embedding: EmbeddingSection = EmbeddingSection()
    guard: GuardSection = GuardSection()
    launch: LaunchSection = LaunchSection()

    def with_server(self, **changes: object) -> Profile:
        """Return the profile with other values in its `server` section."""
        server = ServerSection.model_validate({**self.server.model_dump(), **changes})
        return self.model_copy(update={"server": server})
