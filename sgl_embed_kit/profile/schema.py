"""The shape of a profile: one frozen model for each section of the YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from sgl_embed_kit.sglang.versions import VersionRange


class Section(BaseModel):
    """A part of a profile: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelSection(Section):
    """Which model is served, and under which name."""

    path: Annotated[str, Field(min_length=1)]
    """A folder, a repository id, `demo:all-minilm-l6-v2`, or `tiny:`."""
    revision: str | None = None
    """Commit of the repository; without it, its newest state."""
    served_name: str | None = None
    """Name in `/v1/models`; without it, the last part of the path."""
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = "auto"
    """Type of the weights in memory; SGLang's `auto` turns float32 into float16."""

    @field_validator("path")
    @classmethod
    def _without_trailing_slash(cls, path: str) -> str:
        # A repository id with a slash at its end is an OSError in transformers, and
        # either kind would carry the slash into the served model name.
        if path.startswith("-"):
            raise ValueError("must not begin with a dash; write ./ before it")
        return path.rstrip("/") or path

    _had_slash: bool = PrivateAttr(default=False)

    @model_validator(mode="wrap")
    @classmethod
    def _noting_the_slash(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        section = handler(data)
        if isinstance(data, dict):
            section._had_slash = str(data.get("path", "")).rstrip("/") != data.get("path")
        return section

    @property
    def had_slash(self) -> bool:
        """Whether the path was written with a slash at its end."""
        return self._had_slash

    @field_validator("served_name")
    @classmethod
    def _without_colon(cls, name: str | None) -> str | None:
        # SGLang reads "base:adapter" as a LoRA adapter and asserts that there is none.
        if name is not None and (":" in name or name.startswith("-") or not name.strip()):
            raise ValueError("must not be empty, begin with a dash or contain ':'")
        return name

    @property
    def name(self) -> str:
        """The served model name: as given, else the last part of the path."""
        if self.served_name is not None:
            return self.served_name
        scheme, _, rest = self.path.rpartition(":")
        return PurePosixPath(rest).name or scheme


KEY_FIELDS = ("api_key_env", "api_key_file", "admin_api_key_env", "admin_api_key_file")
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


@dataclass(frozen=True)
class KeySource:
    """Where a key comes from, which a profile itself never holds.

    Attributes:
        env: Name of an environment variable.
        file: Path of a file.
    """

    env: str | None = None
    file: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether there is a key at all."""
        return self.env is not None or self.file is not None


class ServerSection(Section):
    """Where the server listens."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every interface of this machine."""
    port: Annotated[int, Field(ge=1, le=65535)] = 30000
    """Port to listen on."""
    api_key_env: VariableName | None = None
    """Environment variable with the key that every request must carry."""
    api_key_file: Annotated[str, Field(min_length=1)] | None = None
    """File with that key; a relative path starts from the working directory."""
    admin_api_key_env: VariableName | None = None
    """Environment variable with the key for SGLang's maintenance routes."""
    admin_api_key_file: Annotated[str, Field(min_length=1)] | None = None
    """File with that key."""
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long a server that is asked to stop may take to finish its requests."""

    @property
    def keys(self) -> dict[str, KeySource]:
        """Where each of SGLang's key flags takes its value from."""
        named = {
            "api-key": KeySource(self.api_key_env, self.api_key_file),
            "admin-api-key": KeySource(self.admin_api_key_env, self.admin_api_key_file),
        }
        return {flag: source for flag, source in named.items() if source.is_given}


class HardwareSection(Section):
    """What the profile was written for."""

    device: Literal["cuda", "cpu"] = "cuda"
    """Where the model runs."""
    gpu: str | None = None
    """A part of the GPU's name, such as A10; doctor compares it with what is there."""
    gpus: Annotated[int, Field(ge=1)] = 1
    """Number of GPUs that the server may take."""


class ParallelSection(Section):
    """How the model is spread over several GPUs."""

    tensor: Annotated[int, Field(ge=1)] = 1
    """GPUs that share each layer."""
    data: Annotated[int, Field(ge=1)] = 1
    """Whole copies of the model, each on GPUs of its own."""


class LimitsSection(Section):
    """What the server may take; without a limit, SGLang chooses."""

    context_length: Annotated[int, Field(ge=8)] | None = None
    """SGLang refuses a text of this many tokens or more."""
    mem_fraction_static: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the device's memory for weights and KV pool."""
    max_total_tokens: Annotated[int, Field(ge=64)] | None = None
    """Tokens in the KV pool."""
    max_running_requests: Annotated[int, Field(ge=1)] | None = None
    """Texts that are worked on at the same time."""
    max_queued_requests: Annotated[int, Field(ge=1)] | None = None
    """Texts that may wait; one more is answered with 503."""
    max_waiting_seconds: Annotated[float, Field(gt=0)] = 600.0
    """A text that has waited longer is answered with 503; clients give up by then."""
    chunked_prefill_size: Annotated[int, Field(ge=-1)] | None = None
    """Tokens of a long text that are worked on in one go; -1 takes it whole."""

    @field_validator("chunked_prefill_size")
    @classmethod
    def _tokens_or_off(cls, tokens: int | None) -> int | None:
        if tokens == 0:
            raise ValueError("must be 1 or more, or -1 for a whole text in one go")
        return tokens


class EmbeddingSection(Section):
    """What the vectors are."""

    dimensions: Annotated[int, Field(ge=1)] | None = None
    """Dimension of a full vector; where it is set, launch holds the server to it."""
    matryoshka: bool = False
    """Whether a request may ask for fewer dimensions."""


class GuardSection(Section):
    """Whether the guard runs inside the server."""

    enabled: bool = True
    """Without it, one chat request ends the server."""
    required: Literal[False] = False
    """Whether gateways may rely on the guard, and resend what it did not answer; not yet."""
    strict_model: Literal[False] = False
    """Whether a request must name the served model; SGLang serves any; not yet."""
    allow_routes: Annotated[list[str], Field(max_length=0)] = []
    """Routes open besides those of an embedding server; none yet."""


class DoctorSection(Section):
    """What the checks should not insist on."""

    ignore: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """Checks whose errors and warnings are only told: their ids, and the reason for each."""


class LaunchSection(Section):
    """How the server is started."""

    timeout_seconds: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Time in which the first embedding must come back; auto: by the size of the weights."""
    probe_tokens: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """Tokens of a text to embed before it is ready; auto: on a GPU all that fit, else none."""
    fast_start: Literal["auto", True, False] = "auto"
    """Whether SGLang's children are forked with its imports done; auto: on a CPU."""

    @field_validator("timeout_seconds", mode="wrap")
    @classmethod
    def _seconds_or_auto(cls, given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        # In a sentence for the whole, where pydantic would find two faults.
        try:
            return handler(given)
        except ValidationError as error:
            raise ValueError("must be a number of seconds above 0, or auto") from error

    @field_validator("probe_tokens", mode="wrap")
    @classmethod
    def _tokens_or_auto(cls, given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(given)
        except ValidationError as error:
            raise ValueError("must be a whole number, 0 or more, or auto") from error


class RestartSection(Section):
    """Who starts the server again once it died."""

    policy: Literal["never", "on-failure"] = "never"
    """never: systemd or Kubernetes do, or nobody; on-failure: launch does."""
    max_restarts: Annotated[int, Field(ge=1)] = 5
    """Restarts within the window; the next failure is left as it is."""
    window_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """Time after which a restart is not counted any more."""
    first_delay_seconds: Annotated[float, Field(ge=0)] = 2.0
    """Wait before the first restart; it doubles with each further one."""
    max_delay_seconds: Annotated[float, Field(gt=0)] = 60.0
    """The longest wait before a restart."""


class WatchdogSection(Section):
    """How launch notices a server that hangs, whatever its health route says."""

    enabled: bool = True
    """Without it, a server that hangs stays."""
    quiet_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Silence after which a short text is embedded to see whether a vector comes."""
    stall_seconds: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Time without that vector, and with no tokens moving, after which the server is ended;
    auto: 120 on a GPU, 300 on a CPU."""


class SglangSection(Section):
    """Which SGLang, and flags of it that the profile has no key for."""

    version: str | None = None
    """Versions that the profile is for, such as `>=0.5.12` or `0.5.23`."""
    extra_args: dict[str, Any] = {}
    """More flags of `sglang serve`, by their names without dashes before."""

    @field_validator("version")
    @classmethod
    def _of_known_form(cls, version: str | None) -> str | None:
        if version is not None:
            VersionRange(version)
        return version


class Profile(Section):
    """A profile of sgl-embed: which model is served, where, on what, and how."""

    model: ModelSection
    server: ServerSection = ServerSection()
    hardware: HardwareSection = HardwareSection()
    parallel: ParallelSection = ParallelSection()
    limits: LimitsSection = LimitsSection()
    embedding: EmbeddingSection = EmbeddingSection()
    guard: GuardSection = GuardSection()
    launch: LaunchSection = LaunchSection()
    restart: RestartSection = RestartSection()
    watchdog: WatchdogSection = WatchdogSection()
    doctor: DoctorSection = DoctorSection()
    sglang: SglangSection = SglangSection()
    env: dict[str, str] = {}
    """Variables for the server's environment."""

    def with_server(self, **changes: object) -> Profile:
        """Return the profile with other values in its `server` section."""
        server = ServerSection.model_validate({**self.server.model_dump(), **changes})
        return self.model_copy(update={"server": server})
