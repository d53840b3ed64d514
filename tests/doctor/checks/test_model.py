"""The model's path, its files, and what they say: what the checks find."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.model import folder as module
from sgl_embed_kit.model.facts import ModelFacts, read_facts
from sgl_embed_kit.model.files import ModelFiles
from sgl_embed_kit.model.safetensors import LFS_POINTER
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.profile import Profile
from tests.doctor.checks.cases import SGLANG, Case, find
from tests.machines import FakeMachine
from tests.model.builders import change_json

HERE = str(Path(__file__).parent)
REPO = {"model": {"path": "org/model"}}
QWEN_8B = {"path": "Qwen/Qwen3-Embedding-8B"}


def _drop_a_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def _lfs_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(LFS_POINTER)


def _truncate(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size - 1)


def _classifier(folder: Path) -> None:
    change_json(folder / "config.json", architectures=["Qwen3ForSequenceClassification"])


def _code(folder: Path) -> None:
    change_json(folder / "config.json", auto_map={"AutoModel": "modeling.New"})
    (folder / "modeling.py").write_text("")


def _nothing(_folder: Path) -> None:
    pass


def _mean_pooling(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')


def _few_rows(folder: Path) -> None:
    change_json(folder / "config.json", vocab_size=1445)


def _no_such_prompt(folder: Path) -> None:
    change_json(folder / "config_sentence_transformers.json", default_prompt_name="passage")


CASES: list[Case] = [
    ("SGE-MOD-001", {"model": {"path": HERE}}, Status.ERROR, "no config.json"),
    ("SGE-MOD-001", {"model": {"path": "/no/such"}}, Status.ERROR, "no model folder /no/such"),
    ("SGE-MOD-001", REPO, Status.OK, "from the hub"),
    ("SGE-MOD-001", {"harm": _nothing}, Status.OK, "Qwen3ForCausalLM, 0.0 GB of weights"),
    ("SGE-MOD-001", {"harm": _drop_a_shard}, Status.ERROR, "lacks model-00002-of-00002"),
    ("SGE-MOD-001", {"harm": _lfs_pointer}, Status.ERROR, "Git-LFS pointer"),
    ("SGE-MOD-001", {"harm": _truncate}, Status.ERROR, "cut short"),
    ("SGE-MOD-001", {"harm": _classifier}, Status.ERROR, "a classifier"),
    ("SGE-MOD-003", {"harm": _nothing}, Status.OK, "last token, as declared"),
    ("SGE-MOD-003", {"harm": _mean_pooling}, Status.ERROR, "SGLang would pool by last"),
    ("SGE-MOD-004", {"harm": _nothing}, Status.OK, "ends in <|endoftext|>; 1,446 tokens"),
    ("SGE-MOD-004", {"harm": _few_rows}, Status.ERROR, "ids up to 1445, the model knows 1445"),
    ("SGE-MOD-005", {"harm": _nothing}, Status.OK, "for query"),
    ("SGE-MOD-005", {"harm": _no_such_prompt}, Status.WARN, "'passage' that texts get unasked"),
    ("SGE-MOD-006", {"harm": _nothing}, Status.OK, "the model brings none"),
    (
        "SGE-MOD-006",
        {"harm": _code, "sglang": {"extra_args": {"trust-remote-code": True}}},
        Status.WARN,
        "modeling.py, and the profile has the server run that code",
    ),
    ("SGE-MOD-002", REPO, Status.OK, "org/model is a repository of the hub"),
    ("SGE-MOD-002", {"model": {"path": HERE}}, Status.OK, "the path of a folder"),
    ("SGE-MOD-002", {"model": {"path": "tests/no-such"}}, Status.WARN, "a folder tests here"),
    ("SGE-MOD-002", {"model": {"path": "tests/doctor"}}, Status.INFO, "./tests/doctor would say"),
    ("SGE-MOD-002", {"model": {"path": "org/model/"}}, Status.INFO, "slash at its end is left out"),
    ("SGE-MOD-002", {"model": {"path": "/no/such/"}}, Status.INFO, "slash at its end is left out"),
    *(
        (f"SGE-MOD-00{n}", REPO, Status.SKIP, "once the model's files are here")
        for n in range(3, 7)
    ),
    *((f"SGE-MOD-00{n}", {"model": {"path": HERE}}, Status.SKIP, "not whole") for n in range(3, 7)),
    *((f"SGE-MOD-00{n}", {"model": {"path": "/no"}}, Status.SKIP, "no model") for n in range(3, 7)),
    ("SGE-MOD-007", REPO, Status.SKIP, "not known"),
    ("SGE-MOD-007", {**REPO, "limits": {"context_length": 512}}, Status.SKIP, "not known"),
    ("SGE-MOD-007", {"model": {"path": "/no"}}, Status.SKIP, "not known"),
    ("SGE-MOD-007", {"limits": {"context_length": 4096}}, Status.OK, "4,096 of the model's 4,096"),
    ("SGE-MOD-007", {"limits": {"context_length": 4097}}, Status.ERROR, "positions for 4,096"),
    (
        "SGE-MOD-007",
        {"model": QWEN_8B, "limits": {"context_length": 32769}},
        Status.WARN,
        "card speaks of 32,768",
    ),
    (
        "SGE-MOD-007",
        {"model": QWEN_8B, "limits": {"context_length": 32768}},
        Status.OK,
        "32,768 of the model's 40,960",
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model without faults."""
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=64, layers=1))
    return tmp_path / "m"


