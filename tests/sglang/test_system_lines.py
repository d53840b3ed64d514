"""Lines that the system and the hub's library bring into a log, from real failures."""

import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from sgl_embed_kit.sglang.problems import problem_of, problems
from tests.conftest import free_port


def rule_of(error: Exception) -> str | None:
    """Return the id of the rule that the last line of an error's traceback is of."""
    lines = f"{type(error).__name__}: {error}".splitlines()
    found = [problem for line in lines if (problem := problem_of(line, problems()))]
    return found[0].id if found else None


def failing(act: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        act()
    assert isinstance(caught.value, Exception)
    return caught.value


def test_a_full_disk() -> None:
    def write() -> None:
        with Path("/dev/full").open("w") as file:
            file.write("x")

    assert rule_of(failing(write)) == "no-space"


def test_more_files_than_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

        def open_all() -> None:
            while True:
                opened.append(Path("/dev/null").open())  # noqa: SIM115 - all at once

        error = failing(open_all)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in opened:
            file.close()
    assert rule_of(error) == "too-many-files"


def test_an_address_that_is_taken() -> None:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        assert rule_of(failing(lambda: second.bind(first.getsockname()))) == "address-in-use"


def test_an_address_of_another_machine() -> None:
    with socket.socket() as made:
        error = failing(lambda: made.bind(("192.0.2.1", free_port())))
    assert rule_of(error) == "address-not-here"


def test_a_family_of_addresses_that_is_not_there() -> None:
    no_such_family = 45
    error = failing(lambda: socket.socket(no_such_family))
    assert isinstance(error, OSError)
    assert error.errno == errno.EAFNOSUPPORT
    assert rule_of(error) == "address-family"


def test_a_name_that_nobody_knows() -> None:
    error = failing(lambda: socket.getaddrinfo("no.such.name.invalid", 443))
    # Which of the two depends on whether a name server can be asked at all.
    assert rule_of(error) in {"name-not-resolved", "name-server-fails"}


def test_a_file_that_another_user_made(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    file.write_text("x")
    file.chmod(0)
    code = f"import os; os.getuid() or os.setuid(65534); open({str(file)!r})"
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    problem = problem_of(done.stderr.splitlines()[-1], problems())
    assert problem is not None
    assert problem.id == "permission-denied"


@pytest.mark.parametrize(
    ("signal", "rule"),
    [
        ("SIGSEGV", "segmentation-fault"),
        ("SIGBUS", "bus-error"),
        ("SIGILL", "illegal-instruction"),
        ("SIGABRT", "aborted"),
    ],
)
def test_native_code_that_goes_wrong(signal: str, rule: str) -> None:
    code = f"import os, signal; os.kill(os.getpid(), signal.{signal})"
    argv = [sys.executable, "-X", "faulthandler", "-S", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    found = {p.id for line in done.stderr.splitlines() if (p := problem_of(line, problems()))}
    assert found == {rule}


@pytest.mark.server
def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    zmq = pytest.importorskip("zmq")
    with zmq.Context() as context, context.socket(zmq.PULL) as made:
        error = failing(lambda: made.bind(f"ipc://{tmp_path}/{'x' * 107}"))
    assert rule_of(error) == "path-too-long"


class Refusing(BaseHTTPRequestHandler):
    """A hub that answers each request with the status that its path begins with."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1].removeprefix("s")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


HUB = """
import os, sys
from huggingface_hub import HfApi
HfApi(endpoint=sys.argv[1]).model_info("a/b", token=False)
"""


@pytest.mark.server
@pytest.mark.parametrize(
    ("status", "rule"),
    [(401, "hub-unauthorized"), (403, "hub-forbidden"), (429, "hub-rate-limit")],
)
def test_a_hub_that_refuses(hub: str, status: int, rule: str, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    env = {name: text for name, text in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", HUB, f"{hub}/s{status}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**env, "HF_HOME": str(tmp_path)},
    )
    found = [p.id for line in done.stderr.splitlines() if (p := problem_of(line, problems()))]
    assert set(found) == {rule}, done.stderr
