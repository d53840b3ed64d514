"""What is known of SGLang's architectures, each entry against SGLang's own source.

The source is read, not imported, but for a module without dependencies of its own and one
function that needs none.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sgl_embed_kit.model.architectures import (
    DESCRIBED_VERSION,
    EMBEDDING_GEMMA,
    Architecture,
    Caches,
    Task,
    architecture_names,
    architecture_of,
    known_architectures,
)
from sgl_embed_kit.sglang.installed import find_installed

NAMES = sorted(known_architectures())


@pytest.fixture(scope="module")
def srt() -> Path:
    installed = find_installed()
    if installed is None:
        pytest.skip("SGLang is not installed; get it with: make test")
    assert installed.version == DESCRIBED_VERSION
    return installed.package / "srt"


@cache
def classes(file: Path) -> dict[str, ast.ClassDef]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def entry_classes(file: Path) -> list[str]:
    """Return the names of the classes that SGLang registers from a module."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EntryClass":
            value = node.value
            return [ast.unparse(e) for e in getattr(value, "elts", [value])]
    return []


def poolers(models: Path, file: Path, name: str) -> Iterator[str]:
    """Yield the Pooler(...) calls of a class; where it has none, those of its bases."""
    node = classes(file).get(name)
    if node is None:  # imported: the module that defines it
        found = [other for other in models.glob("*.py") if name in classes(other)]
        for other in found:
            yield from poolers(models, other, name)
        return
    calls = [
        ast.unparse(call)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Pooler"
    ]
    yield from calls
    if not calls:
        for base in node.bases:
            if isinstance(base, ast.Name):
                yield from poolers(models, file, base.id)


@pytest.fixture(scope="module")
def spec(srt: Path) -> Iterator[ModuleType]:
    """SGLang's own declarations, a module that imports nothing of SGLang."""
    file = srt / "configs" / "embedding_model_spec.py"
    loader = importlib.util.spec_from_file_location("embedding_model_spec", file)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    sys.modules["embedding_model_spec"] = module  # its dataclasses look themselves up
    loader.loader.exec_module(module)
    yield module
    del sys.modules["embedding_model_spec"]


@pytest.fixture(scope="module")
def is_generation_model(srt: Path) -> Callable[[list[str]], bool]:
    """SGLang's function, taken out of a module that takes ten seconds to import."""
    source = (srt / "configs" / "model_config.py").read_text(encoding="utf-8")
    (function,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == "is_generation_model"
    )
    scope: dict[str, Any] = {"List": list}
    exec(compile(ast.Module([function], []), "model_config.py", "exec"), scope)
    found: Callable[[list[str]], bool] = scope["is_generation_model"]
    return found


def known(name: str) -> Architecture:
    return known_architectures()[name]


@pytest.mark.parametrize("name", NAMES)
def test_sglang_has_the_class_where_the_entry_says(srt: Path, name: str) -> None:
    assert name in entry_classes(srt / "models" / f"{known(name).source}.py")


@pytest.mark.parametrize("name", NAMES)
def test_it_pools_as_the_entry_says(srt: Path, name: str) -> None:
    models = srt / "models"
    calls = list(poolers(models, models / f"{known(name).source}.py", name))
    if known(name).task is not Task.EMBED:
        assert not any("normalize=True" in call for call in calls)
        return
    call = calls[0]
    if known(name).source == "bert":
        # Pooler(pooling_type=pooling_type, …), which is CLS for an embedding server.
        line = "PoolingType.CLS if get_model().is_embedding else PoolingType.LAST"
        assert line in (models / "bert.py").read_text(encoding="utf-8")
        assert known(name).pooling == "cls"
    else:
        assert f"PoolingType.{str(known(name).pooling).upper()}" in call
    if name == EMBEDDING_GEMMA:  # normalises after its Dense layers, in forward
        source = ast.unparse(classes(models / "gemma3_causal.py")[name])
        assert "F.normalize(pooled, p=2, dim=-1)" in source
    else:
        assert known(name).normalised == ("normalize=True" in call)


