"""Who can reach the server, and who can read its keys: what the checks find."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import File, RealMachine, Running
from sgl_embed_kit.profile import load_profile
from sgl_embed_kit.profile.loading import bundled_profiles
from tests.doctor.checks.cases import Case, find
from tests.machines import FakeMachine

OPEN = {"host": "0.0.0.0"}
KEYED = {"host": "0.0.0.0", "api_key_env": "KEY"}
BOTH = {"host": "0.0.0.0", "api_key_env": "KEY", "admin_api_key_env": "ADMIN"}
FROM_FILE = {"api_key_file": "/etc/keys/key"}
BARE = Running(7, ("/venv/bin/python", "/venv/bin/sglang", "serve", "--port", "1"))
SHOWN = Running(9, (*BARE.argv, "--api-key", "s3cr3t", "--admin-api-key=t0p"))

CASES: list[Case] = [
    ("SGE-SEC-001", {}, Status.OK, "127.0.0.1 can be reached from this machine alone"),
    ("SGE-SEC-001", {"server": KEYED}, Status.OK, "with a key"),
    ("SGE-SEC-001", {"server": OPEN}, Status.WARN, "asks for no key"),
    (
        "SGE-SEC-001",
        {"server": {"host": "::", "admin_api_key_env": "ADMIN"}},
        Status.WARN,
        "asks for no key",
    ),
    ("SGE-SEC-002", {}, Status.OK, "open to this machine alone"),
    ("SGE-SEC-002", {"server": BOTH}, Status.OK, "ask for the admin key"),
    ("SGE-SEC-002", {"server": KEYED}, Status.INFO, "whoever has the API key"),
    ("SGE-SEC-002", {"server": OPEN}, Status.WARN, "are open to all"),
    ("SGE-SEC-003", {}, Status.OK, "web pages open on this machine may ask"),
    ("SGE-SEC-003", {"server": KEYED}, Status.OK, "lack the key"),
    ("SGE-SEC-003", {"server": OPEN}, Status.WARN, "any web page may ask"),
    (
        "SGE-SEC-003",
        {"server": {"host": "10.0.0.1", "admin_api_key_env": "ADMIN"}},
        Status.WARN,
        "any web page may ask",
    ),
    ("SGE-SEC-004", {}, Status.OK, "servers that run: 0;"),
    ("SGE-SEC-004", {"machine": FakeMachine(processes=(BARE,))}, Status.OK, "servers that run: 1;"),
    ("SGE-SEC-004", {"machine": FakeMachine(processes=None)}, Status.SKIP, "does not show"),
    (
        "SGE-SEC-004",
        {"machine": FakeMachine(processes=(BARE, SHOWN))},
        Status.WARN,
        "the value of --api-key and --admin-api-key of process 9",
    ),
    ("SGE-SEC-005", {}, Status.OK, "no key comes from a file"),
    ("SGE-SEC-005", {"server": FROM_FILE}, Status.OK, "only you can read /etc/keys/key"),
    (
        "SGE-SEC-005",
        {"server": FROM_FILE, "machine": FakeMachine(missing=("/key",))},
        Status.SKIP,
        "cannot be looked at",
    ),
    (
        "SGE-SEC-005",
        {
            "server": FROM_FILE,
            "machine": FakeMachine(
                files={"/etc/keys/key": File(Path("/etc/keys/key"), mode=0o644)}
            ),
        },
        Status.WARN,
        "/etc/keys/key has the mode 644",
    ),
    (
        "SGE-SEC-005",
        {
            "server": FROM_FILE,
            "machine": FakeMachine(
                files={"/etc/keys/key": File(Path("/etc/keys/key"), folder_mode=0o777)}
            ),
        },
        Status.WARN,
        "/etc/keys has the mode 777: others may replace the key in it",
    ),
]


@pytest.mark.parametrize("name", bundled_profiles())
@pytest.mark.parametrize("check", [f"SGE-SEC-00{n}" for n in range(1, 6)])
def test_no_shipped_profile_is_warned_of(name: str, check: str) -> None:
    server = load_profile(name).server.model_dump()
    assert find(check, server=server).status is Status.OK


def test_the_key_itself_is_never_shown() -> None:
    finding = find("SGE-SEC-004", FakeMachine(processes=(SHOWN,)))
    assert "s3cr3t" not in repr(finding)
    assert "t0p" not in repr(finding)


@pytest.mark.parametrize(
    "argv",
    [
        ("grep", "-r", "x", "y", "sglang", "--api-key", "s3cr3t"),
        ("vim", "/src/sglang.py", "--api-key=x"),
        ("/venv/bin/python", "-m", "sglang.bench_serving", "--api-key", "x"),
    ],
)
def test_what_only_speaks_of_sglang_is_no_server(argv: tuple[str, ...]) -> None:
    machine = FakeMachine(processes=(Running(1, argv),))
    assert find("SGE-SEC-004", machine).found.startswith("servers that run: 0;")


def test_a_real_process_with_a_key_in_its_arguments_is_found() -> None:
    code = "print(flush=True); import time; time.sleep(60)"
    argv = [sys.executable, "-c", code, "sglang", "serve", "--api_key", "s3cr3t"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        machine = FakeMachine(processes=RealMachine().running("sglang"))
        process.kill()
    assert machine.processes is not None
    machine.processes = tuple(each for each in machine.processes if each.pid == process.pid)
    finding = find("SGE-SEC-004", machine)
    assert finding.status is Status.WARN
    assert f"--api_key of process {process.pid}" in finding.found
    assert "s3cr3t" not in repr(finding)


@pytest.mark.parametrize(
    ("mode", "folder_mode", "text"),
    [
        (0o600, 0o700, "only you"),
        (0o400, 0o755, "only you"),
        (0o640, 0o700, "mode 640"),
        (0o604, 0o700, "mode 604"),
        (0o660, 0o700, "mode 660"),
        (0o600, 0o770, "mode 770: others may replace"),
        (0o600, 0o707, "mode 707: others may replace"),
        (0o600, 0o1777, "only you"),
    ],
)
def test_real_files_with_keys(tmp_path: Path, mode: int, folder_mode: int, text: str) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "key").write_text("s3cr3t")
    (folder / "key").chmod(mode)
    folder.chmod(folder_mode)
    machine = FakeMachine()
    machine.file = RealMachine().file  # type: ignore[method-assign]
    finding = find("SGE-SEC-005", machine, server={"api_key_file": str(folder / "key")})
    assert text in finding.found
    if finding.status is Status.WARN:
        subprocess.run(finding.fix, shell=True, check=True)
        again = find("SGE-SEC-005", machine, server={"api_key_file": str(folder / "key")})
        assert again.status is Status.OK


def test_the_cure_for_a_key_in_the_home_folder_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "the key").write_text("s3cr3t")
    (tmp_path / "the key").chmod(0o644)
    machine = FakeMachine()
    machine.file = RealMachine().file  # type: ignore[method-assign]
    finding = find("SGE-SEC-005", machine, server={"api_key_file": "~/the key"})
    assert finding.status is Status.WARN
    subprocess.run(finding.fix, shell=True, check=True)
    assert (tmp_path / "the key").stat().st_mode & 0o777 == 0o600


def test_a_link_is_judged_by_the_file_behind_it(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("s3cr3t")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "key").symlink_to("open")
    machine = FakeMachine()
    machine.file = RealMachine().file  # type: ignore[method-assign]
    finding = find("SGE-SEC-005", machine, server={"api_key_file": str(tmp_path / "key")})
    assert finding.status is Status.WARN


def test_secrets_that_kubernetes_or_docker_mount_have_modes_of_their_own(tmp_path: Path) -> None:
    """The layout of Kubernetes' atomic writer: a link to a link to the newest version."""
    version = tmp_path / "..2026_11_21_10_00_00.123"
    version.mkdir()
    (version / "key").write_text("s3cr3t")
    (version / "key").chmod(0o644)
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / "key").symlink_to("..data/key")
    machine = FakeMachine()
    machine.file = RealMachine().file  # type: ignore[method-assign]
    named = {"api_key_file": str(tmp_path / "key")}
    assert find("SGE-SEC-005", machine, server=named).status is Status.OK
    docker = FakeMachine(files={"/run/secrets/key": File(Path("/run/secrets/key"), mode=0o444)})
    named = {"api_key_file": "/run/secrets/key"}
    assert find("SGE-SEC-005", docker, server=named).status is Status.OK


def test_both_files_are_looked_at() -> None:
    named = {"api_key_file": "/a", "admin_api_key_file": "/b"}
    machine = FakeMachine(files={"/b": File(Path("/b"), mode=0o666)})
    assert "/b has the mode 666" in find("SGE-SEC-005", machine, server=named).found


def test_another_users_environment_is_hidden_by_the_system() -> None:
    """What the check on arguments relies on: /proc/PID/environ is its owner's alone."""
    assert Path(f"/proc/{os.getpid()}/environ").stat().st_mode & 0o077 == 0
