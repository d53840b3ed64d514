"""What a model folder declares about pooling: a leaf that the guard and `model` share.

The source is sentence-transformers' own layout: `modules.json` lists the modules of
the model, and the folder of its Pooling module holds `config.json` with one boolean
per mode (`pooling_mode_mean_tokens` and so on), or, in newer files, `pooling_mode` with
the name of one mode or a list of names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TypeVar

_T = TypeVar("_T")
MODULES_FILE = "modules.json"
BIDIRECTIONAL_ARCHITECTURES = frozenset({"BertModel", "XLMRobertaModel"})
"""Encoders that SGLang serves with CLS pooling whatever the model declares, and with
prefix cache and chunked prefill on, although attention looks both ways
(sglang/srt/models/bert.py, roberta.py, configs/embedding_model_spec.py in 0.5.23)."""


class Pooling(StrEnum):
    """How the vectors of a text's tokens become one vector, where SGLang can do it."""

    CLS = "cls"
    MEAN = "mean"
    LAST = "last"


class UnsupportedPoolingError(Exception):
    """The model declares a pooling that the guard cannot apply, or not readably."""


@dataclass(frozen=True)
class Declared:
    """What a model's sentence-transformers files declare.

    Attributes:
        modes: Pooling modes that are on, by sentence-transformers' names, such as "mean".
        is_normalised: Whether the vectors are scaled to length 1.
        dense: Folders of Dense modules, which SGLang ignores but for EmbeddingGemma.
        others: Types of modules that are none of Transformer, Pooling, Normalize and Dense.
        includes_prompt: Whether the tokens of a prompt are pooled, too.
    """

    modes: tuple[str, ...] = ()
    is_normalised: bool = False
    dense: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    includes_prompt: bool = True

    @property
    def pooling(self) -> Pooling | None:
        """The pooling; None where no Pooling module is declared.

        Raises:
            UnsupportedPoolingError: several modes at once, or one that SGLang lacks.
        """
        if not self.modes:
            return None
        if len(self.modes) != 1:
            raise UnsupportedPoolingError(
                f"the model turns on {len(self.modes)} pooling modes, not one"
            )
        if self.modes[0] not in _MODES:
            raise UnsupportedPoolingError(f"the model declares pooling '{self.modes[0]}'")
        return _MODES[self.modes[0]]


_MODES = {"cls": Pooling.CLS, "mean": Pooling.MEAN, "lasttoken": Pooling.LAST}
_OLD_NAMES = {
    "cls_token": "cls",
    "mean_tokens": "mean",
    "max_tokens": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean_tokens": "weightedmean",
}
KNOWN_MODES = frozenset({"cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken"})
"""Every mode of sentence-transformers (its models/Pooling.py)."""
_KNOWN_MODULES = frozenset({"Transformer", "Pooling", "Normalize", "Dense"})


def declared(read: Callable[[str], str | None]) -> Declared | None:
    """Return what a model declares, or None where it has no modules.json.

    Args:
        read: Returns the text of a file by its path inside the model folder, or None
            where there is no such file.

    Raises:
        UnsupportedPoolingError: the files cannot be read, or contradict themselves.
    """
    modules_text = read(MODULES_FILE)
    if modules_text is None:
        return None
    modules = [
        (str(module.get("type", "")).rsplit(".", 1)[-1], str(module.get("path", "")))
        for module in _parsed(MODULES_FILE, modules_text, list)
        if isinstance(module, dict)
    ]
    folders = [path for kind, path in modules if kind.endswith("Pooling")]
    modes, includes_prompt = _pooling(read, folders[0]) if folders else ((), True)
    return Declared(
        modes=modes,
        is_normalised=any(kind == "Normalize" for kind, _ in modules),
        dense=tuple(path for kind, path in modules if kind == "Dense"),
        others=tuple(
            dict.fromkeys(
                kind or "without a type"
                for kind, _ in modules
                if kind not in _KNOWN_MODULES and not kind.endswith("Pooling")
            )
        ),
        includes_prompt=includes_prompt,
    )


def declared_pooling(read: Callable[[str], str | None]) -> Pooling | None:
    """Return the pooling that a model declares, or None where it declares none.

    Args:
        read: As for `declared`.

    Raises:
        UnsupportedPoolingError: several modes at once, a mode other than CLS, mean
            and last token, or files that cannot be read.
    """
    found = declared(read)
    return found.pooling if found else None


def _pooling(read: Callable[[str], str | None], folder: str) -> tuple[tuple[str, ...], bool]:
    """Return the modes of a Pooling module, and whether it pools the prompt's tokens."""
    if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
        raise UnsupportedPoolingError(f"{MODULES_FILE} leads out of the model folder: {folder!r}")
    name = f"{folder}/config.json"
    text = read(name)
    if text is None:
        raise UnsupportedPoolingError(f"{MODULES_FILE} names {name}, which is not there")
    config = _parsed(name, text, dict)
    modes = _modes(config)
    if not modes:
        raise UnsupportedPoolingError(f"{name} turns on 0 pooling modes, not one")
    return modes, config.get("include_prompt") is not False


def _modes(config: dict[str, object]) -> tuple[str, ...]:
    named = config.get("pooling_mode")
    if named is not None:
        names = named if isinstance(named, list) else [named]
    else:
        prefix = "pooling_mode_"
        names = [
            key.removeprefix(prefix)
            for key, on in config.items()
            if key.startswith(prefix) and on is True
        ]
    return tuple(_OLD_NAMES.get(str(name), str(name)) for name in names)


def _parsed(name: str, text: str, kind: type[_T]) -> _T:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnsupportedPoolingError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise UnsupportedPoolingError(f"{name} should hold a JSON {kind.__name__}")
    return value
