"""Is the hub in reach? Against real sockets on this machine."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from sgl_embed_kit.model import hub as module
from sgl_embed_kit.model.hub import Hub, check_reach, configured_hub


class Answers(http.server.BaseHTTPRequestHandler):
    """Knows one repository."""

    def do_HEAD(self) -> None:
        known = self.path == "/org/model/resolve/main/config.json"
        self.send_response(200 if known else 404)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_a_hub_that_answers_is_in_reach(server: str) -> None:
    assert check_reach("org/model", Hub("mirror", server)).ok


def test_a_hub_without_the_repository_is_of_no_use(server: str) -> None:
    reach = check_reach("org/other", Hub("mirror", server))
    assert reach.why_not == f"{server} answered 404 for org/other"


def test_a_refused_connection_is_said_at_once(server: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert "cannot be reached" in check_reach("org/model", Hub("mirror", url)).why_not


def test_a_hub_that_never_answers_is_left_after_the_limit() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        reach = check_reach("org/model", Hub("mirror", url), time_limit=0.3)
    assert not reach.ok
    assert time.monotonic() - begun < 5  # a hang, not a benchmark


def test_a_name_that_is_resolved_slowly_is_left_after_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def slow(*_args: object, **_kwargs: object) -> None:
        over.wait(20)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    begun = time.monotonic()
    reach = check_reach("org/model", Hub("mirror", "http://slow.example"), time_limit=0.3)
    over.set()
    assert reach.why_not == "http://slow.example did not answer within 0.3 s"
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("url", ["not a url", "http://", "http://[::1", "ftp://x"])
def test_an_endpoint_that_is_no_address_is_an_answer_not_a_crash(url: str) -> None:
    assert not check_reach("org/model", Hub("mirror", url)).ok


def test_offline_mode_asks_nobody(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert check_reach("org/model", Hub("mirror", server)).why_not == "HF_HUB_OFFLINE is set"


@pytest.mark.parametrize(
    ("env", "name", "url"),
    [
        ({}, "Hugging Face", "https://huggingface.co"),
        ({"HF_ENDPOINT": "https://m.example/"}, "the mirror in HF_ENDPOINT", "https://m.example"),
        ({"HF_ENDPOINT": ""}, "Hugging Face", "https://huggingface.co"),
        ({"SGLANG_USE_MODELSCOPE": "true"}, "ModelScope", "https://www.modelscope.cn"),
        (
            {"SGLANG_USE_MODELSCOPE": "1", "MODELSCOPE_DOMAIN": "ms.example"},
            "ModelScope",
            "https://ms.example",
        ),
        ({"SGLANG_USE_MODELSCOPE": "0"}, "Hugging Face", "https://huggingface.co"),
    ],
)
def test_mirrors_are_honoured(env: dict[str, str], name: str, url: str) -> None:
    assert configured_hub(env) == Hub(name, url)


def test_modelscope_is_asked_in_its_own_way() -> None:
    assert module._page("org/model", Hub("ModelScope", "https://x"), None) == "models/org/model"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://m.example", True),
        ("http://127.0.0.1:1", True),
        ("http://localhost:1", True),
        ("http://m.example", False),
        ("http://127.0.0.1.m.example", False),
    ],
)
def test_the_token_travels_only_where_nobody_reads_along(url: str, sent: bool) -> None:
    env = {"HF_TOKEN": "hf_secret"}
    assert module._credentials(Hub("mirror", url), env) == (
        {"Authorization": "Bearer hf_secret"} if sent else {}
    )
    assert module._credentials(Hub("ModelScope", url), env) == {}


def test_modelscopes_own_variable_comes_before_the_old_one() -> None:
    env = {"SGLANG_USE_MODELSCOPE": "1", "MODELSCOPE_ENDPOINT": "http://ms.example/"}
    assert configured_hub({**env, "MODELSCOPE_DOMAIN": "x"}).url == "http://ms.example"
