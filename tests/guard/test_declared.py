"""Reading what a model folder declares about pooling."""

import json

import pytest

from sgl_embed_kit.guard import declared as module
from sgl_embed_kit.guard.declared import Pooling, UnsupportedPoolingError, declared_pooling

MODULES = json.dumps(
    [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
)


def declared(**modes: object) -> Pooling | None:
    files = {"modules.json": MODULES, "1_Pooling/config.json": json.dumps(modes)}
    return declared_pooling(files.get)


@pytest.mark.parametrize(
    ("mode", "pooling"),
    [
        ("cls_token", Pooling.CLS),
        ("mean_tokens", Pooling.MEAN),
        ("lasttoken", Pooling.LAST),
    ],
)
def test_the_one_mode_that_is_on_is_the_pooling(mode: str, pooling: Pooling) -> None:
    off = {"pooling_mode_max_tokens": False, "word_embedding_dimension": 384}
    assert declared(**off, **{f"pooling_mode_{mode}": True}) is pooling


def test_the_newer_single_key_is_understood() -> None:
    assert declared(pooling_mode="mean") is Pooling.MEAN


@pytest.mark.parametrize(
    "mode", ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
)
def test_every_mode_of_sentence_transformers_has_one_name_in_old_and_new_files(mode: str) -> None:
    """The old booleans are pooling_mode_cls_token, …_mean_tokens, …_lasttoken and so on."""
    old = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens"}
    old["weightedmean"] = "weightedmean_tokens"
    names = set()
    for config in ({"pooling_mode": mode}, {f"pooling_mode_{old.get(mode, mode)}": True}):
        files = {"modules.json": MODULES, "1_Pooling/config.json": json.dumps(config)}
        found = module.declared(files.get)
        assert found is not None
        names.add(found.modes)
    ((name,),) = names
    assert name in module.KNOWN_MODES


def test_other_modules_are_told_apart() -> None:
    kinds = ["Transformer", "Pooling", "Dense", "Normalize", "LayerNorm"]
    entries = [{"path": f"{n}_{k}", "type": f"st.models.{k}"} for n, k in enumerate(kinds)]
    files = {
        "modules.json": json.dumps(entries),
        "1_Pooling/config.json": '{"pooling_mode": "cls", "include_prompt": false}',
    }
    assert module.declared(files.get) == module.Declared(
        modes=("cls",),
        is_normalised=True,
        dense=("2_Dense",),
        others=("LayerNorm",),
        includes_prompt=False,
    )


@pytest.mark.parametrize("path", ["../outside", "/etc", "a/../../b"])
def test_a_pooling_module_outside_of_the_model_is_not_read(path: str) -> None:
    entry = [{"path": path, "type": "sentence_transformers.models.Pooling"}]
    files = {"modules.json": json.dumps(entry), f"{path}/config.json": '{"pooling_mode": "cls"}'}
    with pytest.raises(UnsupportedPoolingError, match="leads out of the model folder"):
        declared_pooling(files.get)


def test_a_model_without_modules_declares_nothing() -> None:
    assert declared_pooling(lambda _name: None) is None


def test_modules_without_a_pooling_module_declare_nothing() -> None:
    assert declared_pooling({"modules.json": '[{"type": "x.Transformer"}]'}.get) is None


@pytest.mark.parametrize(
    ("modes", "reason"),
    [
        ({"pooling_mode_max_tokens": True}, "declares pooling 'max'"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "2 pooling modes"),
        ({"pooling_mode_cls_token": False}, "0 pooling modes"),
    ],
)
def test_what_cannot_be_applied_is_refused_by_name(modes: dict[str, bool], reason: str) -> None:
    with pytest.raises(UnsupportedPoolingError, match=reason):
        declared(**modes)


@pytest.mark.parametrize(
    "files",
    [
        {"modules.json": "{not json"},
        {"modules.json": "{}"},
        {"modules.json": MODULES},
        {"modules.json": MODULES, "1_Pooling/config.json": "[]"},
    ],
    ids=["not JSON", "not a list", "no pooling file", "pooling file holds a list"],
)
def test_unreadable_declarations_are_refused_not_guessed(files: dict[str, str]) -> None:
    with pytest.raises(UnsupportedPoolingError):
        declared_pooling(files.get)
