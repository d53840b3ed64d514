"""What a model says of itself, what SGLang makes of it, and all that is wrong with it.

The one place where a model is read, be it a folder or a repository. Nothing is run or
unpickled, weights are never read beyond their headers, and no fault hides another one.
The tokenizer is another matter (tokenizer.py), because trying it takes a library and time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sgl_embed_kit.guard.declared import (
    KNOWN_MODES,
    Declared,
    Pooling,
    UnsupportedPoolingError,
    declared,
)
from sgl_embed_kit.model.architectures import (
    DESCRIBED_VERSION,
    EMBEDDING_GEMMA,
    Architecture,
    Task,
    architecture_names,
    architecture_of,
)
from sgl_embed_kit.model.config import Config, count, read_config
from sgl_embed_kit.model.faults import Concern, Fault, Severity, concerning, warning
from sgl_embed_kit.model.files import CONFIG_LIMIT, MIB, ModelFiles, UnreadableError, json_object
from sgl_embed_kit.model.known import KnownModel, known_model, model_like
from sgl_embed_kit.model.safetensors import LFS_POINTER
from sgl_embed_kit.model.shape import QWEN3_ARCHITECTURES, ModelShape
from sgl_embed_kit.model.tokenizer import SLOW_FILES, TOKENIZER_FILE
from sgl_embed_kit.model.weights import (
    SUFFIX,
    Weights,
    fetch_again,
    lfs_pointer,
    listed,
    read_weights,
    sentence,
    unreadable,
)

HEAD_TENSOR = "lm_head.weight"
TOKENIZER_CONFIG_LIMIT = 4 * MIB
"""Bytes of a tokenizer_config.json that are read: Gemma's, with its list of tokens, has 1.2
million."""


@dataclass(frozen=True)
class RemoteCode:
    """Python code that a model brings, and that runs only with --trust-remote-code.

    Attributes:
        purpose: What for, such as "AutoModel".
        file: The file, with its repository before it where it is not the model's own.
        is_here: Whether the file is one of the model's.
    """

    purpose: str
    file: str
    is_here: bool


@dataclass(frozen=True)
class Prompts:
    """Prompts of config_sentence_transformers.json: what clients put before a text.

    Attributes:
        texts: Prompts by name.
        default: Name of the one that sentence-transformers uses unasked, or None.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None