def look(check: str, folder: Path, **sections: Any) -> Finding:
    return find(check, model={"path": str(folder)}, **sections)


def _bert(folder: Path, pooling: str) -> None:
    change_json(folder / "config.json", architectures=["BertModel"])
    (folder / "1_Pooling" / "config.json").write_text(f'{{"pooling_mode": "{pooling}"}}')


def test_a_model_one_folder_deeper_is_an_edit_of_the_profile(folder: Path) -> None:
    finding = look("SGE-MOD-001", folder.parent)
    assert finding.status is Status.ERROR
    assert finding.fix == f"model: {{path: {folder}}}  # in the profile"


def test_an_architecture_that_is_not_known_is_a_warning(folder: Path) -> None:
    change_json(folder / "config.json", architectures=["NewModel"])
    assert look("SGE-MOD-001", folder).status is Status.WARN
    assert look("SGE-MOD-003", folder).status is Status.SKIP


@contextmanager
def as_another_user() -> Iterator[None]:
    """Run as a user who owns nothing, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable(folder: Path) -> Path:
    """The small model, in a folder that another user can come to."""
    look("SGE-MOD-001", folder)  # imports what only this user may
    temporary = Path(tempfile.gettempdir())
    for closed in (folder, *folder.parents):
        if closed.is_relative_to(temporary) and closed != temporary:
            closed.chmod(0o755)
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_this_user_may_not_read_is_named(reachable: Path, name: str) -> None:
    (reachable / name).chmod(0)
    with as_another_user():
        finding = look("SGE-MOD-001", reachable)
    assert finding.status is Status.ERROR
    assert f"{name} cannot be read: This user may not read it." in finding.found
    assert finding.fix == f"sudo chmod a+r {reachable / name}"


@pytest.mark.parametrize("depth", [0, 1])
def test_a_folder_that_this_user_may_not_enter_is_named(reachable: Path, depth: int) -> None:
    closed = (reachable, reachable.parent)[depth]
    closed.chmod(0)
    with as_another_user():
        finding = look("SGE-MOD-001", reachable)
    closed.chmod(0o755)
    assert finding.status is Status.ERROR
    assert "cannot be looked into" in finding.found
    assert finding.fix == f"sudo chmod a+rx {closed}"


def test_mean_pooling_needs_the_guard(folder: Path) -> None:
    _bert(folder, "mean")
    finding = look("SGE-MOD-003", folder)
    assert (finding.status, "the guard's doing" in finding.found) == (Status.OK, True)
    without = look("SGE-MOD-003", folder, guard={"enabled": False})
    assert without.status is Status.ERROR
    assert "declares mean pooling, SGLang would pool by cls" in without.found
    assert "guard: {enabled: true}" in without.fix


def test_cls_pooling_needs_no_guard(folder: Path) -> None:
    _bert(folder, "cls")
    finding = look("SGE-MOD-003", folder, guard={"enabled": False})
    assert (finding.status, finding.found) == (Status.OK, "CLS, as declared")


def test_a_model_that_declares_no_pooling_gets_sglangs(folder: Path) -> None:
    (folder / "modules.json").unlink()
    finding = look("SGE-MOD-003", folder)
    assert (finding.status, finding.found) == (Status.OK, "last token; the model declares none")


def test_several_faults_are_all_told_the_worst_first(folder: Path) -> None:
    change_json(
        folder / "1_Pooling" / "config.json",
        pooling_mode="mean",
        pooling_mode_lasttoken=None,
        include_prompt=False,
    )
    finding = look("SGE-MOD-003", folder)
    assert finding.status is Status.ERROR
    assert "Also: The model wants a prompt's tokens left out of the mean." in finding.found


def test_a_text_without_an_end_is_told(folder: Path) -> None:
    change_json(folder / "tokenizer.json", post_processor=None)
    finding = look("SGE-MOD-004", folder)
    assert finding.status is Status.WARN
    assert "does not end in a special token" in finding.found


def test_a_tokenizer_that_is_none_is_an_error(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert look("SGE-MOD-004", folder).status is Status.ERROR


def test_a_tokenizer_that_only_sglang_makes_cannot_be_told(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    assert look("SGE-MOD-001", folder).status is Status.WARN
    assert look("SGE-MOD-004", folder).status is Status.SKIP


def test_unicode_forms_that_become_other_tokens_are_told(folder: Path) -> None:
    change_json(folder / "tokenizer.json", normalizer=None)
    finding = look("SGE-MOD-004", folder)
    assert finding.status is Status.INFO
    assert "NFC" in finding.found


def test_a_prompt_that_sentence_transformers_adds_unasked_is_told(folder: Path) -> None:
    change_json(folder / "config_sentence_transformers.json", default_prompt_name="query")
    finding = look("SGE-MOD-005", folder)
    assert finding.status is Status.INFO
    assert "before every text" in finding.found


def test_code_is_told_and_is_a_warning_where_it_would_run(folder: Path) -> None:
    _code(folder)
    finding = look("SGE-MOD-006", folder)
    assert finding.status is Status.INFO
    assert "modeling.py; none of it is run" in finding.found
    finding = look("SGE-MOD-006", folder, sglang={"extra_args": {"trust-remote-code": True}})
    assert finding.status is Status.WARN
    assert yaml.safe_load(finding.fix) == {"sglang": {"extra_args": {"trust-remote-code": False}}}
    untrusted = look("SGE-MOD-006", folder, sglang={"extra_args": {"trust-remote-code": False}})
    assert untrusted.status is Status.INFO


def test_pickles_beside_the_weights_are_told(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"")
    finding = look("SGE-MOD-006", folder)
    assert finding.status is Status.INFO
    assert "pickle formats, pytorch_model.bin" in finding.found


def test_xlm_r_has_two_positions_fewer_than_its_table(folder: Path) -> None:
    change_json(
        folder / "config.json",
        architectures=["XLMRobertaModel"],
        max_position_embeddings=514,
        pad_token_id=1,
    )
    assert look("SGE-MOD-007", folder, limits={"context_length": 512}).status is Status.OK
    finding = look("SGE-MOD-007", folder, limits={"context_length": 513})
    assert finding.status is Status.ERROR
    assert "positions for 512" in finding.found


def subject_of(folder: Path) -> Subject:
    profile = Profile.model_validate({"model": {"path": str(folder)}})
    return Subject(profile, locate(str(folder)), SGLANG, FakeMachine())


def test_a_folder_is_read_once_whoever_asks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def counted(files: ModelFiles) -> ModelFacts:
        reads.append(files.name)
        return read_facts(files)

    monkeypatch.setattr(module, "read_facts", counted)
    subject = subject_of(folder)
    threads = [threading.Thread(target=subject.model_facts) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert subject.shape is not None
    assert subject.bounds is not None
    assert subject.model_folder() is subject.model_facts()
    assert reads == [str(folder)]
    make_tiny_model(tmp_path / "other", TinyModel(hidden_size=128, layers=1))
    brought = subject.with_files(tmp_path / "other")
    assert brought.shape is not None
    assert (brought.shape.hidden_size, subject.shape.hidden_size) == (128, 64)
    assert reads == [str(folder), str(tmp_path / "other")]
    change_json(folder / "config.json", max_position_embeddings=77)
    again = subject.with_files(folder).bounds
    assert again is not None
    assert again.positions == 77
