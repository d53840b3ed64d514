"""Process 1 beside the program."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.launch.pid1 import WAYS_TO_BE_PROCESS_1, process_1

PROGRAM = """
import os, signal, subprocess, sys, time
from sgl_embed_kit.launch.init import leave_process_1
first = os.getpid()
leave_process_1()
assert os.getpid() != first
%s
"""
ORPHANS = """
def zombies():
    found = subprocess.run(["ps", "-o", "stat=", "--ppid", str(os.getppid())], capture_output=True)
    return found.stdout.decode().split().count("Z")
leave = "import os; os.fork() or os.execlp('true', 'true')"
for _ in range(5):
    subprocess.run([sys.executable, "-S", "-c", leave])
deadline = time.monotonic() + 10
while zombies() and time.monotonic() < deadline:
    time.sleep(0.05)
sys.exit(7 + zombies())
"""
SLEEPS = "print('up', flush=True); time.sleep(60)"
HANDLES = """
def said(number, _frame):
    print('got', number, flush=True)
    sys.exit(5)
signal.signal(signal.SIGUSR1, said)
signal.signal(signal.SIGTERM, said)
"""


def run(way: str, code: str) -> subprocess.Popen[str]:
    argv = [*process_1(way), sys.executable, "-c", PROGRAM % code]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def first_of(process: subprocess.Popen[str]) -> int:
    """Return process 1, by the id that it has out here."""
    if process.args[0] != "unshare":  # type: ignore[index]
        return process.pid
    return psutil.Process(process.pid).children()[0].pid


@pytest.mark.parametrize("way", WAYS_TO_BE_PROCESS_1)
def test_orphans_are_waited_for_and_the_status_is_the_programs(way: str) -> None:
    with run(way, ORPHANS) as process:
        assert process.wait(60) == 7


@pytest.mark.parametrize("way", WAYS_TO_BE_PROCESS_1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_the_program(way: str, number: signal.Signals) -> None:
    with run(way, HANDLES + SLEEPS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.kill(first_of(process), number)
        assert process.stdout.readline() == f"got {number:d}\n"
        assert process.wait(60) == 5


@pytest.mark.parametrize("way", WAYS_TO_BE_PROCESS_1)
def test_a_signal_that_the_program_does_not_handle_ends_it(way: str) -> None:
    with run(way, SLEEPS) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(first_of(process), signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


def test_another_process_goes_on_as_it_is() -> None:
    code = "from sgl_embed_kit.launch.init import leave_process_1 as leave; leave(); print('on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "on\n"