@dataclass(frozen=True)
class Matryoshka:
    """To what vectors may be cut.

    Attributes:
        declared: Whether config.json says so; SGLang refuses `dimensions` otherwise
            (_validate_for_matryoshka_dim, srt/managers/tokenizer_manager.py).
        dimensions: The dimensions that are allowed; empty where any up to the full is.
        smallest: The fewest that the model's card speaks of, or None.
    """

    declared: bool = False
    dimensions: tuple[int, ...] = ()
    smallest: int | None = None


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model from its files.

    Attributes:
        name: The folder, or the repository.
        architectures: `architectures` of config.json.
        served: How SGLang serves them; None where nothing is known of them.
        config: The shape that config.json gives.
        longest_text: Tokens that the model declares a text may have
            (sentence_bert_config.json), or None.
        weights: The weights.
        declared: What the sentence-transformers files declare, or None.
        prompts: Prompts for clients.
        matryoshka_keys: What config.json says of it: declared, and dimensions.
        remote_code: Code that the model brings.
        inner: The folder inside this one that is the model itself, or None.
        faults: All that is wrong.
    """

    name: str
    architectures: tuple[str, ...]
    served: Architecture | None
    config: Config
    longest_text: int | None
    weights: Weights
    declared: Declared | None
    prompts: Prompts
    matryoshka_keys: Matryoshka
    remote_code: tuple[RemoteCode, ...]
    inner: str | None
    faults: tuple[Fault, ...]

    @property
    def is_encoder(self) -> bool:
        """Whether its attention looks both ways, so that a prefix cannot be reused."""
        return self.served is not None and self.served.is_bidirectional

    @property
    def errors(self) -> tuple[Fault, ...]:
        """What keeps it from being served right."""
        return tuple(fault for fault in self.faults if fault.severity is Severity.ERROR)

    def about(self, *concerns: Concern) -> tuple[Fault, ...]:
        """Return the faults that are about these concerns, errors first."""
        found = [fault for fault in self.faults if fault.concern in concerns]
        return tuple(sorted(found, key=lambda fault: fault.severity is not Severity.ERROR))

    @property
    def is_whole(self) -> bool:
        """Whether all files are there, and can be read."""
        return all(fault.concern is not Concern.FILES for fault in self.errors)

    @property
    def pooling(self) -> Pooling | None:
        """The pooling that it declares, where it declares one that SGLang has."""
        try:
            return self.declared.pooling if self.declared else None
        except UnsupportedPoolingError:
            return None

    @property
    def pooling_with_guard(self) -> Pooling | None:
        """The pooling that the guard makes SGLang do; None where nothing is known."""
        if self.served is None:
            return None
        if self.served.guard_pools and self.pooling is not None:
            return self.pooling
        return self.served.pooling

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights in their stored types."""
        return self.weights.size

    @property
    def kv_shape(self) -> tuple[int, int, int] | None:
        """Layers, KV heads and head dimension, or None where config.json lacks them."""
        config = self.config
        if config.layers is None or config.kv_heads is None or config.head_dim is None:
            return None
        return config.layers, config.kv_heads, config.head_dim

    @property
    def positions(self) -> int | None:
        """Longest context that SGLang takes from config.json, or None."""
        return self.config.positions

    @property
    def usable_positions(self) -> int | None:
        """Longest text that the position table has rows for, in tokens."""
        positions = self.config.positions
        if positions is None or self.served is None or not self.served.counts_from_padding:
            return positions
        padding = 1 if self.config.padding_id is None else self.config.padding_id
        return max(positions - padding - 1, 1)

    @property
    def full_dimensions(self) -> int | None:
        """Dimensions of a full vector; None where the hidden state is not all of it."""
        if self.served is None or self.served.task is not Task.EMBED:
            return None
        return None if self.served.name == EMBEDDING_GEMMA else self.config.hidden_size

    @property
    def auto_dtype(self) -> str:
        """Type in which SGLang loads the weights where a profile says `dtype: auto`.

        It goes by config.json, not by the weights, and halves float32, which is also what
        it takes a config.json for that names none (_get_and_verify_dtype,
        srt/configs/model_config.py).
        """
        declared_dtype = self.config.dtype or "float32"
        if declared_dtype != "float32":
            return declared_dtype
        return "bfloat16" if self.served and "gemma" in self.served.source else "float16"

    @property
    def separate_head(self) -> bool:
        """Whether SGLang allocates an output head that the weights do not have."""
        return self._has_own_head and HEAD_TENSOR not in self.weights.tensors

    @property
    def _has_own_head(self) -> bool:
        return self.served is not None and self.served.has_head and not self.config.ties_head

    @cached_property
    def shape(self) -> ModelShape | None:
        """What its size in memory follows from; None where a part is not known."""
        config, dtype = self.config, self.weights.dtype
        numbers = (
            config.layers,
            config.hidden_size,
            config.intermediate_size,
            config.attention_heads,
            config.kv_heads,
            config.head_dim,
            config.vocabulary,
            config.positions,
        )
        if dtype is None or not self.architectures or None in numbers:
            return None
        layers, hidden, intermediate, heads, kv_heads, head_dim, vocabulary, positions = (
            number or 0 for number in numbers
        )
        return ModelShape(
            architecture=self.architectures[0],
            parameters=sum(self.weights.parameters.values()),
            stored_dtype=dtype,
            layers=layers,
            hidden_size=hidden,
            intermediate_size=intermediate,
            attention_heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            vocabulary=vocabulary,
            positions=positions,
            # Of a Qwen3 every part is counted; of another, what the files hold and the rest.
            separate_head=self._has_own_head
            if self.architectures[0] in QWEN3_ARCHITECTURES
            else self.separate_head,
            token_types=config.token_types,
            attention_bias=config.attention_bias,
        )

    @cached_property
    def like(self) -> str | None:
        """Repository of the known model of this very shape, or None."""
        return model_like(self.shape) if self.shape else None

    @property
    def known(self) -> KnownModel | None:
        """What is known of that model."""
        return known_model(self.like) if self.like else None

    @property
    def matryoshka(self) -> Matryoshka:
        """To what vectors may be cut, by config.json and the known model's card."""
        keys = self.matryoshka_keys
        smallest = self.known.card.smallest_dimension if self.known else None
        return Matryoshka(keys.declared, keys.dimensions, smallest)


