"""Values that SGLang's own code judges: our judge and SGLang's parser say the same."""

import pytest

from sgl_embed_kit.sglang.judged import judged
from tests.real_sglang import RefusedError, Sglang

VALUES = [
    ("kv-canary-real-data", "none", True),
    ("kv-canary-real-data", "partial", True),
    ("kv-canary-real-data", "all", True),
    ("kv-canary-real-data", "some", False),
    ("kv-canary-real-data", "ALL", False),
    ("lora-paths", "a", True),
    ("lora-paths", "a=/b", True),
    ("lora-paths", "{a", True),
    ("lora-paths", '{"lora_name": "a", "lora_path": "/b", "pinned": true}', True),
    ("lora-paths", ' {"lora_name": "a", "lora_path": "/b"} ', True),
    ("lora-paths", '{"lora_name": "a"}', False),
    ("lora-paths", '{"lora_path": "/b"}', False),
    ("lora-paths", "{a}", False),
    ("cuda-graph-config", "{}", True),
    ("cuda-graph-config", '{"decode": {"backend": "full", "max_bs": 8, "bs": [1, 8]}}', True),
    ("cuda-graph-config", '{"prefill": {"backend": "disabled", "max_seq_len": 9}}', True),
    ("cuda-graph-config", '{"prefill": {"max_context_size": 9}, "decode": {}}', True),
    ("cuda-graph-config", '{"prefill": {"full_prefill_max_req": 9}}', True),
    ("cuda-graph-config", '{"prefill": {"full_prefill_prefix_chunk_tokens": 9}}', True),
    ("cuda-graph-config", '{"prefill": {"backend": "tc_piecewise"}}', False),
    ("cuda-graph-config", '{"prefill": {"tc_compiler": "eager"}}', False),
    ("cuda-graph-config", '{"decode": {"max_seq_len": 9}}', False),
    ("cuda-graph-config", '{"decode": 1}', False),
    ("cuda-graph-config", '{"verify": {}}', False),
    ("cuda-graph-config", "[]", False),
    ("cuda-graph-config", "{", False),
]


@pytest.mark.server
@pytest.mark.parametrize(("name", "text", "taken"), VALUES)
def test_sglang_takes_what_is_not_refused(
    sglang_parser: Sglang, name: str, text: str, taken: bool
) -> None:
    argv = ["--model-path", "m", f"--{name}", text]
    if taken:
        assert sglang_parser.ask(argv, in_place=True)["model_path"] == "m"
    else:
        with pytest.raises(RefusedError):
            sglang_parser.ask(argv, in_place=True)


@pytest.mark.parametrize(("name", "text", "taken"), VALUES)
def test_what_a_flag_takes_is_said_of_a_wrong_value(name: str, text: str, taken: bool) -> None:
    assert (judged(name, text) == "") is taken


def test_a_backend_that_does_not_exist_is_refused_before_sglang_would() -> None:
    said = judged("cuda-graph-config", '{"decode": {"backend": "piecewise"}}')
    assert said == "full, breakable, disabled as backend of decode"


def test_an_empty_adapter_is_refused() -> None:
    assert judged("lora-paths", " ")


def test_other_flags_are_not_judged() -> None:
    assert judged("schedule-policy", "anything") == ""
