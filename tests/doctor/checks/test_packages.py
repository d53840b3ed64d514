"""Python and its packages: what the checks find."""

import dataclasses
from pathlib import Path

from sgl_embed_kit.doctor.engine import Status
from tests.doctor.checks.cases import SGLANG, Case, find
from tests.machines import FakeMachine

CASES: list[Case] = [
    ("SGE-PY-001", {}, Status.OK, "Python 3.12.1 on linux"),
    ("SGE-PKG-001", {}, Status.OK, "SGLang 0.5.23"),
    ("SGE-GRD-001", {}, Status.OK, "will load the guard"),
    ("SGE-PY-001", {"machine": FakeMachine(version=(3, 10, 9))}, Status.ERROR, "3.10.9"),
    ("SGE-PY-001", {"machine": FakeMachine(system="darwin arm64")}, Status.ERROR, "darwin"),
    ("SGE-PKG-001", {"installed": None}, Status.ERROR, "not installed"),
    (
        "SGE-PKG-001",
        {"installed": dataclasses.replace(SGLANG, version="0.5.22")},
        Status.ERROR,
        "0.5.22",
    ),
    (
        "SGE-PKG-001",
        {"sglang": {"version": ">=0.6"}},
        Status.ERROR,
        "SGLang 0.5.23",
    ),
    (
        "SGE-PKG-001",
        {"installed": dataclasses.replace(SGLANG, command=None)},
        Status.ERROR,
        "without its command",
    ),
    ("SGE-GRD-001", {"guard": {"enabled": False}}, Status.WARN, "switched off"),
    ("SGE-GRD-001", {"installed": None}, Status.SKIP, "not installed"),
    (
        "SGE-GRD-001",
        {"installed": dataclasses.replace(SGLANG, sees_guard=False)},
        Status.ERROR,
        "does not find the guard",
    ),
]


def test_a_newer_sglang_is_a_warning_that_says_what_was_compared(tmp_path: Path) -> None:
    (tmp_path / "srt").mkdir()
    (tmp_path / "srt" / "server_args.py").write_text(
        "class ServerArgs:\n"
        "    port: A[int, 'The port.'] = 30000\n"
        "    host: A[int, 'Was a text.'] = 1\n"
        "    brand_new: A[bool, 'x'] = False\n"
    )
    newer = dataclasses.replace(SGLANG, version="0.6.0", package=tmp_path)
    finding = find("SGE-PKG-001", installed=newer)
    assert finding.status is Status.WARN
    assert "newer than tested: against 0.5.23, 1 flags gained, 557 lost, 1 changed" in finding.found
