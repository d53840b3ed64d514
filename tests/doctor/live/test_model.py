"""What is served: what the live checks find."""

from typing import Any

import httpx
import pytest

from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.guard.declared import Declared
from tests.doctor.live.cases import Case
from tests.doctor.live.fakes import FakeSglang, find, refusal

BERT = {"architectures": ["BertModel"]}
CACHES_OFF = {"radix_cache_disabled": True, "chunked_prefill_disabled": True}


def bert(**cache: bool) -> dict[str, Any]:
    return {**BERT, "embedding": {"pooling": "cls", "cache": CACHES_OFF | cache}}


class Model:
    """As much of a model's facts as the checks read."""

    def __init__(self, pooling: str) -> None:
        self.pooling = Declared(modes=(pooling,)).pooling


CASES: list[Case] = [
    ("SGE-LIVE-006", {}, Status.OK, "SGLang 0.5.23"),
    ("SGE-LIVE-006", {"profile": {"sglang": {"version": ">=0.5.20"}}}, Status.OK, "0.5.23"),
    ("SGE-LIVE-006", {"profile": {"sglang": {"version": "0.5.20"}}}, Status.ERROR, "0.5.23"),
    ("SGE-LIVE-006", {"server": FakeSglang(server={"version": "0.5.22"})}, Status.WARN, "0.5.22"),
    ("SGE-LIVE-006", {"server": FakeSglang(server={"version": "0.5.24"})}, Status.WARN, "0.5.24"),
    ("SGE-LIVE-006", {"server": FakeSglang(server={"version": None})}, Status.SKIP, "not say"),
    (
        "SGE-LIVE-006",
        {"server": FakeSglang(routes={"/server_info": refusal(404)})},
        Status.SKIP,
        "GET /server_info is closed (404)",
    ),
    ("SGE-LIVE-007", {}, Status.OK, "an embedding server"),
    (
        "SGE-LIVE-007",
        {"server": FakeSglang(info={"is_generation": True})},
        Status.ERROR,
        "without --is-embedding",
    ),
    (
        "SGE-LIVE-007",
        {"server": FakeSglang(routes={"/model_info": refusal(403)})},
        Status.SKIP,
        "GET /model_info is closed (403)",
    ),
    (
        "SGE-LIVE-007",
        {"server": FakeSglang(routes={"/model_info": httpx.Response(200, json={})})},
        Status.ERROR,
        "missing required field",
    ),
    ("SGE-LIVE-008", {}, Status.OK, "the model is served as fake"),
    ("SGE-LIVE-008", {"profile": {}}, Status.OK, "the model is served as fake"),
    (
        "SGE-LIVE-008",
        {"profile": {}, "server": FakeSglang(card={"id": "other"})},
        Status.ERROR,
        "the model is served as other",
    ),
    ("SGE-LIVE-008", {"server": FakeSglang(card={"id": "/m/x"})}, Status.WARN, "/m/x"),
    ("SGE-LIVE-008", {"server": FakeSglang(card={"id": "Q/x/"})}, Status.WARN, "Q/x/"),
    ("SGE-LIVE-008", {"server": FakeSglang(card={"id": "x:0.6b"})}, Status.WARN, "x:0.6b"),
    (
        "SGE-LIVE-008",
        {"server": FakeSglang(routes={"/v1/models": refusal(404)})},
        Status.SKIP,
        "GET /v1/models is closed (404)",
    ),
    (
        "SGE-LIVE-008",
        {"server": FakeSglang(routes={"/v1/models": httpx.Response(200, json={"data": []})})},
        Status.ERROR,
        "lists no model",
    ),
    ("SGE-LIVE-009", {}, Status.OK, "context length 64; the KV pool holds 128 tokens"),
    (
        "SGE-LIVE-009",
        {"server": FakeSglang(server={"max_total_num_tokens": 64})},
        Status.OK,
        "the KV pool holds 64 tokens",
    ),
    (
        "SGE-LIVE-009",
        {"server": FakeSglang(server={"max_total_num_tokens": 63})},
        Status.ERROR,
        "the KV pool holds 63 tokens: one longer text waits for ever",
    ),
    (
        "SGE-LIVE-009",
        {"server": FakeSglang(routes={"/server_info": refusal(403)})},
        Status.OK,
        "the KV pool is not told",
    ),
    ("SGE-LIVE-009", {"profile": {"limits": {"context_length": 64}}}, Status.OK, "64"),
    (
        "SGE-LIVE-009",
        {"profile": {"limits": {"context_length": 32}}},
        Status.ERROR,
        "context length 64",
    ),
    (
        "SGE-LIVE-009",
        {"server": FakeSglang(card={"max_model_len": None})},
        Status.SKIP,
        "does not say the context length",
    ),
    ("SGE-LIVE-010", {}, Status.OK, "last pooling, by sglang/srt/models/qwen3.py"),
    ("SGE-LIVE-010", {"model": Model("lasttoken")}, Status.OK, "last pooling"),
    (
        "SGE-LIVE-010",
        {"model": Model("mean")},
        Status.ERROR,
        "last pooling, by sglang/srt/models/qwen3.py: the vectors are wrong",
    ),
    ("SGE-LIVE-010", {"server": FakeSglang(info=bert())}, Status.OK, "the declared pooling, by"),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info=bert()), "model": Model("mean")},
        Status.OK,
        "mean pooling, by the guard",
    ),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info=bert(), guarded=False)},
        Status.WARN,
        "cls pooling whatever BertModel was trained for",
    ),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info=bert(), guarded=False), "model": Model("mean")},
        Status.ERROR,
        "the vectors are wrong",
    ),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info=bert(), guarded=False), "model": Model("cls")},
        Status.OK,
        "cls pooling, as declared",
    ),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info=bert(radix_cache_disabled=False))},
        Status.ERROR,
        "prefix cache on for BertModel",
    ),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info=bert(chunked_prefill_disabled=False))},
        Status.ERROR,
        "chunked prefill on for BertModel",
    ),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info={**BERT, "embedding": {"cache": {}}})},
        Status.ERROR,
        "prefix cache and chunked prefill on for BertModel",
    ),
    ("SGE-LIVE-010", {"server": FakeSglang(info=BERT)}, Status.OK, "by the guard"),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info=BERT, routes={"/generate": refusal(403)})},
        Status.SKIP,
        "cannot be seen",
    ),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info={"architectures": ["NewModel"]})},
        Status.SKIP,
        "nothing is known of the architecture NewModel",
    ),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info={"architectures": ["BertForSequenceClassification"]})},
        Status.SKIP,
        "nothing is known",
    ),
    (
        "SGE-LIVE-010",
        {"server": FakeSglang(info={"is_generation": True})},
        Status.SKIP,
        "generates text",
    ),
]


def test_a_cure_for_a_small_pool_is_a_context_that_fits() -> None:
    finding = find("SGE-LIVE-009", FakeSglang(server={"max_total_num_tokens": 50}))
    assert finding.needed.startswith("50 < 64")
    assert finding.fix == "limits: {context_length: 50}  # in the profile"


@pytest.mark.parametrize("name", ["evil\x1b[2J\nname", "e" * 5000])
def test_a_foreign_name_is_one_printable_line(name: str) -> None:
    found = find("SGE-LIVE-008", FakeSglang(card={"id": name})).found
    assert found.isprintable()
    assert len(found) < 250
