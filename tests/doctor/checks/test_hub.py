"""The hub, its token, and room for the download: what the checks find."""

from __future__ import annotations

import http.server
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.checks.hub import LOG_SPACE
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.profile import Profile
from tests.doctor.checks.cases import SGLANG, Case, find
from tests.machines import UNREACHABLE, FakeMachine
from tests.model.builders import small_model

REPO = {"path": "org/model"}
QWEN = {"path": "Qwen/Qwen3-Embedding-0.6B"}
MODELSCOPE = {"SGLANG_USE_MODELSCOPE": "1", "MODELSCOPE_ENDPOINT": UNREACHABLE}
CASES: list[Case] = [
    ("SGE-HUB-001", {}, Status.OK, "none is needed"),
    ("SGE-HUB-001", {"model": REPO}, Status.ERROR, "org/model is not in the cache"),
    ("SGE-HUB-001", {"model": REPO, "environ": MODELSCOPE}, Status.ERROR, "cannot be reached"),
    (
        "SGE-HUB-001",
        {"model": REPO, "environ": {"HF_HUB_OFFLINE": "1"}},
        Status.ERROR,
        "HF_HUB_OFFLINE is set",
    ),
    ("SGE-HUB-002", {}, Status.OK, "none is needed"),
    ("SGE-HUB-002", {"model": REPO, "environ": MODELSCOPE}, Status.OK, "none is needed"),
    ("SGE-HUB-002", {"model": REPO, "environ": {"HF_TOKEN": "hf_x"}}, Status.OK, "one in HF_TOKEN"),
    (
        "SGE-HUB-002",
        {"model": REPO, "environ": {"HF_TOKEN": "hf\nx"}},
        Status.ERROR,
        "the token in HF_TOKEN has characters",
    ),
    ("SGE-DISK-001", {}, Status.OK, "500.0 GB free"),
    ("SGE-DISK-001", {"machine": FakeMachine(disk=50_000_000)}, Status.ERROR, "0.1 GB free"),
    (
        "SGE-DISK-001",
        {"model": QWEN, "machine": FakeMachine(disk=1_300_000_000)},
        Status.ERROR,
        "1.3 GB free",
    ),
    ("SGE-DISK-001", {"model": QWEN, "machine": FakeMachine(disk=1_400_000_000)}, Status.OK, ""),
    ("SGE-DISK-001", {"model": REPO}, Status.SKIP, "how large org/model is"),
]


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers with the status and the code that a repository's name says; notes the token."""

    tokens: tuple[str | None, ...] = ()

    def do_HEAD(self) -> None:
        type(self).tokens += (self.headers["Authorization"],)
        _, _, name, *_ = self.path.split("/")
        status, _, code = name.partition("-")
        self.send_response(int(status))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a hub that is asked with patience, however busy this machine is."""
    monkeypatch.setattr("sgl_embed_kit.doctor.checks.hub.PATIENCE", 30)
    Hub.tokens = ()
    with http.server.HTTPServer(("127.0.0.1", 0), Hub) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


@pytest.mark.parametrize(
    ("name", "status", "found", "cure"),
    [
        ("200", Status.OK, "the mirror in HF_ENDPOINT (http", ""),
        ("401-GatedRepo", Status.ERROR, "is gated", "hf auth login"),
        ("403-GatedRepo", Status.ERROR, "is gated", "hf auth login"),
        ("401", Status.ERROR, "has no repository", "hf auth login"),
        ("404-RepoNotFound", Status.ERROR, "has no repository", "hf auth login"),
        ("404-RevisionNotFound", Status.ERROR, "has no revision main", "/refs  # lists its bran"),
        ("404-EntryNotFound", Status.ERROR, "answered 404", "curl -I"),
        ("503", Status.ERROR, "answered 503", "curl -I"),
    ],
)
def test_what_the_hub_answers_is_told_with_its_cure(
    hub: str, name: str, status: Status, found: str, cure: str
) -> None:
    finding = find("SGE-HUB-001", model={"path": f"org/{name}"}, environ={"HF_ENDPOINT": hub})
    assert finding.status is status
    assert found in finding.found
    assert cure in finding.fix


def test_a_hub_that_does_not_answer_in_time_is_a_warning_with_mirrors() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        finding = find("SGE-HUB-001", model=REPO, environ={"HF_ENDPOINT": url})
    assert finding.status is Status.WARN
    assert "did not answer within 0.5 s" in finding.found
    assert "SGLANG_USE_MODELSCOPE=1" in finding.needed
    assert finding.fix == "export HF_ENDPOINT=https://your-mirror"


def test_a_revision_that_is_not_there_is_named_with_where_to_look(hub: str) -> None:
    model = {"path": "org/404-RevisionNotFound", "revision": "v2"}
    finding = find("SGE-HUB-001", model=model, environ={"HF_ENDPOINT": hub})
    assert finding.found == f"org/404-RevisionNotFound has no revision v2 at {hub}"
    refs = f"{hub}/api/models/org/404-RevisionNotFound/refs"
    assert finding.fix == f"curl {refs}  # lists its branches and tags"


def test_a_cure_for_modelscope_is_nothing_of_hugging_face(hub: str) -> None:
    for url, found in ((UNREACHABLE, "cannot be reached"), (hub, "has no repository 404/x")):
        environ = {**MODELSCOPE, "MODELSCOPE_ENDPOINT": url}
        finding = find("SGE-HUB-001", model={"path": "404/x"}, environ=environ)
        assert found in finding.found
        assert finding.fix == "unset SGLANG_USE_MODELSCOPE"


def test_the_token_goes_to_the_hub_and_into_no_message(hub: str) -> None:
    for check in ("SGE-HUB-001", "SGE-HUB-002"):
        env = {"HF_ENDPOINT": hub, "HF_TOKEN": "hf_secret"}
        finding = find(check, model={"path": "org/401-GatedRepo"}, environ=env)
        assert "hf_secret" not in repr(finding)
    assert Hub.tokens == ("Bearer hf_secret",)


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_token_that_no_header_can_hold_is_taken_away(variable: str) -> None:
    finding = find("SGE-HUB-002", model=REPO, environ={"HF_TOKEN": "", variable: "hf\nx"})
    assert finding.found == f"the token in {variable} has characters that no header can hold"
    assert finding.fix == f"unset {variable}"


def test_a_token_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    def told(file: Path) -> Finding:
        return find("SGE-HUB-002", model=REPO, environ={"HF_TOKEN_PATH": str(file)})

    finding = told(tmp_path)  # a folder, to root as well
    assert finding.status is Status.ERROR
    assert "Is a directory" in finding.found
    assert finding.fix == "export HF_TOKEN_PATH=/a/file/you/may/read"
    assert told(tmp_path / "none").found == "none, and public models need none"
    (tmp_path / "token").write_text("hf_x\n")
    assert told(tmp_path / "token").found == f"the one in {tmp_path / 'token'}"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A hub's cache with org/model in it, as huggingface_hub lays it out: its snapshot."""
    kept = tmp_path / "models--org--model"
    (kept / "snapshots").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("c0ffee")
    small_model(kept / "snapshots" / "c0ffee")
    return kept / "snapshots" / "c0ffee"


