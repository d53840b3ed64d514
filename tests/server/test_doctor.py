"""`sgl-embed doctor --url` on real servers: with the guard all is well, without it is told."""

from __future__ import annotations

import httpx
import pytest

from sgl_embed_kit.doctor import Status, Subject
from sgl_embed_kit.doctor.live import LIVE_CHECKS, limits, run_live_checks
from sgl_embed_kit.doctor.live.target import live_subject
from sgl_embed_kit.doctor.report import ReportJson, ResultJson
from sgl_embed_kit.doctor.selection import only
from sgl_embed_kit.launch.events import Ready
from tests.conftest import Launched, run

pytestmark = pytest.mark.server

ONLY_TOLD = {"live-maintenance", "live-cors", "canary-nfc"}
"""Checks that end with `info` on a server for this machine alone, as it is meant."""


def asked(*arguments: str, **env: str) -> tuple[int, dict[str, ResultJson]]:
    done = run("doctor", *arguments, "--format", "json", **env)
    assert done.stderr == ""
    report = ReportJson.model_validate_json(done.stdout)
    assert report.versions.sglang in {"0.5.23", None}
    return done.returncode, {result.name: result for result in report.results}


def test_a_guarded_server_passes_every_check_and_survives_all_of_them(tiny_qwen: Ready) -> None:
    code, results = asked("tiny-cpu", "--url", tiny_qwen.url, "--intrusive")
    for name, result in results.items():
        fine = {Status.OK, Status.INFO} if name in ONLY_TOLD else {Status.OK}
        assert result.status in fine, result
    assert code == 0
    assert "last pooling" in results["live-pooling"].found
    assert results["live-guard"].found == f"the guard {tiny_qwen.guard} refuses to generate"
    assert "<|endoftext|>" in results["canary-end"].found
    assert "the KV pool holds 16384 tokens" in results["live-context"].found


def test_a_guarded_encoder_passes_too(minilm: Launched) -> None:
    code, results = asked(str(minilm.profile), "--url", minilm.url)
    assert code == 0
    assert {r.status for r in results.values()} <= {Status.OK, Status.INFO, Status.SKIP}
    assert results["live-pooling"].found == "mean pooling, by the guard"
    skipped = {name for name, r in results.items() if r.status is Status.SKIP}
    assert skipped == {"longest", "poison"}


def test_a_server_that_is_not_the_profiles_is_told(minilm: Launched) -> None:
    code, results = asked("tiny-cpu", "--url", minilm.url)
    assert code == 1
    wrong = {name for name, result in results.items() if result.status is Status.ERROR}
    assert wrong == {"live-name", "live-context", "canary"}


def test_without_the_guard_that_is_told_and_what_could_hurt_is_true(
    unguarded: tuple[Subject, Ready], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, ready = unguarded
    assert ready.guard is None
    assert httpx.get(f"{ready.url}/livez", timeout=30).status_code == 404
    harmless = {r.name: r for r in asked("--url", ready.url)[1].values()}
    assert harmless["live-guard"].status is Status.WARN
    assert harmless["live-context"].status is Status.ERROR
    assert "the KV pool holds 1024 tokens" in harmless["live-context"].found
    assert harmless["too-long"].status is Status.SKIP
    assert harmless["canary"].status is Status.OK

    monkeypatch.setattr(limits, "LONGEST_SECONDS", 5.0)
    monkeypatch.setattr(limits, "AFTERWARDS_SECONDS", 2.0)
    live = live_subject(ready.url, subject, is_intrusive=True)
    report = run_live_checks(live, only(LIVE_CHECKS, ["longest", "poison"]), {})
    longest, poison = (result.finding for result in report.results)
    assert longest.status is Status.ERROR
    assert "was not answered within 5 s" in longest.found
    assert poison.status is Status.ERROR
    assert "a request to generate gets no answer" in poison.found
