"""What a tokenizer does to a text, really tried."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from sgl_embed_kit.model.faults import Severity
from sgl_embed_kit.model.files import LocalFiles, UnreadableError
from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.inspection import Inspection, inspect_files
from sgl_embed_kit.model.tokenizer import TOKENIZER_LIMIT, TRIED, TokenizerFacts, read_tokenizer
from tests.model.builders import change_json, qwen_8b


def read(folder: Path) -> TokenizerFacts:
    return read_tokenizer(LocalFiles(folder))


def change(folder: Path, **changes: Any) -> None:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def inspected(folder: Path) -> Inspection:
    return inspect_files(local_files(folder))


def test_a_tokenizer_says_what_it_does(model: Path) -> None:
    found = read(model)
    assert (found.kind, found.normalisers) == ("BPE", ("NFC",))
    assert (found.first, found.last, found.last_id) == ("", "<|endoftext|>", 1443)
    assert (found.vocabulary, found.highest_id) == (1446, 1445)
    assert found.joins_forms
    content = (model / "tokenizer.json").read_bytes()
    assert found.sha256 == hashlib.sha256(content).hexdigest()


def test_without_a_normaliser_letters_have_two_forms(model: Path) -> None:
    change(model, normalizer=None)
    found = read(model)
    assert found.normalisers == ()
    assert not found.joins_forms


def test_several_normalisers_are_listed_in_order(model: Path) -> None:
    parts = [{"type": "NFKC"}, {"type": "Lowercase"}]
    change(model, normalizer={"type": "Sequence", "normalizers": parts})
    assert read(model).normalisers == ("NFKC", "Lowercase")


def test_a_text_that_gets_no_last_token_is_a_warning(model: Path) -> None:
    change(model, post_processor=None)
    (fault,) = inspected(model).faults
    assert fault.what == "A text does not end in a special token."
    assert fault.severity is Severity.WARNING


def test_an_encoder_needs_no_last_token(model: Path) -> None:
    change(model, post_processor=None)
    change_json(model / "config.json", architectures=["BertModel"])
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    assert inspected(model).faults == ()


def test_qwens_own_models_need_their_own_last_token(tmp_path: Path) -> None:
    folder = qwen_8b(tmp_path / "m")
    assert inspected(folder).can_be_served
    change(folder, post_processor=None)
    found = inspected(folder)
    assert not found.can_be_served
    (error,) = (fault for fault in found.faults if fault.severity is Severity.ERROR)
    assert error.what == "A text does not end in <|endoftext|>."
    assert error.cure


def test_ids_beyond_the_models_rows_are_an_error(model: Path) -> None:
    change_json(model / "config.json", vocab_size=1445)
    (error,) = inspected(model).faults
    assert error.what == "The tokenizer gives ids up to 1445, the model knows 1445."
    assert error.severity is Severity.ERROR
    change_json(model / "config.json", vocab_size=1446)
    assert inspected(model).faults == ()


def test_an_id_far_behind_the_others_is_found(model: Path) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    content["model"]["vocab"]["far"] = 99_999
    (model / "tokenizer.json").write_text(json.dumps(content))
    assert read(model).highest_id == 99_999


def test_truncation_and_padding_of_the_file_do_not_matter(model: Path) -> None:
    change(
        model,
        normalizer=None,
        truncation={"max_length": 2, "stride": 0, "strategy": "LongestFirst", "direction": "Right"},
    )
    assert read(model).last == "<|endoftext|>"
    assert not read(model).joins_forms  # which the first token alone does not show


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"model": {"type": "BPE"}}', "[" * 100_000, "\ufffd", ""]
)
def test_what_is_no_tokenizer_is_an_error(model: Path, content: str) -> None:
    (model / "tokenizer.json").write_text(content)
    found = inspected(model)
    assert found.tokenizer is None
    assert [f.what for f in found.faults] == [f"{model / 'tokenizer.json'} cannot be used."]


def test_a_tokenizer_beyond_the_limit_is_not_loaded(model: Path) -> None:
    with (model / "tokenizer.json").open("r+b") as file:
        file.truncate(TOKENIZER_LIMIT + 1)
    with pytest.raises(UnreadableError, match="no more than 64 MiB are read"):
        read(model)


@pytest.mark.parametrize(
    "merge", [["no", "such"], "no such", ["a"], "a b c", 7], ids=lambda merge: f"{merge}"
)
def test_a_merge_that_makes_no_token_is_an_error(model: Path, merge: object) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    content["model"]["merges"].append(merge)
    (model / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UnreadableError, match="it is no tokenizer"):
        read(model)


def test_what_is_tried_without_merges_is_what_the_whole_tokenizer_does(model: Path) -> None:
    whole = Tokenizer.from_file(str(model / "tokenizer.json"))
    found = read(model)
    tried = whole.encode(TRIED)
    assert (found.last, found.last_id) == (tried.tokens[-1], tried.ids[-1])
    assert found.vocabulary == whole.get_vocab_size(with_added_tokens=True)
    assert found.highest_id == max(whole.get_vocab(with_added_tokens=True).values())


def test_inner_pieces_with_a_prefix_are_merged_without_it(model: Path) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    vocabulary = {"x": 0, "##q": 1, "xq": 2}
    bpe = {"continuing_subword_prefix": "##", "vocab": vocabulary, "merges": [["x", "##q"]]}
    change(model, model=content["model"] | bpe)
    Tokenizer.from_file(str(model / "tokenizer.json"))  # the library takes it, too
    assert read(model).kind == "BPE"


def test_an_inner_piece_without_the_prefix_is_an_error_and_no_panic(model: Path) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    change(model, model=content["model"] | {"continuing_subword_prefix": "##"})
    with pytest.raises(UnreadableError, match="it is no tokenizer"):
        read(model)
