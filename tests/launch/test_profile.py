"""Profiles read to be run: their flags are checked against the release that will run."""

from pathlib import Path

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.model import folder as folder_module
from sgl_embed_kit.model.facts import ModelFacts, read_facts
from sgl_embed_kit.model.files import ModelFiles
from sgl_embed_kit.model.folder import Folders
from sgl_embed_kit.profile.problems import InvalidProfileError
from sgl_embed_kit.sglang.installed import Installed
from tests.machines import FakeMachine
from tests.model.builders import small_model


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "p.yaml"
    path.write_text(f"model: {{path: org/model}}\n{text}\n")
    with pytest.raises(InvalidProfileError) as caught:
        read_runnable(str(path), (), installed=None)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def test_wrong_flags_are_all_named_where_they_stand(tmp_path: Path) -> None:
    text = "sglang:\n  extra_args:\n    max-num-seqs: 8\n    port: 80\n    enable-metrics: 1"
    assert problems(tmp_path, text) == [
        "4:5: no SGLang ever had `max-num-seqs` (it is vLLM's); in a profile it is "
        "`limits.max_running_requests`",
        "5:5: `port` is set by the profile's own key `server.port`",
        "6:5: `enable-metrics` is a switch: true or false, not 1",
    ]


def test_wrong_keys_and_wrong_flags_are_named_in_one_go(tmp_path: Path) -> None:
    text = "limits: {contxt: 1}\nsglang: {extra_args: {max-num-seqs: 8}}"
    assert [problem.split(":")[0] for problem in problems(tmp_path, text)] == ["2", "3"]


def test_another_spelling_of_a_flag_that_the_profile_sets_is_found_too(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "sglang: {extra_args: {tp: 2}}")
    assert "set by the profile's own key `parallel.tensor`" in problem


def test_a_limit_that_the_wanted_release_lacks_is_named(tmp_path: Path) -> None:
    text = "limits: {max_queued_requests: 9}\nsglang: {version: 0.4.9}\nguard: {enabled: false}"
    assert problems(tmp_path, text) == [
        "2:10: SGLang 0.4.9 has no `max-queued-requests`; known releases with it: 0.5.2 to 0.5.23"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("guard: {enabled: true}\nsglang: {version: 0.5.10}", "has no plugins, so that the guard"),
        ("sglang: {version: 0.5.8}", "SGLang 0.5.8 has no plugins"),
        (
            "guard: {enabled: false}\n"
            "sglang: {version: 0.5.20, extra_args: {tokenizer-worker-num: 2}}",
            "SGLang 0.5.20 fails at every embedding",
        ),
        (
            "server: {api_key_env: A}\nguard: {enabled: false}\nsglang: {version: 0.5.2}",
            "SGLang 0.5.2 has no `config`; known releases with it: 0.5.4 to 0.5.23",
        ),
        (
            "server: {admin_api_key_file: /k}\nguard: {enabled: false}\nsglang: {version: 0.5.6}",
            "SGLang 0.5.6 has no `admin-api-key`; known releases with it: 0.5.8 to 0.5.23",
        ),
    ],
)
def test_what_a_release_cannot_do_is_named(tmp_path: Path, text: str, said: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert said in problem


def test_what_a_later_release_put_right_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "model: {path: org/model}\nguard: {enabled: false}\n"
        "sglang: {version: 0.5.23, extra_args: {tokenizer-worker-num: 2}}\n"
    )
    assert read_runnable(str(path), (), installed=None).profile


def test_a_profile_for_another_release_is_judged_by_that_releases_flags(tmp_path: Path) -> None:
    here = Installed("0.5.23", tmp_path, None, "", sees_guard=True)
    path = tmp_path / "p.yaml"
    path.write_text(
        "model: {path: org/model}\nsglang: {version: 0.5.18, extra_args: {cuda-graph-max-bs: 8}}\n"
    )
    assert read_runnable(str(path), (), here).profile
    path.write_text(
        "model: {path: org/model}\nsglang: {version: '<0.5.20', extra_args: {attn-dp-size: 1}}\n"
    )
    with pytest.raises(InvalidProfileError, match="a problem") as caught:
        read_runnable(str(path), (), here)
    assert "SGLang 0.5.18 has no `attn-dp-size`" in str(caught.value.problems[0])


def test_what_the_model_cannot_do_is_named_with_all_else(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "model: {path: Qwen/Qwen3-Embedding-0.6B}\n"
        "limits: {context_length: 40960, contxt: 3}\n"
        "embedding: {dimensions: 2560}\n"
        "sglang: {extra_args: {max-num-seqs: 1}}\n"
    )
    with pytest.raises(InvalidProfileError) as caught:
        read_runnable(str(path), (), installed=None)
    assert [str(p).removeprefix(f"{path}:") for p in caught.value.problems] == [
        "2:10: a context of 40960 is longer than the model's, which is 32768",
        "2:33: `limits.contxt` is not a key of a profile; did you mean `context_length`?",
        "3:13: the model's full vectors have 1024 dimensions, not 2560",
        "4:23: no SGLang ever had `max-num-seqs` (it is vLLM's); in a profile it is "
        "`limits.max_running_requests`",
    ]


def test_a_dry_run_reads_the_models_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def counted(files: ModelFiles) -> ModelFacts:
        reads.append(files.name)
        return read_facts(files)

    monkeypatch.setattr(folder_module, "read_facts", counted)
    folder, path = small_model(tmp_path / "m"), tmp_path / "p.yaml"
    path.write_text(f"model: {{path: {folder}}}\nhardware: {{device: cpu}}\n")
    folders = Folders()
    loaded = read_runnable(str(path), (), None, folders=folders)
    subject = Subject.of(loaded.profile, None, FakeMachine(), loaded.mask, folders)
    assert "--context-length 4096" in subject.command(shown=loaded.shown).as_shell()
    assert reads == [str(folder)]
