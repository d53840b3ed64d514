"""The bundle: what is in it, what is not, and how it is written."""

import gzip
import io
import json
import os
import socket
import stat
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.bundle import (
    LONGEST_LOG,
    TOP,
    Bundle,
    archive,
    make_bundle,
    write_bundle,
)
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.doctor.report import as_json, as_junit, as_text
from sgl_embed_kit.errors import KitError, UsageError
from sgl_embed_kit.folders import last_log, log_folder
from sgl_embed_kit.machine import GpuProcess, PortUse
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.profile import read_profile
from sgl_embed_kit.profile.loading import Loaded
from sgl_embed_kit.sglang.installed import Installed
from tests.doctor.checks.cases import SGLANG
from tests.machines import FakeMachine, healthy_gpu

NAMES = ["command.txt", "machine.json", "packages.txt", "profile.yaml", "removed.txt"]
NAMES += ["report.json", "report.txt", "server.log"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, and a profile."""
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))
    log_folder().mkdir(parents=True)
    (tmp_path / "p.yaml").write_text(
        "extends: tiny-cpu\nmodel: {served_name: mine}\n"
        "server: {api_key_env: OUR_SERVERS, host: '${OUR_HOST:-127.0.0.1}'}\n"
    )
    return tmp_path


def bundle_of(
    folder: Path, machine: FakeMachine | None = None, installed: Installed | None = None
) -> Bundle:
    loaded: Loaded = read_profile(str(folder / "p.yaml"))
    source = locate(loaded.profile.model.path)
    subject = Subject(loaded.profile, source, installed, machine or FakeMachine(), mask=loaded.mask)
    return make_bundle(run_checks(subject, CHECKS), subject, loaded.shown, "p")


def write_log(name: str, text: str | bytes, age: float = 0) -> None:
    file = log_folder() / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(file, (1_700_000_000 - age, 1_700_000_000 - age))


def test_it_holds_the_report_and_what_it_rests_on(here: Path) -> None:
    write_log("mine-20261121-120000-1.log", "line of the log\n")
    files = bundle_of(here).files
    assert sorted(files) == NAMES
    assert len(json.loads(files["report.json"])["results"]) == len(CHECKS)
    assert "  ok     Port " in files["report.txt"]
    assert yaml.safe_load(files["profile.yaml"])["model"]["served_name"] == "mine"
    assert "--served-model-name mine" in files["command.txt"]
    assert f"\npytest=={pytest.__version__}\n" in files["packages.txt"]
    assert json.loads(files["machine.json"])["processors"] == 8
    assert files["server.log"] == "line of the log\n"


def test_of_several_logs_it_takes_the_servers_newest(here: Path) -> None:
    write_log("mine-20261121-120000-1.log", "old", age=9)
    write_log("mine-20261121-120000-2.log", "new", age=5)
    write_log("mine-2-20261121-120000-3.log", "another's")
    newest = last_log("mine")
    assert newest is not None
    assert newest.name == "mine-20261121-120000-2.log"
    assert last_log("nobody") is None


def test_without_a_log_there_is_none_in_it(here: Path) -> None:
    assert "server.log" not in bundle_of(here).files


def test_of_a_long_log_it_takes_whole_lines_of_the_end(here: Path) -> None:
    write_log(
        "mine-20261121-120000-1.log",
        b"x" * 99 + b"\n" + b"0123456 \xff\x00\n" * (LONGEST_LOG // 11),
    )
    log = bundle_of(here).files["server.log"]
    assert len(log.encode()) < 2 * LONGEST_LOG
    assert set(log.splitlines()) == {"0123456 \ufffd\x00"}


def test_a_log_that_just_fits_is_whole(here: Path) -> None:
    text = "first\n" + "x" * (LONGEST_LOG - 12) + "\nlast\n"
    write_log("mine-20261121-120000-1.log", text)
    assert bundle_of(here).files["server.log"] == text


def test_what_was_taken_out_is_told_in_words() -> None:
    assert Bundle({}, {"key": 2, "address": 1}).summary == "1 x address, 2 x key"
    assert Bundle({}, {}).summary == "nothing"


def test_whose_processes_hold_a_gpu_is_nobodys_business(here: Path) -> None:
    processes = (GpuProcess(7, 2**30, "colleague", "python"), GpuProcess(8, 1, None, None))
    instance = replace(healthy_gpu(), processes=(GpuProcess(9, 1, "another-one", "x"),))
    gpu = replace(healthy_gpu(), processes=processes, instances=(instance,))
    (here / "p.yaml").write_text("extends: tiny-cpu\nhardware: {device: cuda}\n")
    bundle = bundle_of(here, FakeMachine(devices=(gpu,)))
    packed = gzip.decompress(archive(bundle.files))
    assert b"colleague" not in packed
    assert b"another-one" not in packed
    assert json.loads(bundle.files["machine.json"])["gpus"][0]["processes"][0]["user"] == (
        "<user name>"
    )


def test_what_cannot_be_collected_keeps_nothing_else_out(here: Path) -> None:
    (log_folder() / "mine-20261121-120000-1.log").mkdir()
    files = bundle_of(here, installed=SGLANG).files  # whose package is not really there
    assert sorted(files) == NAMES
    assert files["server.log"].startswith("This could not be collected: IsADirectoryError")
    assert files["command.txt"].startswith("This could not be collected: FileNotFoundError")


def test_the_names_of_variables_stay_and_their_values_do_not(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_HOST", "127.9.8.7")
    write_log("mine-20261121-120000-1.log", "Uvicorn running on 127.9.8.7\n")
    bundle = bundle_of(here)
    assert b"127.9.8.7" not in gzip.decompress(archive(bundle.files))
    assert "host: ${OUR_HOST:-127.0.0.1}" in bundle.files["profile.yaml"]
    assert bundle.files["server.log"] == "Uvicorn running on ${OUR_HOST}\n"


word = st.text("zqxj0123456789", min_size=5, max_size=12)
key = st.text("zqABC0189!#%&()*+,./:;=?@[]^_{|}~-", min_size=12, max_size=70)
outside = st.ip_addresses().filter(lambda a: not (a.is_loopback or a.is_unspecified))


@settings(
    max_examples=int(os.environ.get("SGL_EMBED_FUZZ", "8")),
    deadline=None,
    phases=[Phase.generate],  # an example takes a third of a second
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    user=word.map("zu{}".format),
    host=word.map("zh{}".format),
    password=word.map("zp{}".format),
    secret=key.map("zs{}".format),
    token=key.map("zt{}".format),
    address=outside.map(str),
)
def test_nothing_private_is_in_any_byte_of_it(
    here: Path, user: str, host: str, password: str, secret: str, token: str, address: str
) -> None:
    names = {"USER": user, "HOME": f"/srv/{user}", "HOSTNAME": f"{host}.lan", "HF_TOKEN": token}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**names, "OUR_SERVERS": secret, "OTHER_PASSWORD": password}.items():
            patch.setenv(name, value)
        patch.setattr(socket, "gethostname", lambda: f"{host}.lan")
        write_log(
            "mine-20261121-120000-1.log",
            f"server_args={{'api_key': {secret!r}, 'model_path': '/srv/{user}/m'}}\n"
            f"{user}@{host}: {json.dumps(secret)} {token} /home/{user}/x {password}\n"
            f"https://{user}:{password}@{host}.lan:80/ {address} 00:1a:2b:3c:4d:5e 10.9.8.7\n",
        )
        holder = PortUse("in use", 7, ("sh", f"/home/{user}/run", "--api-key", secret, token))
        bundle = bundle_of(here, FakeMachine(taken={30000: holder}))
    packed = gzip.decompress(archive(bundle.files)).decode()
    for private in (user, host, password, secret, token, "00:1a:2b:3c:4d:5e", "10.9.8.7"):
        assert private not in packed
    assert f"{address} 00" not in packed
    for kind in ("key", "home folder", "user name", "host name", "hardware address", "address"):
        assert kind in bundle.removed
        assert f"  {kind}\n" in bundle.files["removed.txt"]


def test_the_same_bundle_makes_the_same_bytes_whatever_the_order() -> None:
    one, two = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert archive(one) == archive(two)
    with tarfile.open(fileobj=io.BytesIO(archive(two))) as tar:
        assert [entry.name for entry in tar] == [f"{TOP}/a", f"{TOP}/b"]
        for entry in tar:
            assert (entry.uid, entry.uname, entry.mtime, entry.mode) == (0, "", 0, 0o600)


def test_the_file_is_for_this_user_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        write_bundle(Bundle({"a": "1"}, {}), tmp_path / "b.tar.gz")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["b.tar.gz"]


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_is_there_is_never_written_over(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "b.tar.gz"
    if kind == "file":
        target.write_text("mine")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is there already"):
        write_bundle(Bundle({"a": "1"}, {}), target)
    assert [file.name for file in tmp_path.iterdir()] == ["b.tar.gz"]


def test_a_file_that_appears_meanwhile_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "b.tar.gz"
    link = os.link

    def late(source: Path, to: Path) -> None:
        to.write_text("another's")
        link(source, to)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(UsageError, match="is there already"):
        write_bundle(Bundle({"a": "1"}, {}), target)
    assert target.read_text() == "another's"
    assert len([*tmp_path.iterdir()]) == 1


def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(_source: Path, _to: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", without)
    write_bundle(Bundle({"a": "1"}, {}), tmp_path / "b.tar.gz")
    with tarfile.open(tmp_path / "b.tar.gz") as tar:
        assert tar.getnames() == [f"{TOP}/a"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        write_bundle(Bundle({"a": "1"}, {}), tmp_path / "gone" / "b.tar.gz")


def test_a_full_or_read_only_disk_is_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(KitError) as caught:
        write_bundle(Bundle({"a": "1"}, {}), tmp_path / "b.tar.gz")
    assert caught.value.why == "No space left on device"
    assert not [*tmp_path.iterdir()]


def test_no_report_shows_a_key(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = "k3y-for-0ur-server", "k3y with blanks"
    holder = PortUse("in use", 7, ("sglang", "serve", "--api-key", good))
    machine = FakeMachine(taken={30000: holder})
    for key in (good, bad):
        monkeypatch.setenv("OUR_SERVERS", key)
        loaded = read_profile(str(here / "p.yaml"))
        subject = Subject(loaded.profile, locate("tiny:"), None, machine, mask=loaded.mask)
        report = run_checks(subject, CHECKS)
        shown = as_text(report) + as_json(report, subject, "p") + as_junit(report, Status.WARN)
        assert "OUR_SERVERS" in shown or key is good
        assert good not in shown
        assert bad not in shown
