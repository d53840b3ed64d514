"""Profiles read to be run: their flags are checked against the release that will run."""

from pathlib import Path

import pytest

from sgl_embed_kit.launch.profile import read_runnable
from sgl_embed_kit.profile.problems import InvalidProfileError


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "p.yaml"
    path.write_text(f"model: {{path: org/model}}\n{text}\n")
    with pytest.raises(InvalidProfileError) as caught:
        read_runnable(str(path), (), installed=None)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def test_wrong_flags_are_all_named_where_they_stand(tmp_path: Path) -> None:
    text = "sglang:\n  extra_args:\n    max-num-seqs: 8\n    port: 80\n    enable-metrics: 1"
    assert problems(tmp_path, text) == [
        "4:5: no SGLang ever had `max-num-seqs` (it is vLLM's); use `max-running-requests`",
        "5:5: `port` is set by the profile's own key `server.port`",
        "6:5: --enable-metrics is a switch: true or false, not 1",
    ]


def test_wrong_keys_and_wrong_flags_are_named_in_one_go(tmp_path: Path) -> None:
    text = "limits: {contxt: 1}\nsglang: {extra_args: {max-num-seqs: 8}}"
    assert [problem.split(":")[0] for problem in problems(tmp_path, text)] == ["2", "3"]


def test_another_spelling_of_a_flag_that_the_profile_sets_is_found_too(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "sglang: {extra_args: {tp: 2}}")
    assert "set by the profile's own key `parallel.tensor`" in problem


def test_a_limit_that_the_wanted_release_lacks_is_named(tmp_path: Path) -> None:
    text = "limits: {max_queued_requests: 9}\nsglang: {version: 0.4.9}"
    assert problems(tmp_path, text) == [
        "2:10: SGLang 0.4.9 has no `max-queued-requests`; known releases with it: 0.5.2 to 0.5.23"
    ]