def read_facts(files: ModelFiles) -> ModelFacts:
    """Read a model's files; what is wrong with them is among the facts."""
    faults: list[Fault] = []
    raw = _config(files, faults)
    weights, weight_faults = read_weights(files)
    inner = _inner_model(files)
    if not inner:  # which is what matters then
        faults += weight_faults
        faults += _tokenizer_files(files)
    facts = ModelFacts(
        name=files.name,
        architectures=tuple(architecture_names(raw)),
        served=architecture_of(raw),
        config=read_config(raw),
        longest_text=_longest_text(files),
        weights=weights,
        declared=_declared(files, faults),
        prompts=_prompts(files, faults),
        matryoshka_keys=_matryoshka(raw),
        remote_code=tuple(_remote_code(files, raw)),
        inner=inner,
        faults=(),
    )
    if raw:
        faults += concerning(Concern.SERVING, _architecture_faults(facts))
        faults += concerning(Concern.POOLING, _pooling_faults(facts))
        faults += concerning(Concern.LENGTH, _position_faults(facts))
        faults += concerning(Concern.PROMPTS, _prompt_faults(facts))
        faults += concerning(Concern.CODE, _remote_code_faults(facts))
    return replace(facts, faults=tuple(faults))


def _config(files: ModelFiles, faults: list[Fault]) -> dict[str, Any]:
    """Return config.json, or an empty one and a fault."""
    name = "config.json"
    if name not in files.sizes and name not in files.odd:
        inner = _inner_model(files)
        deeper = f" The model seems to be one folder deeper, in {inner}." if inner else ""
        faults.append(
            Fault(
                f"{files.name} is not a model folder.",
                f"It has no config.json.{deeper}",
                f"sgl-embed quickstart --model {files.name}/{inner}"
                if inner
                else f"ls {files.name}"
                if files.is_local
                else "",
            )
        )
        return {}
    try:
        return json_object(files, name)
    except UnreadableError as error:
        cure = f"python -m json.tool {files.name}/{name}" if files.is_local else ""
        faults.append(unreadable(files, name, str(error), cure))
        return {}


def _inner_model(files: ModelFiles) -> str | None:
    """Return the folder inside this one that is the model itself, or None."""
    if "config.json" in files.sizes or "config.json" in files.odd:
        return None
    with_weights = [name.split("/")[0] for name in files.sizes if name.endswith(SUFFIX)]
    return next((name for name in with_weights if f"{name}/config.json" in files.sizes), None)


def _longest_text(files: ModelFiles) -> int | None:
    """Return the tokens of a text that sentence-transformers would keep."""
    try:
        return count(json_object(files, "sentence_bert_config.json"), "max_seq_length")
    except UnreadableError:
        return None


def _declared(files: ModelFiles, faults: list[Fault]) -> Declared | None:
    def read(name: str) -> str | None:
        if name not in files.sizes and name not in files.odd:
            return None
        try:
            return files.read(name, CONFIG_LIMIT).decode()
        except (UnreadableError, UnicodeDecodeError) as error:
            raise UnsupportedPoolingError(f"{name} cannot be read: {error}") from error

    try:
        return declared(read)
    except UnsupportedPoolingError as error:
        faults.append(_not_poolable(files.name, str(error)))
        return None


