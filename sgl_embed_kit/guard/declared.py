"""What a model folder declares about pooling: a leaf that the guard and `model` share.

The source is sentence-transformers' own layout: `modules.json` lists the modules of
the model, and the folder of its Pooling module holds `config.json` with one boolean
per mode (`pooling_mode_mean_tokens` and so on), or, in newer files, `pooling_mode`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

_T = TypeVar("_T")
MODULES_FILE = "modules.json"
BIDIRECTIONAL_ARCHITECTURES = frozenset({"BertModel", "XLMRobertaModel"})
"""Encoders that SGLang serves with CLS pooling whatever the model declares, and with
prefix cache and chunked prefill on, although attention looks both ways
(sglang/srt/models/bert.py, roberta.py, configs/embedding_model_spec.py in 0.5.23)."""


class Pooling(StrEnum):
    """How the vectors of a text's tokens become one vector."""

    CLS = "cls"
    MEAN = "mean"
    LAST = "last"


class UnsupportedPoolingError(Exception):
    """The model declares a pooling that the guard cannot apply, or not readably."""


_MODES = {
    "cls": Pooling.CLS,
    "cls_token": Pooling.CLS,
    "mean": Pooling.MEAN,
    "mean_tokens": Pooling.MEAN,
    "lasttoken": Pooling.LAST,
}


def declared_pooling(read: Callable[[str], str | None]) -> Pooling | None:
    """Return the pooling that a model declares, or None where it declares none.

    Args:
        read: Returns the text of a file by its path inside the model folder, or None
            where there is no such file.

    Raises:
        UnsupportedPoolingError: several modes at once, a mode other than CLS, mean
            and last token, or files that cannot be read.
    """
    modules_text = read(MODULES_FILE)
    if modules_text is None:
        return None
    modules = _parsed(MODULES_FILE, modules_text, list)
    folders = [
        module.get("path", "")
        for module in modules
        if isinstance(module, dict) and str(module.get("type", "")).endswith("Pooling")
    ]
    if not folders:
        return None
    name = f"{folders[0]}/config.json"
    config_text = read(name)
    if config_text is None:
        raise UnsupportedPoolingError(f"{MODULES_FILE} names {name}, which is not there")
    return _mode(name, _parsed(name, config_text, dict))


def _parsed(name: str, text: str, kind: type[_T]) -> _T:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UnsupportedPoolingError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise UnsupportedPoolingError(f"{name} should hold a JSON {kind.__name__}")
    return value


def _mode(name: str, config: dict[str, object]) -> Pooling:
    if "pooling_mode" in config:
        modes = [str(config["pooling_mode"])]
    else:
        prefix = "pooling_mode_"
        modes = [
            key.removeprefix(prefix)
            for key, on in config.items()
            if key.startswith(prefix) and on is True
        ]
    if len(modes) != 1:
        raise UnsupportedPoolingError(f"{name} turns on {len(modes)} pooling modes, not one")
    if modes[0] not in _MODES:
        raise UnsupportedPoolingError(f"{name} declares pooling '{modes[0]}'")
    return _MODES[modes[0]]
