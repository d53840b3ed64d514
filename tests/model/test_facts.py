"""What a model's files say, and each fault: found, named, and never hiding another one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sgl_embed_kit.guard.declared import Pooling
from sgl_embed_kit.model.facts import ModelFacts, read_facts
from sgl_embed_kit.model.faults import Concern, Fault, Severity
from sgl_embed_kit.model.files import LocalFiles
from sgl_embed_kit.model.inspection import inspect_source
from sgl_embed_kit.model.source import locate
from tests.conftest import Launched
from tests.model.builders import change_json, qwen_8b


def facts(folder: Path) -> ModelFacts:
    return read_facts(LocalFiles(folder))


def only_fault(folder: Path) -> Fault:
    (fault,) = facts(folder).faults
    return fault


def modules(folder: Path, *kinds: str) -> None:
    """Write a modules.json of Transformer, Pooling and more."""
    names = ["Transformer", "Pooling", *kinds]
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(names[1:], 1))]
    entries = [
        {
            "idx": number,
            "name": str(number),
            "path": path,
            "type": f"sentence_transformers.x.{kind}",
        }
        for number, (kind, path) in enumerate(zip(names, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(entries))


def test_a_healthy_model_has_no_faults(model: Path) -> None:
    found = facts(model)
    assert found.faults == ()
    assert found.pooling is Pooling.LAST
    assert found.pooling_with_guard is Pooling.LAST
    assert found.prompts.texts["query"].startswith("Instruct: ")
    assert found.full_dimensions == 64
    assert not found.is_encoder


def test_all_faults_are_collected_not_only_the_first(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "model.safetensors").write_bytes(b"")
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode": "max"}')
    change_json(model / "config.json", auto_map={"AutoModel": "modeling_x.X"})
    what = " ".join(fault.what for fault in facts(model).faults)
    for part in ("model.safetensors is broken", "no tokenizer", "a pooling", "Python code"):
        assert part in what


def test_the_shape_is_what_the_plan_counts_with(tmp_path: Path) -> None:
    found = facts(qwen_8b(tmp_path / "m"))
    assert found.shape is not None
    assert found.shape.parameters == 7567295488
    assert found.shape.stored_dtype == "bfloat16"
    assert found.shape.separate_head
    assert found.weight_bytes == 2 * 7567295488
    assert found.like == "Qwen/Qwen3-Embedding-8B"
    assert found.kv_shape == (36, 8, 128)


def test_the_cards_context_is_said_where_config_json_allows_more(tmp_path: Path) -> None:
    fault = only_fault(qwen_8b(tmp_path / "m"))
    assert fault.severity is Severity.WARNING
    assert fault.what == "config.json allows 40960 tokens, the model card 32768."


def test_without_weights_there_is_no_shape(model: Path) -> None:
    (model / "model.safetensors").unlink()
    assert facts(model).shape is None


@pytest.mark.parametrize(
    ("tied", "head", "separate"),
    [(True, False, False), (False, False, True), (None, False, True), (False, True, False)],
)
def test_a_head_is_counted_where_sglang_makes_one_that_the_weights_lack(
    model: Path, tied: bool | None, head: bool, separate: bool
) -> None:
    change_json(model / "config.json", tie_word_embeddings=tied)
    if head:
        content = (model / "model.safetensors").read_bytes()
        renamed = content.replace(b'"model.norm.weight"', b'"lm_head.weight"   ', 1)
        (model / "model.safetensors").write_bytes(renamed)
    assert facts(model).separate_head is separate


@pytest.mark.parametrize(
    ("dtype", "loaded"),
    [("bfloat16", "bfloat16"), ("float32", "float16"), (None, "float16"), ("float16", "float16")],
)
def test_auto_loads_what_config_json_says_and_halves_float32(
    model: Path, dtype: str | None, loaded: str
) -> None:
    change_json(model / "config.json", torch_dtype=dtype)
    assert facts(model).auto_dtype == loaded


def test_an_architecture_that_nobody_described_is_said_to_be_unknown(model: Path) -> None:
    change_json(model / "config.json", architectures=["NomicBertModel"])
    fault = only_fault(model)
    assert fault.severity is Severity.WARNING
    assert "NomicBertModel is not known" in fault.what


def test_a_classifier_is_no_embedding_model(model: Path) -> None:
    change_json(model / "config.json", architectures=["Qwen3ForSequenceClassification"])
    assert "a classifier: it gives scores" in facts(model).errors[0].what


def test_a_model_without_a_pooler_makes_no_embeddings(model: Path) -> None:
    change_json(model / "config.json", architectures=["MixtralForCausalLM"])
    assert "makes no embeddings with MixtralForCausalLM" in facts(model).errors[0].what


@pytest.mark.parametrize("architecture", ["BertModel", "XLMRobertaModel"])
@pytest.mark.parametrize("mode", ["cls", "mean", "lasttoken"])
def test_the_guard_pools_encoders_as_declared(model: Path, architecture: str, mode: str) -> None:
    change_json(model / "config.json", architectures=[architecture])
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
    found = facts(model)
    assert found.errors == ()
    assert found.is_encoder
    assert found.pooling_with_guard == mode.removesuffix("token")


@pytest.mark.parametrize("architecture", ["Qwen3ForCausalLM", "Lfm2BidirectionalModel"])
def test_nobody_changes_the_pooling_of_others(model: Path, architecture: str) -> None:
    change_json(model / "config.json", architectures=[architecture])
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    assert "The model declares mean pooling, SGLang would pool by" in facts(model).errors[0].what


@pytest.mark.parametrize("mode", ["max", "mean_sqrt_len_tokens", "weightedmean", "made-up"])
def test_a_pooling_that_sglang_lacks_is_an_error(model: Path, mode: str) -> None:
    change_json(model / "config.json", architectures=["BertModel"])
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
    assert facts(model).pooling is None
    (error,) = facts(model).errors
    assert error.what.endswith("declares a pooling that SGLang cannot do.")
    assert ("sentence-transformers does not have" in error.why) is (mode == "made-up")


def test_several_poolings_at_once_are_an_error(model: Path) -> None:
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode": ["cls", "mean"]}')
    assert "turns on 2 pooling modes" in facts(model).errors[0].why


def test_a_dense_layer_that_sglang_leaves_out_is_an_error(model: Path) -> None:
    modules(model, "Dense", "Normalize")
    assert "Dense layer after pooling: 2_Dense" in facts(model).errors[0].what


def test_a_module_of_another_kind_is_named(model: Path) -> None:
    modules(model, "Normalize", "LayerNorm")
    assert "LayerNorm" in only_fault(model).what


def test_vectors_that_are_not_meant_to_be_normalised_are_said_to_be(model: Path) -> None:
    modules(model)
    assert "SGLang scales them to length 1" in only_fault(model).what


def test_a_prompt_that_is_left_out_of_the_mean_is_said(model: Path) -> None:
    change_json(model / "config.json", architectures=["BertModel"])
    pooling = {"pooling_mode_mean_tokens": True, "include_prompt": False}
    (model / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    assert "prompt's tokens left out of the mean" in only_fault(model).what


def test_pooling_files_lead_nowhere_else(model: Path) -> None:
    entry = [{"path": "../../../etc", "type": "sentence_transformers.models.Pooling"}]
    (model / "modules.json").write_text(json.dumps(entry))
    assert "leads out of the model folder" in facts(model).errors[0].why


def test_roberta_has_fewer_positions_than_its_table_rows(model: Path) -> None:
    change_json(
        model / "config.json",
        architectures=["XLMRobertaModel"],
        max_position_embeddings=514,
        pad_token_id=1,
    )
    found = facts(model)
    assert (found.positions, found.usable_positions) == (514, 512)
    assert found.faults[0].what == "Of 514 positions, texts can use 512."


def test_remote_code_is_reported_with_the_files_that_it_would_run(model: Path) -> None:
    change_json(
        model / "config.json",
        auto_map={"AutoConfig": "configuration_x.XConfig", "AutoModel": "org/code--modeling_x.X"},
    )
    change_json(
        model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_x.X", None]}
    )
    (model / "configuration_x.py").write_text("raise SystemExit('this ran')")
    code = {(code.purpose, code.file, code.is_here) for code in facts(model).remote_code}
    assert code == {
        ("AutoConfig", "configuration_x.py", True),
        ("AutoModel", "org/code: modeling_x.py", False),
        ("AutoTokenizer", "tokenization_x.py", False),
    }
    assert "configuration_x.py" in only_fault(model).what


def test_matryoshka_is_what_config_json_says(model: Path) -> None:
    assert not facts(model).matryoshka.declared
    change_json(model / "config.json", is_matryoshka=True)
    assert facts(model).matryoshka.declared
    change_json(model / "config.json", is_matryoshka=None, matryoshka_dimensions=[32, 64])
    assert facts(model).matryoshka.dimensions == (32, 64)


def test_of_a_known_shape_the_card_says_how_far_vectors_can_be_cut(tmp_path: Path) -> None:
    assert facts(qwen_8b(tmp_path / "m")).matryoshka.smallest == 32


def test_a_slow_tokenizer_alone_is_a_warning(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "vocab.txt").write_text("a\n")
    fault = only_fault(model)
    assert fault.severity is Severity.WARNING
    assert "has no tokenizer.json" in fault.what
    assert "vocab.txt" in fault.why


def test_no_tokenizer_at_all_is_an_error(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    assert facts(model).errors[0].what == f"{model} has no tokenizer."


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_fifo_in_place_of_a_file(model: Path, name: str) -> None:
    (model / name).unlink()
    os.mkfifo(model / name)
    assert f"{model / name} cannot be read." in [fault.what for fault in facts(model).errors]


@pytest.mark.parametrize("prompts", ["{", "[]", '{"prompts": 1}', '{"prompts": {"a": 1}}'])
def test_unreadable_prompts_are_none(model: Path, prompts: str) -> None:
    (model / "config_sentence_transformers.json").write_text(prompts)
    assert facts(model).prompts.texts == {}
    assert facts(model).errors == ()


@pytest.mark.server
def test_the_real_minilm_is_known_through_and_through(minilm: Launched) -> None:
    assert minilm.model == "all-minilm-l6-v2"
    found = inspect_source(locate("demo:all-minilm-l6-v2"))
    assert found.faults == ()
    assert found.facts.architectures == ("BertModel",)
    assert found.facts.weights.parameters == {"float32": 22713216, "int64": 512}
    assert found.facts.pooling_with_guard is Pooling.MEAN
    assert found.facts.served is not None
    assert found.facts.served.pooling is Pooling.CLS
    assert found.facts.longest_text == 256
    assert found.tokenizer is not None
    assert (found.tokenizer.kind, found.tokenizer.last) == ("WordPiece", "[SEP]")
    assert found.fingerprint == "5ab94310ebaa3852"


def test_a_model_like_qwens_without_prompts_is_told(tmp_path: Path) -> None:
    folder = qwen_8b(tmp_path / "m")
    assert facts(folder).about(Concern.PROMPTS) == ()
    (folder / "config_sentence_transformers.json").unlink()
    (told,) = facts(folder).about(Concern.PROMPTS)
    assert told.what == "The model declares no prompt for queries."
    assert told.severity is Severity.WARNING
