"""Flags and values, checked against a release's table."""

from typing import Any

import pytest

from sgl_embed_kit.sglang.advice import advice
from sgl_embed_kit.sglang.arguments import WrongArgumentError, find_flag, words_for
from sgl_embed_kit.sglang.flag_history import known_releases, releases_with, table_of
from sgl_embed_kit.sglang.flags import FlagTable


def table(version: str = "0.5.23") -> FlagTable:
    found = table_of(version)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("attention-backend", "triton", ["--attention-backend", "triton"]),
        ("schedule-conservativeness", 0.5, ["--schedule-conservativeness", "0.5"]),
        ("max-prefill-tokens", 8192, ["--max-prefill-tokens", "8192"]),
        ("max-prefill-tokens", "8k", ["--max-prefill-tokens", "8k"]),
        ("chat-template", "-x", ["--chat-template=-x"]),
        ("chunked-prefill-size", -1, ["--chunked-prefill-size", "-1"]),
        ("sidecar-args", ["--x", 1], ["--sidecar-args", '["--x", 1]']),
        ("enable-metrics", True, ["--enable-metrics"]),
        ("enable-metrics", False, []),
        ("lora-paths", ["a=b", "c=d"], ["--lora-paths", "a=b", "c=d"]),
        ("cuda-graph-max-bs", 8, ["--cuda-graph-max-bs-decode", "8"]),  # renamed in 0.5.20
        ("preferred-sampling-params", {"n": 1}, ["--preferred-sampling-params", '{"n": 1}']),
    ],
)
def test_what_the_release_takes_becomes_words(name: str, value: Any, words: list[str]) -> None:
    assert words_for(table(), name, value) == words


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "max-num-seqs",
            4,
            "ever had `max-num-seqs` (it is vLLM's); in a profile it is `limits.",
        ),
        ("enable-chunked-prefill", True, "in a profile it is `limits.chunked_prefill_size`"),
        ("attention-backnd", "triton", "did you mean `attention-backend`?"),
        ("zzz", 1, "SGLang 0.5.23 has no `zzz`"),
        ("--port", 1, "write it as `port`"),
        ("attention_backend", "triton", "write it as `attention-backend`"),
        ("tp", 2, "`tp` is `tp-size`: write it in full"),
        ("trust-remote", True, "`trust-remote` is `trust-remote-code`: write it in full"),
        ("cuda-graph", True, "could be `cuda-graph-backend-decode`"),
        ("attention-backend", "tritn", "did you mean triton?"),
        ("enable-metrics", "yes", "is a switch: true or false, not 'yes'"),
        ("max-prefill-tokens", "many", "takes a whole number, such as 8192 or 8k, not 'many'"),
        ("max-running-requests", "8k", "takes a whole number, not '8k'"),
        ("max-prefill-tokens", "1.5Ki", "such as 8192 or 8k, not '1.5Ki'"),
        ("lora-paths", ["a=b", "-x"], "cannot take '-x' as one of several values"),
        ("schedule-conservativeness", "x", "takes a number"),
        ("max-prefill-tokens", [1, 2], "takes one value, not a list"),
        ("max-prefill-tokens", True, "does not take True"),
        ("watchdog-timeout", None, "does not take None"),
        ("extra-metric-labels", "{", "takes JSON"),
    ],
)
def test_what_it_does_not_take_gets_the_right_thing_named(name: str, value: Any, said: str) -> None:
    with pytest.raises(WrongArgumentError) as caught:
        words_for(table(), name, value)
    assert said in str(caught.value)


def test_a_flag_of_another_release_names_the_releases() -> None:
    with pytest.raises(WrongArgumentError) as caught:
        find_flag(table("0.5.12"), "smg-grpc-mode")
    said = "SGLang 0.5.12 has no `smg-grpc-mode`; known releases with it: 0.5.18 to 0.5.23"
    assert str(caught.value) == said


def test_an_old_release_keeps_its_own_names() -> None:
    assert find_flag(table("0.5.18"), "cuda-graph-max-bs")[1] == "--cuda-graph-max-bs"


@pytest.mark.parametrize("name", sorted(advice().never_existed))
def test_a_flag_said_never_to_have_existed_is_in_no_release(name: str) -> None:
    entry = advice().never_existed[name]
    assert releases_with(f"--{name}") == ()
    assert releases_with(f"--{entry.instead}") == known_releases()


@pytest.mark.parametrize("name", sorted(advice().renamed))
def test_a_flag_said_to_be_renamed_is_gone_where_it_says_and_replaced(name: str) -> None:
    entry = advice().renamed[name]
    having, releases = releases_with(f"--{name}"), known_releases()
    assert having
    assert releases[releases.index(having[-1]) + 1] == entry.gone_in
    assert f"--{entry.now}" in table(entry.gone_in).by_name


@pytest.mark.parametrize("name", sorted(advice().for_generation))
def test_a_flag_about_generated_text_is_refused(name: str) -> None:
    assert f"--{name}" in table().by_name
    with pytest.raises(WrongArgumentError, match=f"`{name}` is about generated text"):
        words_for(table(), name, "auto")


@pytest.mark.parametrize("name", sorted(advice().set_by_profile))
def test_a_flag_that_a_profile_sets_exists_now(name: str) -> None:
    assert f"--{name}" in table().by_name
