"""`sgl-embed doctor` and `sgl-embed explain`: the options, the forms, the exit codes."""

import errno
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import pytest

from sgl_embed_kit.cli.main import main
from sgl_embed_kit.doctor.catalogue import catalogue
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.log_report import LogJson
from sgl_embed_kit.doctor.report import ReportJson
from sgl_embed_kit.machine.servers import registered
from tests.conftest import ROOT, run, run_process, sgl_embed
from tests.golden import assert_golden
from tests.machine.stubs import CUDA, NVML, compiled
from tests.machines import UNREACHABLE
from tests.memory import PEAK
from tests.servers import own_id, record_of

Capture: TypeAlias = pytest.CaptureFixture[str]


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
    assert [result.id for result in report.results] == [check.id for check in CHECKS]
    schema = json.loads((ROOT / "sgl_embed_kit" / "doctor" / "report.schema.json").read_text())
    assert set(schema["required"]) == set(json.loads(done.stdout))


def test_junit_is_a_suite_of_all_checks() -> None:
    suite = ET.fromstring(run("doctor", "tiny-cpu", "--format", "junit").stdout)
    assert suite.tag == "testsuite"
    assert len(suite) == len(CHECKS)


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
    prose = [line for line in done.stdout.splitlines() if "cure: " not in line]
    assert max(map(len, prose)) <= 80
    assert_golden(Path(__file__).parent / "golden" / "log.txt", done.stdout)