@pytest.mark.parametrize("name", NAMES)
def test_it_needs_the_flag_where_the_entry_says(
    is_generation_model: Callable[[list[str]], bool], name: str
) -> None:
    if name != EMBEDDING_GEMMA:  # told by its attention, not by its name
        assert is_generation_model([name]) is known(name).needs_flag


@pytest.mark.parametrize("name", NAMES)
def test_attention_and_caches_are_as_the_entry_says(spec: ModuleType, name: str) -> None:
    found = spec.resolve_embedding_model_spec(
        [name], is_embedding_requested=True, is_embedding_gemma=name == EMBEDDING_GEMMA
    )
    architecture = known(name)
    if architecture.task is not Task.EMBED:
        return
    if name == "Lfm2BidirectionalModel":  # SGLang's own table does not have it
        assert architecture.is_bidirectional
        assert not found.bidirectional_attention
    else:
        assert architecture.is_bidirectional is found.bidirectional_attention
    switched_off = found.safe_disable_radix_cache and found.safe_disable_chunked_prefill
    expected = Caches.SWITCHED_OFF if switched_off else Caches.UNSAFE
    assert architecture.caches is (expected if architecture.is_bidirectional else Caches.SAFE)


def test_lfm2_looks_both_ways(srt: Path) -> None:
    node = classes(srt / "models" / "lfm2.py")["Lfm2BidirectionalModel"]
    assert "bidirectional=True" in ast.unparse(node)


def makes_head(models: Path, file: Path, name: str) -> bool:
    """Say whether a class or one of its bases makes an output head of its own."""
    node = classes(file).get(name)
    if node is None:
        files = [other for other in models.glob("*.py") if name in classes(other)]
        return any(makes_head(models, other, name) for other in files)
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    own = "ParallelLMHead(" in ast.unparse(node)
    return own or any(makes_head(models, file, base) for base in bases)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_an_output_head_where_the_entry_says(srt: Path, name: str) -> None:
    models = srt / "models"
    if name == EMBEDDING_GEMMA:  # leaves out its base's constructor, which makes one
        source = ast.unparse(classes(models / "gemma3_causal.py")[name])
        assert "PreTrainedModel.__init__(self, config=config)" in source
        assert not known(name).has_head
    elif known(name).task is Task.EMBED:
        file = models / f"{known(name).source}.py"
        assert known(name).has_head is makes_head(models, file, name)


def test_roberta_counts_positions_from_the_padding_token(srt: Path) -> None:
    source = (srt / "models" / "roberta.py").read_text(encoding="utf-8")
    assert "return incremental_indices.long() + padding_idx" in source
    assert [n for n in NAMES if known(n).counts_from_padding] == ["XLMRobertaModel"]


def test_gemma_is_told_by_its_attention(srt: Path) -> None:
    source = (srt / "configs" / "model_config.py").read_text(encoding="utf-8")
    condition = textwrap.dedent("""\
        return getattr(config, "model_type", None) == "gemma3_text" and getattr(
                config, "use_bidirectional_attention", False
            )""")
    assert condition in source
    gemma = {"architectures": ["Gemma3TextModel"], "model_type": "gemma3_text"}
    assert architecture_of(gemma) is None
    found = architecture_of({**gemma, "use_bidirectional_attention": True})
    assert found is known(EMBEDDING_GEMMA)


def test_of_several_architectures_the_first_known_one_is_served() -> None:
    config = {"architectures": ["Unheard", "BertModel", "Qwen3Model"]}
    assert architecture_of(config) is known("BertModel")


@pytest.mark.parametrize(
    ("named", "names"),
    [("BertModel", ["BertModel"]), (["A", "B"], ["A", "B"]), (None, []), (3, [])],
)
def test_architectures_may_be_one_name_or_a_list(named: object, names: list[str]) -> None:
    assert architecture_names({"architectures": named}) == names
