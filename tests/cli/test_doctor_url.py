"""`sgl-embed doctor --url`: options, forms and exit codes, and where the key goes."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from sgl_embed_kit.doctor.live import LIVE_CHECKS
from sgl_embed_kit.doctor.report import ReportJson
from tests.conftest import run
from tests.doctor.live.hostile import hostile, response, sends
from tests.machines import UNREACHABLE

KEY = "k3y.of-the_users"
ABROAD = "http://embeddings.invalid:30000"


def test_a_server_that_is_not_there_is_one_error_and_ends_with_1() -> None:
    done = run("doctor", "--url", UNREACHABLE)
    assert done.returncode == 1
    assert "  error  Reach     http://127.0.0.1:9 cannot be reached:" in done.stdout
    assert "Connection refused" in done.stdout
    assert f"1 error, {len(LIVE_CHECKS) - 1} skip\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stderr == ""


def test_json_and_junit_hold_every_live_check_and_nothing_else() -> None:
    done = run("doctor", "tiny-cpu", "--url", UNREACHABLE, "--format", "json")
    report = ReportJson.model_validate_json(done.stdout)
    assert [result.id for result in report.results] == [check.id for check in LIVE_CHECKS]
    assert (report.url, report.profile) == (UNREACHABLE, "tiny-cpu")
    assert report.versions.sglang is None
    suite = ET.fromstring(run("doctor", "--url", UNREACHABLE, "--format", "junit").stdout)
    assert len(suite) == len(LIVE_CHECKS)
    assert suite.get("failures") == "1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "127.0.0.1:30000"], "is not the address of a server"),
        (["--url", "ftp://host"], "is not the address of a server"),
        (["--url", f"http://user:{KEY}@host"], "The URL holds more than an address"),
        (["--intrusive"], "There is no server to ask"),
        (["--plain-http"], "There is no server to ask"),
        (["--api-key-env", "X"], "There is no server to ask"),
        (["--url", UNREACHABLE, "--log", "-"], "A log is looked at alone"),
        (["--url", UNREACHABLE, "--bundle", "x.tar.gz"], "A server is looked at alone"),
        (["--url", UNREACHABLE, "--only", "port"], "SGE-NET-001 cannot run here"),
        (["--only", "canary"], "SGE-LIVE-014 cannot run here"),
        (["--url", UNREACHABLE, "--only", "nosuch"], "There is no check 'nosuch'"),
    ],
)
def test_wrong_use_ends_with_2_and_a_sentence(arguments: list[str], said: str) -> None:
    done = run("doctor", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "cure: " in done.stderr
    assert done.stdout == ""
    assert KEY not in done.stderr


def test_a_key_does_not_travel_unencrypted_to_another_machine_unasked(tmp_path: Path) -> None:
    profile = tmp_path / "locked.yaml"
    profile.write_text("extends: tiny-cpu\nserver: {api_key_env: LOCK}\n")
    for arguments, env in [
        (["--url", ABROAD], {"SGL_EMBED_API_KEY": KEY}),
        (["--url", ABROAD, "--api-key-env", "MINE"], {"MINE": KEY}),
        ([str(profile), "--url", ABROAD], {"LOCK": KEY}),
    ]:
        done = run("doctor", *arguments, **env)
        assert done.returncode == 2
        assert "would travel to embeddings.invalid for all on the way to read" in done.stderr
        assert "--plain-http" in done.stderr
        allowed = run("doctor", *arguments, "--plain-http", "--only", "live-reach", **env)
        assert allowed.returncode == 1
        assert "cannot be reached" in " ".join(allowed.stdout.replace("SGE-LIVE-001", "").split())


def test_the_key_comes_from_where_it_is_said_to_be() -> None:
    with hostile(sends(response(b"{}", status="500 No"))) as server:
        url = f"http://127.0.0.1:{server.port}"
        run("doctor", "--url", url, "--only", "live-reach", SGL_EMBED_API_KEY="a.key")
        run("doctor", "--url", url, "--only", "live-reach", "--api-key-env", "B", B="b.key")
        # A profile that names no key gets none.
        run("doctor", "tiny-cpu", "--url", url, "--only", "live-reach", SGL_EMBED_API_KEY="a.key")
        keys = [part for head in server.heads for part in head.split() if part.endswith(b".key")]
        assert keys == [b"a.key", b"b.key"]
        assert len(server.heads) == 3


@pytest.mark.parametrize("value", ["", "two words"])
def test_a_key_that_is_none_is_told(value: str) -> None:
    done = run("doctor", "--url", UNREACHABLE, "--api-key-env", "LOCK", LOCK=value)
    assert done.returncode == 1
    assert "The variable LOCK holds" in done.stderr
    assert "two words" not in done.stderr


def test_a_redirect_is_told_and_not_followed() -> None:
    with hostile(sends(response(b"{}"))) as elsewhere:
        target = f"http://127.0.0.1:{elsewhere.port}"
        with hostile(sends(response(b"", f"Location: {target}", status="302 Found"))) as server:
            url = f"http://127.0.0.1:{server.port}"
            done = run("doctor", "--url", url, SGL_EMBED_API_KEY=KEY)
        assert (done.returncode, elsewhere.heads) == (1, [])
    assert f"cure      sgl-embed doctor --url {target}\n" in done.stdout


def test_an_ignored_live_check_is_told_and_fails_nothing(tmp_path: Path) -> None:
    profile = tmp_path / "known.yaml"
    reason = "doctor: {ignore: {SGE-LIVE-001: it is switched off at night}}\n"
    profile.write_text(f"extends: tiny-cpu\n{reason}")
    done = run("doctor", str(profile), "--url", UNREACHABLE)
    assert done.returncode == 0
    assert "ignored   it is switched off at night\n" in done.stdout


def test_a_hostile_answer_cannot_write_to_the_terminal() -> None:
    body = json.dumps({"message": "\x1b]0;owned\x07\x1b[2J"}).encode()
    with hostile(sends(response(body, status="500 No"))) as server:
        done = run("doctor", "--url", f"http://127.0.0.1:{server.port}")
    assert done.returncode == 1
    assert "owned" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