def _not_poolable(name: str, reason: str) -> Fault:
    return Fault(
        f"{name} declares a pooling that SGLang cannot do.",
        f"{sentence(reason)} SGLang can pool by CLS, mean or last token.",
        concern=Concern.POOLING,
    )


def _prompts(files: ModelFiles, faults: list[Fault]) -> Prompts:
    name = "config_sentence_transformers.json"
    if name not in files.sizes:
        return Prompts()
    try:
        config = json_object(files, name)
    except UnreadableError as error:
        what = f"{files.name}/{name} cannot be read."
        faults.append(warning(what, sentence(str(error)), concern=Concern.PROMPTS))
        return Prompts()
    texts, default = config.get("prompts"), config.get("default_prompt_name")
    if not isinstance(texts, dict):
        return Prompts()
    return Prompts(
        {str(key): text for key, text in texts.items() if isinstance(text, str)},
        default if isinstance(default, str) else None,
    )


def _matryoshka(config: Mapping[str, Any]) -> Matryoshka:
    """Return what SGLang takes from config.json (srt/configs/model_config.py)."""
    listed_dimensions = config.get("matryoshka_dimensions")
    dimensions = (
        tuple(number for number in listed_dimensions if isinstance(number, int))
        if isinstance(listed_dimensions, list)
        else ()
    )
    return Matryoshka(bool(dimensions) or config.get("is_matryoshka") is True, dimensions)


def _remote_code(files: ModelFiles, config: Mapping[str, Any]) -> Iterator[RemoteCode]:
    """Yield what `auto_map` names in config.json and tokenizer_config.json.

    A value is "file.Class" or "repository--file.Class", or for tokenizers a list of them
    (get_class_from_dynamic_module, transformers/dynamic_module_utils.py).
    """
    sources = [config]
    with suppress(UnreadableError):
        sources.append(json_object(files, "tokenizer_config.json", TOKENIZER_CONFIG_LIMIT))
    for source in sources:
        auto_map = source.get("auto_map")
        for purpose, named in auto_map.items() if isinstance(auto_map, dict) else ():
            for reference in named if isinstance(named, list) else [named]:
                if not isinstance(reference, str):
                    continue
                repository, _, path = reference.rpartition("--")
                file = f"{path.rpartition('.')[0]}.py"
                shown = f"{repository}: {file}" if repository else file
                yield RemoteCode(str(purpose), shown, not repository and file in files.sizes)


def _remote_code_faults(facts: ModelFacts) -> Iterator[Fault]:
    if not facts.remote_code:
        return
    names = listed(sorted({code.file for code in facts.remote_code}))
    if facts.served is None:
        why = (
            f"SGLang {DESCRIBED_VERSION} has no class of its own for this model; with "
            "--trust-remote-code it would run that file of the model's author."
        )
    else:
        why = "SGLang has a class of its own for this model; leave --trust-remote-code off."
    yield warning(f"The model brings Python code: {names}.", why)


def _architecture_faults(facts: ModelFacts) -> Iterator[Fault]:
    name = facts.architectures[0] if facts.architectures else ""
    if facts.served is None:
        yield warning(
            f"How SGLang {DESCRIBED_VERSION} serves {name or 'this model'} is not known here."
            if name
            else f"{facts.name}/config.json names no architecture.",
            "Where SGLang has no class of its own, it tries the Transformers backend, which "
            "pools by the last token unless config.json has pooling_type CLS.",
        )
    elif facts.served.task is Task.CLASSIFY:
        yield Fault(
            f"{name} is a classifier: it gives scores, not embeddings.",
            f"See {facts.served.where}.",
        )
    elif facts.served.task is Task.GENERATE:
        yield Fault(
            f"SGLang {DESCRIBED_VERSION} makes no embeddings with {name}.",
            f"Its class in {facts.served.where} has no pooler.",
        )


