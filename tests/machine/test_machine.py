"""The real machine: what can be asked on any."""

import os
import resource
import shutil
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from sgl_embed_kit.machine import OpenFiles, RealMachine
from sgl_embed_kit.machine.cgroup import Group, own_group


def test_a_port_that_is_listened_on_is_in_use_and_its_holder_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        use = RealMachine().port_use("127.0.0.1", listening.getsockname()[1])
    assert use is not None
    assert use.pid == os.getpid()
    assert use.command


def test_a_free_port_is_free_and_left_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    machine = RealMachine()
    assert machine.port_use("127.0.0.1", port) is None
    assert machine.port_use("127.0.0.1", port) is None


def test_a_port_with_connections_in_time_wait_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = listening.accept()
        served.close()  # the listening side closes first, so that it keeps TIME_WAIT
        client.close()
    assert RealMachine().port_use("127.0.0.1", port) is None


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    use = RealMachine().port_use("192.0.2.1", 30000)
    assert use is not None
    assert use.pid is None


def test_disk_space_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    machine = RealMachine()
    assert machine.disk_free(tmp_path / "not" / "there") == pytest.approx(
        machine.disk_free(tmp_path), rel=0.1
    )


def test_what_it_is_and_has() -> None:
    machine = RealMachine()
    assert machine.platform().split()[0] == sys.platform
    assert machine.python() == sys.version_info[:3]
    assert 10**8 < machine.memory_available() < 10**14


def test_processors_and_shared_memory_are_this_machines() -> None:
    machine = RealMachine()
    assert 0 < machine.processors() <= (os.cpu_count() or 1)
    assert machine.shared_memory() == shutil.disk_usage("/dev/shm").total
    assert machine.processor_features()


def test_a_control_groups_limit_is_all_the_memory_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = Group(memory_limit=100_000_000, memory_free=40_000_000)
    monkeypatch.setattr("sgl_embed_kit.machine.machine.own_group", lambda: group)
    assert RealMachine().memory_total() == 100_000_000
    assert RealMachine().memory_available() == 40_000_000


def test_a_program_is_looked_for_on_the_path_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    machine = RealMachine()
    assert machine.program("tool", str(tmp_path)) is None
    (tmp_path / "tool").chmod(0o755)
    assert machine.program("tool", str(tmp_path)) == tmp_path / "tool"
    assert machine.program("tool", "/nowhere") is None


def test_the_limit_of_open_files_is_this_processs() -> None:
    limit = RealMachine().open_files()
    assert limit is not None
    assert (limit.soft, limit.hard) == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_no_limit_of_open_files_is_more_than_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (10, resource.RLIM_INFINITY))
    assert RealMachine().open_files() == OpenFiles(10, sys.maxsize)


def test_clock_environment_swap_and_control_group_are_this_processs() -> None:
    machine = RealMachine()
    assert machine.now() == pytest.approx(time.time(), abs=5)
    assert machine.environment()["PATH"] == os.environ["PATH"]
    assert machine.swap_free() == psutil.swap_memory().free
    assert machine.control_group().memory_limit == own_group().memory_limit


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_not_counted(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert RealMachine().gpus() == ()


@pytest.mark.gpu
def test_a_gpu_says_its_name_and_memory() -> None:
    (gpu, *_) = RealMachine().gpus()
    assert gpu.memory_free is not None
    assert gpu.memory_total is not None
    assert gpu.name.startswith(("NVIDIA", "Tesla"))
    assert 0 < gpu.memory_free <= gpu.memory_total


def test_checks_that_try_one_port_side_by_side_are_not_in_each_others_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    machine = RealMachine()
    with ThreadPoolExecutor(8) as pool:
        uses = list(pool.map(lambda _: machine.port_use("127.0.0.1", port), range(400)))
    assert uses == [None] * 400
