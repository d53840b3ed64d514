"""The watchdog's looks at a server, with a small HTTP server in its place."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from sgl_embed_kit.launch.watchdog import Loads, Watchdog, interval, read_loads, stall_seconds
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.schema import WatchdogSection

LIMIT = 20.0


@dataclass
class Stand:
    """What the server in SGLang's place does, and what it was asked."""

    port: int = 0
    tokens: int = 100
    embeds: bool = True
    moves: bool = False
    canaries: int = 0
    keys: set[str | None] = field(default_factory=set)
    closed: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    stand: Stand

    def do_GET(self) -> None:
        self.stand.keys.add(self.headers["Authorization"])
        self.stand.tokens += self.stand.moves
        load = {
            "num_waiting_reqs": 0 if self.stand.embeds else 2,
            "total_prefill_uncached_tokens": self.stand.tokens,
        }
        self._answer({"loads": [load]})

    def do_POST(self) -> None:
        self.stand.keys.add(self.headers["Authorization"])
        self.stand.canaries += 1
        if not self.stand.embeds:
            self.stand.closed.wait(LIMIT)
        self._answer({"data": []})

    def _answer(self, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def stand() -> Iterator[Stand]:
    stand = Stand()
    handler = type("HandlerOfStand", (Handler,), {"stand": stand})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        stand.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield stand
        stand.closed.set()
        server.shutdown()
        thread.join()


def profile_of(stand: Stand) -> Profile:
    content = {
        "model": {"path": "m"},
        "hardware": {"device": "cpu"},
        "server": {"port": stand.port},
        "watchdog": {"quiet_seconds": 0.2, "stall_seconds": 0.6},
    }
    return Profile.model_validate(content)


def wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_server_that_answers_its_canaries_is_well(stand: Stand) -> None:
    with Watchdog(profile_of(stand), "a key", lambda: 0) as watchdog:
        wait_for(lambda: stand.canaries >= 4, "no canaries")
        assert not watchdog.is_ill
    assert stand.keys == {"Bearer a key"}


def test_a_server_that_takes_requests_and_answers_none_is_ill(stand: Stand) -> None:
    stand.embeds = False
    with Watchdog(profile_of(stand), None, lambda: 0) as watchdog:
        wait_for(lambda: watchdog.is_ill, "it was not noticed")
    assert stand.canaries == 1
    assert watchdog.stalled_seconds >= 0.6
    assert stand.keys == {None}


def test_a_server_whose_tokens_move_is_well_though_a_canary_waits(stand: Stand) -> None:
    stand.embeds, stand.moves = False, True
    with Watchdog(profile_of(stand), None, lambda: 0) as watchdog:
        time.sleep(1.5)
        assert not watchdog.is_ill
        stand.moves = False
        wait_for(lambda: watchdog.is_ill, "it was not noticed")


def test_a_server_whose_log_shows_batches_is_not_asked_anything(stand: Stand) -> None:
    batches = iter(range(1, 1_000_000))
    with Watchdog(profile_of(stand), None, lambda: next(batches)) as watchdog:
        time.sleep(1.0)
        assert not watchdog.is_ill
    assert stand.canaries == 0
    assert stand.keys == set()


def test_a_server_that_cannot_be_reached_is_ill(stand: Stand) -> None:
    profile = profile_of(stand).with_server(port=1)
    with Watchdog(profile, None, lambda: 0) as watchdog:
        wait_for(lambda: watchdog.is_ill, "it was not noticed")


def test_a_closed_watchdog_asks_nothing_any_more(stand: Stand) -> None:
    with Watchdog(profile_of(stand), None, lambda: 0):
        wait_for(lambda: stand.canaries >= 1, "no canaries")
    time.sleep(0.3)
    asked = stand.canaries
    time.sleep(0.6)
    assert stand.canaries == asked


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        "[]",
        '{"loads": 3}',
        '{"loads": [1]}',
        '{"loads": [{}]}',
        '{"loads": [{"num_waiting_reqs": "x"}]}',
    ],
)
def test_what_is_no_answer_leaves_the_last_tokens(body: str) -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, text=body))
    with httpx.Client(base_url="http://x", transport=transport) as http:
        assert read_loads(http, Loads((7,), 2)) == Loads((7,), None)


def test_loads_of_a_release_without_the_count_of_tokens_are_read() -> None:
    loads = {"loads": [{"num_waiting_reqs": 2}, {"num_waiting_reqs": 1}]}
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=loads))
    with httpx.Client(base_url="http://x", transport=transport) as http:
        assert read_loads(http, Loads()) == Loads((None, None), 3)


def test_the_time_to_stand_still_is_the_devices_unless_the_profile_says_it() -> None:
    assert stall_seconds(WatchdogSection(), "cuda") == 120
    assert stall_seconds(WatchdogSection(), "cpu") == 300
    assert stall_seconds(WatchdogSection(stall_seconds=7), "cpu") == 7


def test_looks_are_as_near_as_the_quiet_time_needs() -> None:
    assert interval(WatchdogSection()) == 5
    assert interval(WatchdogSection(quiet_seconds=3)) == 1.5