def _pooling_faults(facts: ModelFacts) -> Iterator[Fault]:
    served, modules = facts.served, facts.declared
    if modules is None:
        return
    try:
        pooling = modules.pooling
    except UnsupportedPoolingError as error:
        known = KNOWN_MODES.issuperset(modules.modes)
        hint = "" if known else " (a mode that sentence-transformers does not have)"
        yield _not_poolable(facts.name, f"{error}{hint}")
        return
    if served is None or served.task is not Task.EMBED:
        return
    if pooling not in {None, facts.pooling_with_guard}:
        yield Fault(
            f"The model declares {pooling} pooling, SGLang would pool by {served.pooling}.",
            f"{served.name} always does, and the guard changes it for BERT and XLM-R only.",
        )
    if modules.dense and served.name != EMBEDDING_GEMMA:
        yield Fault(
            f"The model declares a Dense layer after pooling: {listed(modules.dense)}.",
            "SGLang leaves it out, so the vectors would be other ones than the model's.",
        )
    if modules.others:
        yield warning(
            f"SGLang knows nothing of the modules {listed(modules.others)}.",
            "modules.json declares them; what they would do to a vector is left out.",
        )
    if not modules.includes_prompt and pooling is Pooling.MEAN:
        yield warning(
            "The model wants a prompt's tokens left out of the mean.",
            "SGLang pools all tokens: vectors of texts with a prompt differ from the model's.",
        )
    if pooling is not None and not modules.is_normalised and served.normalised:
        yield warning(
            "The model declares vectors of any length, SGLang scales them to length 1.",
            "Cosines stay the same, dot products do not.",
        )


def _position_faults(facts: ModelFacts) -> Iterator[Fault]:
    positions, usable = facts.positions, facts.usable_positions
    if positions is not None and usable is not None and usable < positions:
        yield warning(
            f"Of {positions} positions, texts can use {usable}.",
            "SGLang does not count that this architecture begins behind the padding token's: "
            "a text of more tokens would end the server.",
            f"limits: {{context_length: {usable}}}  # in the profile",
        )
    if facts.known and positions is not None and facts.known.card.context < positions:
        yield warning(
            f"config.json allows {positions} tokens, the model card {facts.known.card.context}.",
            f"Its shape is that of {facts.like}. SGLang goes by config.json.",
            f"limits: {{context_length: {facts.known.card.context}}}  # in the profile",
        )


def _prompt_faults(facts: ModelFacts) -> Iterator[Fault]:
    prompts = facts.prompts
    if prompts.default is not None and prompts.default not in prompts.texts:
        yield warning(
            f"The prompt {prompts.default!r} that texts get unasked is not declared.",
            f"config_sentence_transformers.json has {listed(sorted(prompts.texts)) or 'none'}.",
        )
    if facts.known and not any(prompts.texts.values()):
        yield warning(
            "The model declares no prompt for queries.",
            f"{facts.like}, whose shape this is, was trained with an instruction before each "
            "query; clients that read a model's prompts leave it out.",
            f"hf download {facts.like} config_sentence_transformers.json --local-dir {facts.name}",
        )


def _tokenizer_files(files: ModelFiles) -> Iterator[Fault]:
    if reason := files.odd.get(TOKENIZER_FILE):
        yield unreadable(files, TOKENIZER_FILE, reason)
    elif TOKENIZER_FILE in files.sizes:
        with suppress(UnreadableError):
            if files.read_at(TOKENIZER_FILE, 0, len(LFS_POINTER)) == LFS_POINTER:
                yield lfs_pointer(files, TOKENIZER_FILE)
    elif slow := [name for name in SLOW_FILES if name in files.sizes]:
        yield warning(
            f"{files.name} has no {TOKENIZER_FILE}.",
            f"transformers makes a tokenizer of {listed(slow)} when SGLang starts; what it "
            "does to a text cannot be said without it.",
        )
    elif "config.json" in files.sizes:
        yield Fault(
            f"{files.name} has no tokenizer.",
            f"There is neither {TOKENIZER_FILE} nor a file that one could be made of.",
            fetch_again(files),
        )
