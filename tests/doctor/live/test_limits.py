"""At a server's limits: what the live checks find, and what they send only when told."""

import httpx
import pytest

from sgl_embed_kit.doctor.catalogue import catalogue
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.doctor.live import LIVE_CHECKS, run_live_checks
from sgl_embed_kit.doctor.live.answers import READ_THE_LOG
from sgl_embed_kit.doctor.live.limits import MOST_TOKENS
from tests.doctor.live.cases import Case
from tests.doctor.live.fakes import BY_ID, FakeSglang, find, refusal, subject_of

TOLD = {"is_intrusive": True}


def small_pool() -> FakeSglang:
    return FakeSglang(server={"max_total_num_tokens": 63})


def hanging(words: int) -> FakeSglang:
    """Return a server that never answers a text of more words."""
    healthy = FakeSglang()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.content.count(b" apple") > words:
            raise httpx.ReadTimeout("timed out")
        return healthy(request)

    return FakeSglang(routes={"/v1/embeddings": answer})


def failing(words: int) -> FakeSglang:
    """Return a server that says 500 for a text of more words."""
    healthy = FakeSglang()

    def answer(request: httpx.Request) -> httpx.Response:
        return refusal(500) if request.content.count(b" apple") > words else healthy(request)

    return FakeSglang(routes={"/v1/embeddings": answer})


one_token = httpx.Response(200, json={"tokens": [1]})
"""A tokenizer that makes one token of everything."""
as_many = httpx.Response(200, json={"tokens": [1] * 64})
"""A tokenizer that makes of everything just as many tokens as SGLang refuses."""

CASES: list[Case] = [
    (
        "SGE-LIVE-021",
        {},
        Status.OK,
        "a text of 72 tokens, for 64, gets 400, and the server goes on",
    ),
    (
        "SGE-LIVE-021",
        {"server": FakeSglang(server={"max_total_num_tokens": 64})},
        Status.OK,
        "and the server goes on",
    ),
    ("SGE-LIVE-021", {"server": small_pool()}, Status.SKIP, "the KV pool holds 63 tokens"),
    ("SGE-LIVE-021", {"server": small_pool(), **TOLD}, Status.OK, "and the server goes on"),
    (
        "SGE-LIVE-021",
        {"server": FakeSglang(routes={"/server_info": refusal(403)})},
        Status.SKIP,
        "the KV pool is not told",
    ),
    (
        "SGE-LIVE-021",
        {"server": FakeSglang(server={"allow_auto_truncate": True, "max_total_num_tokens": 128})},
        Status.WARN,
        "gets 200: it is cut without a word",
    ),
    (
        "SGE-LIVE-021",
        {"server": FakeSglang(dies_of="/v1/embeddings")},
        Status.ERROR,
        "gets 400, and then http://127.0.0.1:30000 cannot be reached",
    ),
    (
        "SGE-LIVE-021",
        {"server": FakeSglang(card={"max_model_len": None})},
        Status.SKIP,
        "does not say the context length",
    ),
    (
        "SGE-LIVE-021",
        {
            "server": FakeSglang(
                card={"max_model_len": 1_000_000}, server={"max_total_num_tokens": 2_000_000}
            )
        },
        Status.SKIP,
        "too long to try",
    ),
    (
        "SGE-LIVE-021",
        {"server": FakeSglang(routes={"/v1/tokenize": refusal(404)})},
        Status.SKIP,
        "POST /v1/tokenize is closed",
    ),
    (
        "SGE-LIVE-021",
        {"server": FakeSglang(routes={"/v1/tokenize": one_token})},
        Status.SKIP,
        "no text of 64 tokens could be made",
    ),
    (
        "SGE-LIVE-021",
        {"server": FakeSglang(routes={"/v1/tokenize": as_many, "/v1/embeddings": refusal(400)})},
        Status.ERROR,
        "a text of 64 tokens, for 64, gets 400, and then",
    ),
    (
        "SGE-LIVE-021",
        {
            "server": FakeSglang(
                card={"max_model_len": MOST_TOKENS}, server={"max_total_num_tokens": MOST_TOKENS}
            )
        },
        Status.OK,
        "a text of 131080 tokens, for 131072, gets 400",
    ),
    (
        "SGE-LIVE-021",
        {"server": failing(50)},
        Status.ERROR,
        "a text of 72 tokens, for 64, gets 500",
    ),
    ("SGE-LIVE-022", {}, Status.SKIP, "--intrusive sends it"),
    ("SGE-LIVE-022", TOLD, Status.OK, "a text of 56 tokens gets its vector"),
    (
        "SGE-LIVE-022",
        {"server": hanging(50), **TOLD},
        Status.ERROR,
        "was not answered within 60 s, then others are answered again",
    ),
    (
        "SGE-LIVE-022",
        {"server": hanging(-1), **TOLD},
        Status.ERROR,
        "then POST /v1/embeddings was not answered within 10 s",
    ),
    (
        "SGE-LIVE-022",
        {"server": FakeSglang(routes={"/v1/embeddings": refusal(503, "queue is full")}), **TOLD},
        Status.ERROR,
        "gets 503: queue is full",
    ),
    ("SGE-LIVE-023", {}, Status.SKIP, "--intrusive sends it"),
    ("SGE-LIVE-023", TOLD, Status.OK, "gets 400, and the server goes on"),
    (
        "SGE-LIVE-023",
        {"server": FakeSglang(dies_of="/generate", guarded=False), **TOLD},
        Status.ERROR,
        "cannot be reached",
    ),
    (
        "SGE-LIVE-023",
        {"server": FakeSglang(routes={"/generate": httpx.Response(200)}), **TOLD},
        Status.ERROR,
        "gets 200",
    ),
    (
        "SGE-LIVE-023",
        {"server": FakeSglang(routes={"/generate": refusal(500)}), **TOLD},
        Status.ERROR,
        "gets 500",
    ),
    (
        "SGE-LIVE-023",
        {"server": FakeSglang(info={"is_generation": True}), **TOLD},
        Status.SKIP,
        "generates text",
    ),
]


