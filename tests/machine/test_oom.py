"""Whether the kernel ended processes for want of memory: its counters and its log together."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sgl_embed_kit.machine.cgroup import ROOT, Group, own_group
from sgl_embed_kit.machine.kernel_log import OomKill, parse_oom_kill, read_oom_kills
from sgl_embed_kit.machine.oom import OomEvent, judge_oom, oom_event
from sgl_embed_kit.sglang.death import explain_death

GIB = 2**30
# Records of a real kernel (6.18, version 1), and one of a whole machine without memory.
GROUP = (
    "3,912,33168921461,-;Memory cgroup out of memory: Killed process 5034 (python) "
    "total-vm:145068kB, anon-rss:69888kB, file-rss:6092kB, shmem-rss:0kB, UID:0"
)
WHOLE = "3,9,7000000,-;Out of memory: Killed process 1896 (sglang::schedul) total-vm:99kB"


@pytest.mark.parametrize(("record", "pid"), [(GROUP, 5034), (WHOLE, 1896)])
def test_a_record_of_an_end_names_its_process(record: str, pid: int) -> None:
    kill = parse_oom_kill(record)
    assert kill is not None
    assert kill.pid == pid
    assert kill.line == record.partition(";")[2]
    assert parse_oom_kill(f"{record}\n SUBSYSTEM=memory\n") is not None


@pytest.mark.parametrize(
    "record",
    [
        "",
        "3,912;Memory cgroup out of memory: Killed process 5034 (python)",
        "3,912,1,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=python,pid=5034,uid=0",
        "3,912,1,-;Killed process 5034 (python)",
        "3,1,1,-;NVRM: Xid (PCI:0000:2B:00): 79, GPU has fallen off the bus.",
    ],
)
def test_any_other_record_is_none(record: str) -> None:
    assert parse_oom_kill(record) is None


def test_its_age_is_counted_from_the_start_of_the_machine() -> None:
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    kill = parse_oom_kill(GROUP.replace("33168921461", str(int((now - 90) * 1e6))))
    assert kill is not None
    assert kill.seconds_ago == pytest.approx(90, abs=30)


def test_a_log_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    assert read_oom_kills(tmp_path / "kmsg") is None


OURS, OTHERS = OomKill(7, "ours", 10), OomKill(8, "others", 10)


@pytest.mark.parametrize(
    ("before", "now", "kills", "event"),
    [
        (Group(), Group(), (), None),
        (Group(killed=3), Group(killed=3), (), None),
        (Group(killed=3), Group(killed=3), (OTHERS,), None),
        (Group(killed=3), Group(), (), None),
        (Group(killed=3), Group(GIB, killed=5), (), OomEvent(2, GIB)),
        (Group(killed=3), Group(GIB, killed=4), (OTHERS,), OomEvent(1, GIB)),
        (Group(killed=3), Group(GIB, killed=4), (OURS, OTHERS), OomEvent(1, GIB, "ours")),
        (Group(), Group(), (OURS,), OomEvent(1, None, "ours")),
        (Group(), Group(), (OomKill(7, "of an older process", 61),), None),
        (Group(), Group(), (OomKill(7, "first", 60), OURS), OomEvent(2, None, "ours")),
    ],
)
def test_a_counter_that_rose_or_a_line_about_the_server_is_evidence(
    before: Group, now: Group, kills: tuple[OomKill, ...], event: OomEvent | None
) -> None:
    assert judge_oom(before, now, {6, 7}, 60, kills) == event


def test_a_real_kill_is_told_from_a_crash(tmp_path: Path) -> None:
    folder = ROOT / "memory" / f"sgl-embed-test-oom-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        return  # version 2, or no right to; the records above stand for it
    try:
        (folder / "memory.limit_in_bytes").write_text(str(2**26))
        membership = tmp_path / "membership"
        membership.write_text(f"5:memory:/{folder.name}\n")
        before, began = own_group(ROOT, membership), time.monotonic()
        code = (
            "import os; from pathlib import Path\n"
            f"Path({str(folder)!r}, 'cgroup.procs').write_text(str(os.getpid()))\n"
            "b'x' * 2**27"
        )
        with subprocess.Popen([sys.executable, "-c", code]) as process:
            status = process.wait(60)
        seconds = time.monotonic() - began + 1
        event = oom_event(before, own_group(ROOT, membership), {process.pid}, seconds)
    finally:
        folder.rmdir()
    assert event is not None
    assert (event.killed, event.limit) == (1, 2**26)
    assert event.line == "" or f"Killed process {process.pid} " in event.line
    log = io.BytesIO(b"[2026-11-21 11:24:36] Load weight begin. avail mem=20.91 GB\n")
    death = explain_death(log, status, was_ready=False, killed=event)
    assert death.what.startswith("The system ended the server for want of memory")
    assert "may hold 0.06 GiB" in death.why
    assert "outside" in explain_death(log, status, was_ready=False, killed=None).what
