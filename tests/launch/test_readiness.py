"""When a server counts as ready, with a stand-in on real sockets in its place."""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import ExitCode, KitError, NotReadyError
from sgl_embed_kit.launch import listener, readiness
from sgl_embed_kit.launch.address import url_of
from sgl_embed_kit.launch.events import Ready, nobody
from sgl_embed_kit.launch.listener import Listener
from sgl_embed_kit.launch.readiness import Readiness, TokenLimits, probe_tokens
from sgl_embed_kit.launch.server import running_server
from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.inspection import inspect_files
from sgl_embed_kit.profile import Profile
from tests.conftest import processes_with
from tests.launch.misbehaving import GUARD, Make, stand_in, subject_maker


@pytest.fixture
def make(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    made = subject_maker(stand_in(tmp_path), tiny_folder)
    states = (str(tmp_path / f"state-{n}") for n in count())

    def make(will: dict[str, Any] | None = None, **options: Any) -> Subject:
        # A folder for each: logs are named by the second.
        monkeypatch.setenv("SGL_EMBED_STATE", next(states))
        return made(will, **options)

    return make


def ready(subject: Subject) -> Ready:
    with running_server(subject) as server:
        return server.wait_until_ready(nobody)


def refused(subject: Subject) -> KitError:
    with running_server(subject) as server, pytest.raises(KitError) as caught:
        server.wait_until_ready(nobody)
    return caught.value


def log_of(subject: Subject) -> tuple[Ready, str]:
    with running_server(subject) as server:
        return server.wait_until_ready(nobody), server.process.end_of_log()


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers every request as a server of embeddings would, and says that it did."""

    asked: list[str]

    def do_POST(self) -> None:
        self.asked.append(self.path)
        body = json.dumps({"data": [{"index": 0, "embedding": [1.0] + [0.0] * 127}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def stranger(host: str, port: int) -> Iterator[list[str]]:
    """Serve on a port that another may have, too; yield the paths that were asked for."""
    asked: list[str] = []
    handler = type("Handler", (Stranger,), {"asked": asked, "protocol_version": "HTTP/1.1"})
    server = http.server.ThreadingHTTPServer((host, port), handler, bind_and_activate=False)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.server_bind()
    server.server_activate()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_ready_server_has_shown_all_that_is_said_of_it(make: Make, tiny_folder: Path) -> None:
    found = ready(make())
    assert (found.dimension, found.norm, found.guard) == (128, 1.0, GUARD)
    assert (found.longest, found.pool, found.probed) == (399, 512, 0)
    assert found.is_normalised
    assert found.fingerprint == inspect_files(local_files(tiny_folder)).fingerprint
    assert found.phases[0][0] == "Importing SGLang"


def test_a_server_may_listen_in_a_child(make: Make) -> None:
    assert ready(make({"child": True})).dimension == 128


def test_the_key_is_sent_where_it_is_needed_and_not_to_the_guard(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCK", "k3y.of-the_users")
    monkeypatch.setattr("sgl_embed_kit.launch.server.keys_file", _no_file)
    _, log = log_of(make(server={"api_key_env": "LOCK"}))
    assert "POST /v1/embeddings Bearer" in log
    assert "GET /livez None" in log


@contextmanager
def _no_file(_keys: object) -> Iterator[None]:
    yield None


def test_whoever_answers_before_this_server_listens_is_not_even_asked(make: Make) -> None:
    subject = make({"sleep": 60}, launch={"timeout_seconds": 1})
    with stranger("127.0.0.1", subject.profile.server.port) as asked:
        error = refused(subject)
    assert isinstance(error, NotReadyError)
    assert "Nothing listens on its port yet." in error.why
    assert asked == []


@pytest.mark.parametrize("ours", ["127.0.0.1", "0.0.0.0"])
def test_a_second_server_on_the_port_is_told(make: Make, ours: str) -> None:
    subject = make({"shares": True}, server={"host": ours})
    with stranger("127.0.0.1", subject.profile.server.port) as asked:
        error = refused(subject)
    assert "Two servers listen on port" in error.what
    assert error.why == f"Process {psutil.Process().pid} listens on 127.0.0.1, too."
    assert asked == []


def test_an_answer_over_a_strangers_connection_is_none(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It came between the look at who listens and the request: nobody saw it listen.
    monkeypatch.setattr(readiness, "strangers", lambda *_: [])
    subject = make({"shares": True}, server={"host": "0.0.0.0"}, launch={"timeout_seconds": 2})
    with stranger("127.0.0.1", subject.profile.server.port) as asked:
        error = refused(subject)
    assert "Another server than this one answers at its address." in error.why
    assert set(asked) == {"/v1/embeddings"}


def test_every_address_that_a_name_stands_for_has_to_be_ours(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "addresses_of", lambda _: ("127.0.0.2", "127.0.0.1"))
    subject = make({"host": "127.0.0.1"}, server={"host": "localhost"})
    with stranger("127.0.0.2", subject.profile.server.port) as asked:
        error = refused(subject)
    assert "listens on 127.0.0.2, too." in error.why
    assert asked == []


def test_a_stranger_whose_process_is_hidden_is_told_as_such(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "strangers", lambda *_: [Listener("127.0.0.1", None)])
    assert refused(make()).why == "Another user's process listens on 127.0.0.1, too."


def test_a_child_that_was_forked_since_is_no_stranger(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter([[Listener("127.0.0.1", 4711)]])
    monkeypatch.setattr(readiness, "strangers", lambda *_: next(seen, []))
    assert ready(make()).dimension == 128


def test_a_server_that_warms_up_is_asked_again(make: Make) -> None:
    assert ready(make({"busy": 2})).dimension == 128


def test_a_server_that_stays_busy_is_not_ready_and_the_reason_is_told(make: Make) -> None:
    error = refused(make({"busy": 10**6}, launch={"timeout_seconds": 1.5}))
    assert error.exit_code is ExitCode.NOT_READY
    assert "within 1.5 s (launch.timeout_seconds)" in error.what
    assert "its last phase was: Opening the port." in error.why
    assert "It says 503: warming up" in error.why


def test_a_server_that_is_not_ready_in_time_is_stopped_as_a_whole(make: Make) -> None:
    mark = "stopped-as-a-whole"
    subject = make({"busy": 10**6, "child": True}, launch={"timeout_seconds": 1})
    env = {**subject.profile.env, "MARK": mark}
    profile = subject.profile.model_copy(update={"env": env})
    subject = Subject.of(profile, subject.installed, subject.machine)
    with pytest.raises(NotReadyError), running_server(subject) as server:
        assert len(processes_with(mark)) >= 1
        server.wait_until_ready(nobody)
    assert processes_with(mark) == []


@pytest.mark.parametrize(
    ("will", "what", "why"),
    [
        ({"refuses": 400}, "The server is up and refuses to embed.", "400: no such model"),
        ({"vector": [3.0, 4.0]}, "length 5.0000, not 1", "something else made these"),
        ({"vector": [0.997] + [0.0] * 3}, "length 0.9970, not 1", "something else made these"),
        ({"vector": [0.0, 0.0]}, "length 0.0000, not 1", "something else made these"),
        ({"vector": [1e40, 0.0]}, "not finite", "float16 overflows"),
        ({"vector": "no numbers"}, "cannot be decoded", ""),
    ],
)
def test_a_server_whose_vectors_are_wrong_is_refused(
    make: Make, will: dict[str, Any], what: str, why: str
) -> None:
    error = refused(make(will))
    assert error.exit_code is ExitCode.FAILED
    assert what in error.what
    assert why in error.why
    assert error.cure


def test_a_norm_as_bfloat16_makes_it_is_right(make: Make) -> None:
    assert ready(make({"vector": [0.999, 0.0]})).dimension == 2


def test_the_profiles_dimension_is_held_to(make: Make, tiny_folder: Path) -> None:
    error = refused(make({"vector": [1.0, 0.0]}, embedding={"dimensions": 128}))
    assert error.what == "The server's vectors have 2 dimensions, not 128."


def test_vectors_of_another_length_are_told_where_nobody_promised_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Readiness, "_is_normalised", lambda _: False)
    found = ready(make({"vector": [3.0, 4.0]}))
    assert (found.norm, found.is_normalised) == (5.0, False)
    assert "have length 0.0000" in refused(make({"vector": [0.0, 0.0]})).what


@pytest.mark.parametrize(
    "will",
    [{"guard": False}, {"life": {"launch_id": "another"}}, {"life": {"launch_id": None}}],
)
def test_without_the_guards_proof_a_server_is_not_ready(make: Make, will: dict[str, Any]) -> None:
    error = refused(make(will))
    assert error.what.startswith("The server is up, and the guard is not active")
    assert "plugins from 0.5.12 on" in error.why
    assert re.fullmatch(r"grep -in plugin /\S+\.log", error.cure)


def test_why_the_guard_is_not_active_is_said_where_it_shows(make: Make) -> None:
    absent = refused(make({"guard": False}, installed={"sees_guard": False}))
    assert "no entry point sgl_embed_guard" in absent.why
    assert absent.cure == "pip install --force-reinstall --no-deps sgl-embed-kit"
    left_out = {**make({"guard": False}).profile.env, "SGLANG_PLUGINS": "other"}
    named = refused(make(env=left_out))
    assert named.why == "SGLANG_PLUGINS in the profile leaves sgl_embed_guard out."
    assert named.cure == "set env.SGLANG_PLUGINS: other,sgl_embed_guard in the profile"


def test_a_guard_of_another_version_is_told(make: Make) -> None:
    error = refused(make({"life": {"guard": "0.0.1"}}))
    assert error.what == f"The guard in the server is of version 0.0.1, this is {GUARD}."


def test_a_profile_without_the_guard_needs_no_proof(make: Make) -> None:
    assert ready(make({"guard": False}, guard={"enabled": False})).guard is None


@pytest.mark.parametrize(("wanted", "probed"), [(100, 100), (10**6, 399), (0, 0), ("auto", 0)])
def test_a_long_text_is_tried_too(make: Make, wanted: int | str, probed: int) -> None:
    found = ready(make(launch={"probe_tokens": wanted}))
    assert found.probed == pytest.approx(probed, abs=2)
    assert found.probed <= 399


def test_a_long_text_that_is_refused_stops_the_start(make: Make) -> None:
    error = refused(make({"long": {"status": 400}}, launch={"probe_tokens": 200}))
    assert error.what == "The server is up and refuses to embed."


def test_a_long_text_that_is_never_answered_is_not_ready(make: Make) -> None:
    options = {"timeout_seconds": 2, "probe_tokens": 200}
    error = refused(make({"long": {"sleep": 60}}, launch=options))
    assert isinstance(error, NotReadyError)
    assert re.match(r"A text of \d+ tokens did not get its vector", error.what)


def test_on_a_gpu_the_longest_text_is_tried() -> None:
    assert probe_tokens(Profile.model_validate({"model": {"path": "o/m"}}), 8184) == 8184


def test_the_longest_text_leaves_what_sglang_keeps_of_context_and_pool() -> None:
    assert TokenLimits(context=400, pool=16384).longest == 399
    assert TokenLimits(context=2048, pool=1024).longest == 1016
    assert TokenLimits(context=2048, pool=1024, page=16).longest == 1001
    assert TokenLimits(context=2048, pool=4).longest == 0


def test_what_systemd_tells_the_launcher_the_server_does_not_hear(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"):
        monkeypatch.setenv(name, "1")
    with running_server(make()) as server:
        first = psutil.Process(server.wait_until_ready(nobody).pid).environ()
    with running_server(make()) as server:
        second = psutil.Process(server.wait_until_ready(nobody).pid).environ()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"} & set(first)
    ids = {env["SGL_EMBED_LAUNCH_ID"] for env in (first, second)}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:30000"),
        ("::", "http://[::1]:30000"),
        ("localhost", "http://localhost:30000"),
    ],
)
def test_the_address_is_one_that_can_be_asked(host: str, url: str) -> None:
    content = {"model": {"path": "o/m"}, "server": {"host": host}}
    assert url_of(Profile.model_validate(content)) == url