@pytest.mark.parametrize(
    ("pool", "fix"),
    [
        (55, "limits: {context_length: 55}  # in the profile"),
        (56, READ_THE_LOG),
        (None, READ_THE_LOG),
    ],
)
def test_only_a_pool_that_is_too_small_is_cured_by_a_shorter_context(
    pool: int | None, fix: str
) -> None:
    server = hanging(50)
    server.server = {"max_total_num_tokens": pool}
    finding = find("SGE-LIVE-022", server, is_intrusive=True)
    assert finding.found.startswith("a text of 56 tokens")
    assert finding.fix == fix


def test_a_server_that_cuts_texts_is_cured_by_one_that_does_not() -> None:
    server = FakeSglang(server={"allow_auto_truncate": True, "max_total_num_tokens": 128})
    assert find("SGE-LIVE-021", server).fix.splitlines() == [
        "sglang:  # in the profile",
        "  extra_args: {allow-auto-truncate: false}  # in the profile",
    ]


def test_by_default_nothing_is_sent_that_could_hurt() -> None:
    server = small_pool()
    run_live_checks(subject_of(server), LIVE_CHECKS, {})
    assert not [r for r in server.requests if r.url.path == "/generate" and r.method != "GET"]
    longest = max(r.content.count(b" apple") for r in server.requests)
    assert longest == 0
    allowed = {"/v1/embeddings", "/v1/tokenize", "/v1/detokenize"}
    assert {r.url.path for r in server.requests if r.method != "GET"} <= allowed


def test_what_could_hurt_comes_last_and_one_after_the_other() -> None:
    server = FakeSglang()
    report = run_live_checks(subject_of(server, is_intrusive=True), LIVE_CHECKS, {})
    assert [result.check.id for result in report.results] == [check.id for check in LIVE_CHECKS]
    posts = [request for request in server.requests if request.method == "POST"]
    last = [request for request in posts if request.url.path != "/v1/tokenize"][-5:]
    assert [(r.url.path, r.content.count(b" apple") > 50) for r in last] == [
        ("/v1/embeddings", True),  # too long
        ("/v1/embeddings", False),  # and whether the server still answers
        ("/v1/embeddings", True),  # the longest
        ("/generate", False),
        ("/v1/embeddings", False),
    ]


@pytest.mark.parametrize("name", BY_ID)
def test_a_check_that_could_hurt_says_so(name: str) -> None:
    could_hurt = name in {"SGE-LIVE-021", "SGE-LIVE-022", "SGE-LIVE-023"}
    assert bool(catalogue()[name].harm) is could_hurt
