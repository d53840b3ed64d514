"""Xids in the kernel's log."""

import os
import time
from pathlib import Path

import pytest

from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.machine.kernel_log import KERNEL_LOG, hardware_xids, parse_record, read_xids

# Texts of records that users have posted, in the form of /dev/kmsg.
FELL = "3,1201,5000000,-;NVRM: Xid (PCI:0000:2B:00): 79, GPU has fallen off the bus."
REMAPPED = "3,9,7000000,-;NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper: New row"
OLD = "4,2,269517039,-;NVRM: Xid (0000:01:00): 3, C 00000005 SC 00000007"


@pytest.mark.parametrize(
    ("record", "number", "bus"),
    [
        (FELL, 79, "0000:2b:00"),
        (REMAPPED, 63, "0000:10:1c"),
        (OLD, 3, "0000:01:00"),
        (FELL.replace(",-;", ";"), 79, "0000:2b:00"),
    ],
)
def test_a_report_has_its_number_and_its_gpu(record: str, number: int, bus: str) -> None:
    xid = parse_record(record)
    assert xid is not None
    assert (xid.number, xid.bus) == (number, bus)


@pytest.mark.parametrize(
    "record",
    [
        "",
        "6,1,0,-;Linux version 6.18",
        "3,1,x,-;NVRM: Xid (PCI:0000:2B:00): 79, GPU",
        "3,1;NVRM: Xid (PCI:0000:2B:00): 79, GPU",
        "3,1,0,-;user says: NVRM: Xid (PCI:0000:2B:00): 79",
        "3,1,0,-;NVRM: loading NVIDIA UNIX Open Kernel Module",
    ],
)
def test_anything_else_is_no_report(record: str) -> None:
    assert parse_record(record) is None


def test_its_age_is_counted_from_the_start_of_the_machine() -> None:
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    record = f"3,1,{int((now - 90) * 1e6)},-;NVRM: Xid (PCI:0000:2B:00): 79, GPU"
    xid = parse_record(record)
    assert xid is not None
    assert xid.seconds_ago == pytest.approx(90, abs=30)


def test_records_come_one_a_read(tmp_path: Path) -> None:
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    file = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(file, FELL.encode())
        found = read_xids(pipe)
    finally:
        os.close(file)
    assert found is not None
    assert [xid.number for xid in found] == [79]


def test_a_log_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    assert read_xids(tmp_path / "none") is None


def test_the_real_log_is_read_where_it_may_be() -> None:
    may = KERNEL_LOG.exists() and os.access(KERNEL_LOG, os.R_OK)
    found = RealMachine().xids()
    assert found is None or may


def test_those_that_speak_of_the_gpu_itself_have_a_meaning() -> None:
    assert "fallen off the bus" in hardware_xids()[79]
    assert not {13, 31, 43, 45} & set(hardware_xids())
