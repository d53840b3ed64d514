"""`sgl-embed doctor` and `sgl-embed explain`: the options, the forms, the exit codes."""

import json
import re
import socket
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from sgl_embed_kit.doctor.catalogue import catalogue
from sgl_embed_kit.doctor.report import ReportJson
from tests.conftest import ROOT, run


def busy_profile(folder: Path, port: int, more: str = "") -> str:
    path = folder / "busy.yaml"
    path.write_text(f"extends: tiny-cpu\nserver: {{port: {port}}}\n{more}")
    return str(path)


def test_only_runs_the_checks_that_were_asked_for() -> None:
    done = run("doctor", "tiny-cpu", "--only", "disk,SGE-KEY-001")
    assert done.returncode == 0
    assert re.findall(r"^  ok +(\w+)", done.stdout, re.MULTILINE) == ["Disk", "Keys"]


def test_a_failed_check_ends_with_1_unless_it_is_ignored_with_a_word(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        profile = busy_profile(tmp_path, port)
        assert run("doctor", profile, "--only", "port").returncode == 1
        ignored = run("doctor", profile, "--only", "port", "--ignore", "SGE-NET-001")
        assert ignored.returncode == 0
        assert "\n  info   Port  " in ignored.stdout
        assert "\n         ignored   --ignore on the command line" in ignored.stdout
        reason = "doctor: {ignore: {SGE-NET-001: a proxy holds it}}\n"
        known = run("doctor", busy_profile(tmp_path, port, reason), "--only", "port")
        assert known.returncode == 0
        assert "ignored   a proxy holds it" in known.stdout


def test_a_warning_ends_with_1_only_if_asked(tmp_path: Path) -> None:
    profile = busy_profile(tmp_path, 45679, "guard: {enabled: false}\n")
    assert run("doctor", profile, "--only", "guard").returncode == 0
    assert run("doctor", profile, "--only", "guard", "--fail-on", "warn").returncode == 1


@pytest.mark.parametrize("option", ["--only", "--ignore"])
def test_an_unknown_check_is_wrong_use(option: str) -> None:
    done = run("doctor", "tiny-cpu", option, "SGE-NET-01")
    assert done.returncode == 2
    assert "cure: sgl-embed explain SGE-NET-001" in done.stderr


def test_an_unknown_check_in_a_profile_is_a_fault_of_the_profile(tmp_path: Path) -> None:
    done = run("doctor", busy_profile(tmp_path, 1, "doctor: {ignore: {SGE-NET-01: x}}\n"))
    assert done.returncode == 2
    assert "did you mean `SGE-NET-001`?" in " ".join(done.stderr.split())


def test_json_is_of_the_shipped_schema() -> None:
    done = run("doctor", "tiny-cpu", "--format", "json")
    report = ReportJson.model_validate_json(done.stdout)
    assert [result.id for result in report.results] == list(catalogue())
    schema = json.loads((ROOT / "sgl_embed_kit" / "doctor" / "report.schema.json").read_text())
    assert set(schema["required"]) == set(json.loads(done.stdout))


def test_junit_is_a_suite_of_all_checks() -> None:
    suite = ET.fromstring(run("doctor", "tiny-cpu", "--format", "junit").stdout)
    assert suite.tag == "testsuite"
    assert len(suite) == len(catalogue())


@pytest.mark.parametrize("name", catalogue())
def test_every_check_is_explained_in_80_columns(name: str) -> None:
    done = run("explain", name)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{name}  ")
    assert max(map(len, done.stdout.splitlines())) <= 80
    for label in ("looks for", "why", "cure"):
        assert f"\n  {label}" in done.stdout


LOG = """[2026-11-21 11:24:36] Load weight begin. avail mem=20.91 GB
[2026-11-21 11:24:38] Scheduler hit an exception: Traceback (most recent call last):
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
"""


def test_a_saved_log_is_explained_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text(LOG)
    done = run("doctor", "--log", str(tmp_path / "server.log"))
    assert done.returncode == 1
    assert "  symptom line 2\n" in done.stdout
    assert "  error   line 3  <- the first error\n" in done.stdout
    assert "cure: lower limits.mem_fraction_static" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_log_as_json_names_the_cause(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text(LOG)
    done = run("doctor", "--log", str(tmp_path / "server.log"), "--format", "json")
    data = json.loads(done.stdout)
    assert (data["schema"], data["cause"]) == ("sgl-embed.log/1", "cuda-out-of-memory")
    assert [problem["number"] for problem in data["problems"]] == [2, 3]


def test_a_log_that_tells_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("all is well\n")
    done = run("doctor", "--log", str(tmp_path / "server.log"))
    assert (done.returncode, done.stdout) == (
        0,
        "Nothing is known of any line in this log.\n",
    )


@pytest.mark.parametrize("name", ["gone.log", "."])
def test_a_log_that_cannot_be_read_is_wrong_use(tmp_path: Path, name: str) -> None:
    done = run("doctor", "--log", str(tmp_path / name))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
