"""Every check: cases in which it passes, fails, and cannot tell."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import tests.doctor.checks
from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.profile import Profile
from tests.doctor.checks.cases import BY_ID, SGLANG, Case, find
from tests.doctor.checks.fixes import is_edit, is_pasteable
from tests.machines import FakeMachine

CASES: list[Case] = [
    case
    for module in pkgutil.iter_modules(tests.doctor.checks.__path__)
    if module.name.startswith("test_") and module.name != "test_every_check"
    for case in importlib.import_module(f"tests.doctor.checks.{module.name}").CASES
]


def test_a_healthy_machine_gets_only_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGL_EMBED_CACHE", str(tmp_path))
    profile = Profile.model_validate({"model": {"path": "tiny:"}, "hardware": {"device": "cpu"}})
    report = run_checks(Subject.of(profile, SGLANG, FakeMachine()), CHECKS)
    assert [result.finding.status for result in report.results] == [Status.OK] * len(CHECKS)


def test_ids_and_names_are_unique() -> None:
    assert len(BY_ID) == len({check.about.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize(("check", "options", "status", "text"), CASES)
def test_each_finding(check: str, options: dict[str, Any], status: Status, text: str) -> None:
    finding = find(check, **options)
    assert finding.status is status
    assert text in finding.found
    if status in {Status.ERROR, Status.WARN}:
        assert finding.needed
        assert is_pasteable(finding.fix), finding.fix


def test_an_edit_of_the_profile_cures_what_it_is_for() -> None:
    """All but the pieces that a GPU's memory is in: the server asks for less of them."""
    ill: dict[str, set[bool]] = {}
    for check, options, status, _ in CASES:
        fix = find(check, **options).fix
        if status in {Status.ERROR, Status.WARN} and is_edit(fix):
            edits = yaml.safe_load(fix).items()
            edited = {name: {**options.get(name, {}), **edit} for name, edit in edits}
            after = find(check, **{**options, **edited})
            ill.setdefault(check, set()).add(after.status in {Status.ERROR, Status.WARN})
    assert len(ill) > 10
    assert [check for check, still in ill.items() if True in still] == ["SGE-VRAM-002"]


@pytest.mark.parametrize(
    ("fix", "can_be"),
    [
        ("docker run --cpus=2", True),
        ("(umask 077; openssl rand -hex 32 > key)", True),
        ('export TMPDIR="$(mktemp -d -p ~)"', True),
        ("nvidia-smi  # says what the driver sees", True),
        ("server: {port: 30001}  # in the profile", True),
        ("hardware: {gpus: 1}  # in the profile\nparallel: {data: 1}  # in the profile", True),
        ("model:\n  path: /models/inner", True),
        ("model: {served_name: one-name}", True),
        ("model: inner", False),
        ("", False),
        ("# nothing", False),
        ("set server.port: 30001 in the profile", False),
        ("lower limits.max_total_tokens", False),
        ("server: {prot: 30001}", False),
        ("server: {port: many}", False),
        ("server: {port: 1", False),
        ("export KEY='", False),
        ("sudo nvidia-smi --gpu-reset", False),
        ("unset SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN", True),
        ("env: {SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN: '0'}", True),
        ("env: {SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN: '1'}", False),
        ("export SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=true", False),
        ("pip install x\nthen start again", False),
    ],
)
def test_a_fix_is_a_command_or_an_edit_of_the_profile(fix: str, can_be: bool) -> None:
    assert is_pasteable(fix) is can_be


ALWAYS_TELLS = {
    "SGE-PY-001": "a Python runs",
    "SGE-PKG-001": "a package is found or it is not",
    "SGE-ENG-001": "a GPU that does not show is an error",
    "SGE-NET-001": "the port is tried",
    "SGE-NET-002": "the ports are tried",
    "SGE-MEM-001": "what is not known of the model is left out",
    "SGE-CPU-001": "the system tells",
    "SGE-TMP-001": "a file is written",
    "SGE-KEY-001": "a key is read",
    "SGE-CGRP-001": "no control group is no limit",
    "SGE-CLOCK-001": "there is always a clock, and a file that was written",
    "SGE-JIT-001": "PATH is looked through",
    "SGE-JIT-002": "a file is written",
    "SGE-SEC-001": "the profile tells",
    "SGE-SEC-002": "the profile tells",
    "SGE-SEC-003": "the profile tells",
    "SGE-MOD-001": "what is not here yet is no fault",
    "SGE-MOD-002": "a path has a form",
    "SGE-HUB-001": "the hub answers in time or not",
    "SGE-HUB-002": "a token is read",
    "SGE-LIM-001": "a variable is set or it is not",
    "SGE-LIM-004": "the profile says it",
    "SGE-LIM-006": "the profile says it, or the toolkit",
    "SGE-LIM-007": "the profile says it, or the toolkit",
}
"""Checks that never say `skip`, and why."""


@pytest.mark.parametrize("check", BY_ID)
def test_there_is_a_case_for_each_verdict(check: str) -> None:
    verdicts = {status for case, _, status, _ in CASES if case == check}
    assert Status.OK in verdicts
    assert verdicts & {Status.WARN, Status.ERROR}
    assert (Status.SKIP in verdicts) is (check not in ALWAYS_TELLS)
