"""Every live check: cases in which it passes, fails, and cannot tell."""

import importlib
import pkgutil
from typing import Any

import httpx
import pytest

import tests.doctor.live
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.doctor.live import LIVE_CHECKS, run_live_checks
from sgl_embed_kit.profile.masking import Mask
from tests.doctor.checks.fixes import is_pasteable
from tests.doctor.live.cases import Case
from tests.doctor.live.fakes import BY_ID, KEY, FakeSglang, find, refusal, subject_of

CASES: list[Case] = [
    case
    for module in pkgutil.iter_modules(tests.doctor.live.__path__)
    if module.name.startswith("test_") and module.name != "test_every_live_check"
    for case in getattr(importlib.import_module(f"tests.doctor.live.{module.name}"), "CASES", [])
]
ALWAYS_TELLS = {"SGE-LIVE-001": "a server answers or it does not"}
"""Checks that never say `skip`, and why."""
AT_WORST_INFO = {"SGE-LIVE-019"}
"""Checks that only tell, because nothing is wrong with the server."""


@pytest.mark.parametrize(("check", "options", "status", "text"), CASES)
def test_each_finding(check: str, options: dict[str, Any], status: Status, text: str) -> None:
    finding = find(check, **options)
    assert finding.status is status, finding
    assert text in finding.found
    if status in {Status.ERROR, Status.WARN}:
        assert finding.needed
        assert is_pasteable(finding.fix), finding.fix
        assert BY_ID[check].about.severity == "error" or status is Status.WARN


@pytest.mark.parametrize(
    ("answer", "fix"),
    [
        (refusal(403), ""),
        (refusal(500), "sgl-embed doctor --log FILE  # the server's log"),
        (
            httpx.Response(200, text="<html>"),
            "curl -i http://127.0.0.1:30000/model_info  # shows what stands between here and "
            "SGLang",
        ),
    ],
)
def test_an_answer_of_no_use_gets_the_cure_that_fits(answer: httpx.Response, fix: str) -> None:
    assert find("SGE-LIVE-007", FakeSglang(routes={"/model_info": answer})).fix == fix


@pytest.mark.parametrize("check", BY_ID)
def test_there_is_a_case_for_each_verdict(check: str) -> None:
    verdicts = {status for case, _, status, _ in CASES if case == check}
    assert Status.OK in verdicts
    bad = {Status.INFO} if check in AT_WORST_INFO else {Status.WARN, Status.ERROR}
    assert verdicts & bad
    assert (Status.SKIP in verdicts) is (check not in ALWAYS_TELLS)


def test_a_healthy_server_on_this_machine_gets_no_warning() -> None:
    report = run_live_checks(subject_of(FakeSglang()), LIVE_CHECKS, {})
    statuses = {r.check.id: r.finding.status for r in report.results}
    told = {"SGE-LIVE-012", "SGE-LIVE-013", "SGE-LIVE-019"}
    asked_for = {"SGE-LIVE-022", "SGE-LIVE-023"}
    for check, status in statuses.items():
        expected = (
            Status.INFO if check in told else Status.SKIP if check in asked_for else Status.OK
        )
        assert status is expected, check


def test_no_finding_shows_the_key() -> None:
    tells = refusal(500, f"your key is {KEY}")
    server = FakeSglang(routes={"/server_info": tells, "/v1/embeddings": tells, "/health": tells})
    subject = subject_of(server, key=KEY, mask=Mask({KEY: "SGL_EMBED_API_KEY"}))
    report = run_live_checks(subject, LIVE_CHECKS, {})
    shown = " ".join(
        f"{r.finding.found} {r.finding.needed} {r.finding.fix}" for r in report.results
    )
    assert KEY not in shown
    assert "your key is ${SGL_EMBED_API_KEY}" in shown


DEEP = 200_000
HOSTILE = [
    b'{"error":' * DEEP,
    b'{"x":' + b"[" * DEEP,
    b'{"data":' + b"[" * DEEP,
    b'{"data":[{"index":0,"embedding":' + b"[" * DEEP,
    b'{"tokens":[99999999999999999999999]}',
    b'{"is_generation":false,"architectures":["\xff"]}',
    b"\xef\xbb\xbf{}",
    b"NaN",
    b"null",
    b"\x00" * 1000,
    b'{"message":{"a":1},"error":[1]}',
]


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("reachable", [True, False])
def test_no_answer_makes_a_check_crash(body: bytes, status: int, reachable: bool) -> None:
    answer = httpx.Response(status, content=body)
    paths = ["/model_info", "/server_info", "/v1/embeddings", "/v1/tokenize", "/v1/detokenize"]
    paths += ["/openapi.json", "/generate", "/health", "/hicache/storage-backend"]
    server = FakeSglang(
        routes=dict.fromkeys(paths if reachable else [*paths, "/v1/models"], answer)
    )
    report = run_live_checks(subject_of(server, is_intrusive=True), LIVE_CHECKS, {})
    assert report.count(Status.CRASH) == 0, [r.finding for r in report.results]
    assert report.failures