def test_a_log_as_json_names_the_cause(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text(LOG)
    done = run("doctor", "--log", str(tmp_path / "server.log"), "--format", "json")
    data = json.loads(done.stdout)
    assert (data["schema"], data["cause"]) == ("sgl-embed.log/1", "oom-loading")
    assert [problem["number"] for problem in data["problems"]] == [2, 3]
    LogJson.model_validate_json(done.stdout)
    assert_golden(Path(__file__).parent / "golden" / "log.json", done.stdout)


def test_a_death_that_no_rule_knows_shows_the_end_of_its_traceback(tmp_path: Path) -> None:
    log = ROOT / "tests" / "sglang" / "logs" / "deaths" / "unknown.log"
    done = run("doctor", "--log", str(log))
    assert done.returncode == 1
    assert done.stdout.count("<- the first error") == 1
    assert "> AssertionError: Fp8LinearMethod on CPU requires" in done.stdout
    data = json.loads(run("doctor", "--log", str(log), "--format", "json").stdout)
    assert data["cause"] is None
    assert data["unknown"]["line"].startswith("AssertionError: Fp8LinearMethod")


def test_a_log_that_tells_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("all is well\n")
    done = run("doctor", "--log", str(tmp_path / "server.log"))
    assert (done.returncode, done.stdout) == (
        0,
        "Nothing is known of any line in this log.\n",
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gone.log", "No such file or directory"),
        (".", "Is a directory"),
        ("/proc/self/mem", "Input/output error"),  # opens, also for root, and cannot be read
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_that_cannot_be_read_is_wrong_use(
    tmp_path: Path, name: str, why: str, form: str
) -> None:
    done = run("doctor", "--log", str(tmp_path / name), "--format", form)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert "Traceback" not in done.stderr


KILLED = b"torch.OutOfMemoryError: CUDA out of memory.\n"


@pytest.mark.parametrize(
    ("log", "status"),
    [
        (b"", 0),
        (b"\0" * 10_000, 0),
        (b"\n" * 10_000, 0),
        (b"\xff\xfe\xed\xa0\x80 not UTF-8 \x1b]0;title\x07\n", 0),
        (b"\0" * 10_000 + b"\n" + KILLED, 1),
        (b"\xff\xfe " + KILLED, 1),
        (b"\x1b[31m\x9b2J" + KILLED, 1),
        (KILLED.strip(), 1),
        (KILLED.replace(b"\n", b"\r\n"), 1),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_may_hold_anything(tmp_path: Path, log: bytes, status: int, form: str) -> None:
    (tmp_path / "server.log").write_bytes(log)
    done = run("doctor", "--log", str(tmp_path / "server.log"), "--format", form)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.replace("\n", "").isprintable()
    assert ("cure" in done.stdout.replace("cause", "")) is (status == 1)


def test_a_log_may_come_through_a_pipe_with_a_name_or_without(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name in (str(pipe), "-"):
        with subprocess.Popen(
            sgl_embed("doctor", "--log", name), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            if name == "-":
                printed, _ = process.communicate(KILLED, timeout=60)
            else:
                pipe.write_bytes(KILLED)
                printed, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert b"<- the first error" in printed


ENDLESS = "all at once and without an end "
LINES = "[2026-11-21 11:24:36] Prefill batch, #new-token: 812\n"


@pytest.mark.parametrize("noise", [ENDLESS, LINES, "RuntimeError: CUDA error: ", "\0"])
def test_a_large_log_takes_no_more_memory_than_a_small_one(noise: str) -> None:
    code = f"""
import io
from sgl_embed_kit.sglang.diagnosis import diagnose

class Log(io.RawIOBase):
    def __init__(self, megabytes):
        self.left = megabytes
    def read(self, size):
        self.left -= 1
        return NOISE if self.left > 0 else END if self.left == 0 else b""

NOISE = ({noise!r} * (1 << 20)).encode()[: 1 << 20]
END = b"\\n" + {KILLED!r}
assert [d.problem.id for d in diagnose(Log(2))][-1:] == ["oom-starting"]
before = peak()
found = diagnose(Log(40))
assert [d.problem.id for d in found][-1:] == ["oom-starting"]
assert max(len(d.line) for d in found) < 10_000
print(peak() - before)
"""
    argv = [sys.executable, "-c", PEAK + code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4_000_000


def test_a_line_of_a_log_is_shown_in_part(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_bytes(b"x" * 5_000_000 + KILLED.strip() + b"y" * 5_000_000)
    done = run("doctor", "--log", str(tmp_path / "server.log"))
    assert done.returncode == 1
    assert len(done.stdout) < 1000


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        ("gone.yaml", "No such file is here"),
        (".", "Is a directory"),
        ("/proc/self/mem", "Input/output error"),
        ("locked.yaml", "Permission denied"),
    ],
)
def test_a_profile_that_cannot_be_read_is_wrong_use(
    tmp_path: Path, profile: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "locked.yaml").write_text("extends: tiny-cpu\n")
    opened = Path.open

    def locked(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "locked.yaml":  # root, whom no mode stops, may run the tests
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", locked)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(tmp_path / profile)])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert why in said.err
    assert "  cure: " in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("option", ["--only", "--ignore"])
@pytest.mark.parametrize("names", [",", " ", ""])
def test_an_option_that_names_no_check_is_wrong_use(option: str, names: str) -> None:
    done = run("doctor", "tiny-cpu", option, names)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {option} names no check." in done.stderr


def test_json_names_the_profile_by_its_file_and_without_one_the_one_looked_at(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: tiny-cpu\n")
    for arguments, name in (([str(file)], "mine"), (["tiny-cpu"], "tiny-cpu"), ([], "minilm-cpu")):
        done = run("doctor", *arguments, "--format", "json", "--only", "python")
        assert json.loads(done.stdout)["profile"] == name


def test_on_a_machine_with_a_gpu_the_driver_is_really_asked_and_tried(tmp_path: Path) -> None:
    library = compiled(tmp_path, libnvidia_ml=NVML, libcuda=CUDA)
    free = 21_500 * 2**20
    done = run_process(  # for the dynamic linker
        "doctor",
        "06b-a10",
        "--only",
        "engine,driver,context,clocks,gpu-memory,fragmentation",
        LD_LIBRARY_PATH=str(library),
        FAKE_FREE=str(free),
        FAKE_LARGEST=str(free // 2),
        CUDA_VISIBLE_DEVICES="0",
    )
    shown = " ".join(done.stdout.split())
    assert "ok Engine GPU: NVIDIA A10" in shown
    assert "ok Context a CUDA context and memory to write to on GPU 0" in shown
    assert "warn Clocks NVIDIA A10 is slowed down now: power brake" in shown
    assert "21.48 GiB of 22.49 GiB are free" in shown
    assert "pid 1 (" in shown
    assert "holds 0.50 GiB" in shown
    assert "fragmentation 1 - 0.51 = 0.49. A CUDA context takes 0.49 GiB" in shown
    assert "limits: {mem_fraction_static: 0.27} # in the profile" in shown
    prose = [line for line in done.stdout.splitlines() if "cure: " not in line]
    assert max(map(len, prose)) <= 80


def test_a_bundle_is_written_beside_the_report_and_says_what_was_taken_out(
    tmp_path: Path,
) -> None:
    target = tmp_path / "report.tar.gz"
    command = ("doctor", "tiny-cpu", "--only", "disk", "--format", "json", "--bundle", str(target))
    secret = "hunter2-hunter2"
    state = str(tmp_path / "state")  # where no server has left a log
    done = run(
        *command, MY_PASSWORD=secret, USER="zq-alice", HOSTNAME=secret, SGL_EMBED_STATE=state
    )
    assert done.returncode == 0
    ReportJson.model_validate_json(done.stdout)
    assert "7 files. Taken out: " in " ".join(done.stderr.split())
    assert max(map(len, done.stderr.splitlines())) <= max(80, len(str(target)))
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        assert "sgl-embed-report/removed.txt" in tar.getnames()
    assert secret.encode() not in gzip.decompress(target.read_bytes())
    again = run(*command)
    assert again.returncode == 2
    assert again.stdout == ""
    assert "is there already" in again.stderr


def test_a_bundle_in_a_folder_that_is_not_there_is_refused_before_any_check(
    tmp_path: Path,
) -> None:
    done = run("doctor", "tiny-cpu", "--bundle", str(tmp_path / "gone" / "b.tar.gz"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"cure: mkdir -p {tmp_path / 'gone'}" in done.stderr


@pytest.mark.parametrize(
    "others",
    [
        ["tiny-cpu"],
        ["--only", "port"],
        ["--ignore", "port"],
        ["--url", UNREACHABLE],
        ["--bundle", "b.tar.gz"],
        ["tiny-cpu", "--set", "server.port=1"],
        ["--intrusive"],
        ["--api-key-env", "NAME"],
        ["--plain-http"],
    ],
    ids=" ".join,
)
def test_nothing_that_is_asked_for_besides_a_log_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "server.log").write_text(LOG)
    done = run("doctor", "--log", "server.log", *others)
    assert (done.returncode, done.stdout) == (2, "")
    assert "A log is looked at alone" in done.stderr
    named = [word if word.startswith("--") else "PROFILE" for word in others[:1]]
    assert f"--log: {named[0]}" in " ".join(done.stderr.split())
    assert "cure: sgl-embed doctor --log FILE" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["server.log"]


def test_a_value_is_set_in_no_profile_but_a_named_one() -> None:
    done = run("doctor", "--set", "server.port=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is no profile to set a value of" in done.stderr


def test_a_server_of_the_same_profile_is_told_of_and_stops_only_a_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        record = record_of(server=own_id(), name="tiny-qwen3-embedding", port=port)
        profile = busy_profile(tmp_path, port)
        with registered(record):
            looked = run("doctor", profile, "--only", "port")
            launched = run("launch", profile)
            quick = run("quickstart", "--model", "tiny:", "--port", str(port))
    assert [done.returncode for done in (looked, launched, quick)] == [0, 1, 1]
    assert "  info   Port " in looked.stdout
    for done in (launched, quick):
        what = f"error: p runs already at http://127.0.0.1:{port} (pid {os.getpid()}).\n"
        assert done.stderr.endswith(f"  cure: sgl-embed stop {port}\n")
        assert what in done.stderr
        assert "`sgl-embed status` tells more" in " ".join(done.stderr.split())
        assert done.stdout == ""


def test_a_second_launch_is_refused_while_the_first_has_not_opened_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))
    profile = busy_profile(tmp_path, 45678)
    with registered(record_of(port=45678, phase="Loading weights")):
        launched = run("launch", profile, "--set", "model.served_name=other")
        looked = run("launch", profile, "--dry-run")
    assert (launched.returncode, looked.returncode) == (1, 0)
    assert "its state is: Loading weights" in " ".join(launched.stderr.split())