OWN = {"SGL_EMBED_CACHE": "/our/cache", "SGL_EMBED_STATE": "/our/state"}


@pytest.mark.parametrize(
    ("model", "environ", "place"),
    [
        (QWEN, {}, "/hf/hub"),
        (QWEN, MODELSCOPE, "/home/user/.cache/modelscope"),
        (QWEN, {**MODELSCOPE, "MODELSCOPE_CACHE": "/ms cache"}, "'/ms cache'"),
        ({"path": "demo:all-minilm-l6-v2"}, {}, "/our/cache"),
        ({"path": "demo:all-minilm-l6-v2"}, MODELSCOPE, "/our/cache"),
    ],
)
def test_the_disk_that_is_looked_at_is_the_one_that_the_files_go_to(
    model: dict[str, str], environ: dict[str, str], place: str
) -> None:
    environ = {**OWN, "HF_HUB_CACHE": "/hf/hub", "HOME": "/home/user", **environ}
    finding = find("SGE-DISK-001", FakeMachine(disk=10_000_000), model=model, environ=environ)
    assert finding.fix == f"df -h {place}"
    assert finding.found == f"0.0 GB free for {place.strip(chr(39))}"


class Disks(FakeMachine):
    """A machine whose disks have so much room, by what a path begins with."""

    def __init__(self, **free: int) -> None:
        super().__init__()
        self._free = free

    def disk_free(self, path: Path) -> int:
        return self._free[path.parts[2]]


def test_room_that_is_just_enough_is_enough() -> None:
    source = locate(QWEN["path"])
    environ = {**OWN, **MODELSCOPE, "MODELSCOPE_CACHE": "/their/hub"}
    enough = source.bytes_needed + LOG_SPACE
    for hub, state, status in (
        (enough, LOG_SPACE, Status.OK),
        (enough - 1, LOG_SPACE, Status.ERROR),
        (enough, LOG_SPACE - 1, Status.ERROR),
    ):
        machine = Disks(hub=hub, state=state)
        finding = find("SGE-DISK-001", machine, model=QWEN, environ=environ)
        assert finding.status is status


def with_cache(check: str, cache: Path, **options: Any) -> Finding:
    """Run a check on a machine whose variables name the cache."""
    variables = {"HF_HUB_CACHE": str(cache.parents[2])}
    return find(check, **{"model": REPO, **options, "environ": variables})


def test_a_repository_in_the_cache_needs_no_hub_and_is_looked_at(cache: Path) -> None:
    assert with_cache("SGE-HUB-001", cache).found == "org/model is in the cache"
    assert with_cache("SGE-MOD-001", cache).found.startswith("Qwen3ForCausalLM")
    assert with_cache("SGE-MOD-003", cache).found == "last token, as declared"
    assert with_cache("SGE-DISK-001", cache).status is Status.OK
    for revision, status in (("c0ffee", Status.OK), ("other", Status.ERROR)):
        named = {**REPO, "revision": revision}
        assert with_cache("SGE-HUB-001", cache, model=named).status is status
    profile = Profile.model_validate({"model": REPO})
    machine = FakeMachine(variables={"HF_HUB_CACHE": str(cache.parents[2])})
    subject = Subject(profile, locate("org/model"), SGLANG, machine)
    assert subject.folder == cache
    assert subject.bounds is not None
    assert subject.bounds.positions == 4096


def test_a_repository_that_is_only_partly_in_the_cache_is_not_there(cache: Path) -> None:
    (cache / "model.safetensors").unlink()
    assert with_cache("SGE-HUB-001", cache).status is Status.ERROR
    assert with_cache("SGE-MOD-001", cache).found == "org/model, from the hub"
    shutil.rmtree(cache)
    assert with_cache("SGE-HUB-001", cache).status is Status.ERROR


def test_what_the_profile_sets_for_the_server_counts(hub: str, cache: Path, tmp_path: Path) -> None:
    """And not what this process has: it is the server that will look."""
    repo = {"path": "org/200"}
    finding = find("SGE-HUB-001", model=repo, env={"HF_ENDPOINT": hub, "HF_TOKEN": "hf_x"})
    assert finding.found == f"the mirror in HF_ENDPOINT ({hub}) has org/200"
    assert Hub.tokens == ("Bearer hf_x",)
    finding = find("SGE-HUB-001", model=REPO, env={"HF_HUB_OFFLINE": "1"})
    assert finding.found == "HF_HUB_OFFLINE is set; org/model is not in the cache"
    assert finding.fix == "env: {HF_HUB_OFFLINE: '0'}  # in the profile"
    kept = {"HF_HUB_CACHE": str(cache.parents[2])}
    assert find("SGE-HUB-001", model=REPO, env=kept).found == "org/model is in the cache"
    assert with_cache("SGE-HUB-001", cache, env={"HF_HUB_CACHE": "/none"}).status is Status.ERROR
    (tmp_path / "token").write_text("hf_x")
    finding = find("SGE-HUB-002", model=REPO, env={"HF_TOKEN_PATH": str(tmp_path / "token")})
    assert finding.found == f"the one in {tmp_path / 'token'}"
    full = {"/full/hub": 0}

    class Disks(FakeMachine):
        def disk_free(self, path: Path) -> int:
            return full.get(str(path), 10**12)

    assert find("SGE-DISK-001", Disks(), model=QWEN).status is Status.OK
    finding = find("SGE-DISK-001", Disks(), model=QWEN, env={"HF_HOME": "/full"})
    assert (finding.status, finding.fix) == (Status.ERROR, "df -h /full/hub")
    assert find("SGE-HUB-002", model=REPO, env=MODELSCOPE).found == "none is needed"


def test_the_variable_that_keeps_the_hub_from_being_asked_is_named() -> None:
    finding = find("SGE-HUB-001", model=REPO, environ={"TRANSFORMERS_OFFLINE": "yes"})
    assert finding.found.startswith("TRANSFORMERS_OFFLINE is set")
    assert finding.fix == "unset TRANSFORMERS_OFFLINE"


def test_modelscope_has_another_cache(cache: Path) -> None:
    variables = {**MODELSCOPE, "HF_HUB_CACHE": str(cache.parents[2])}
    assert find("SGE-HUB-001", model=REPO, environ=variables).status is Status.ERROR
    assert cache.is_dir()
