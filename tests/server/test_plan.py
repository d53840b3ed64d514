"""The plan against real SGLang on the CPU: what it logs is what was planned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.launch.events import Ready, nobody
from sgl_embed_kit.launch.server import running_server
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.plan.device import cpu
from sgl_embed_kit.plan.memory import TAKEN_AT_LOAD
from sgl_embed_kit.plan.plan import Plan, make_plan
from sgl_embed_kit.profile import Profile, load_profile
from sgl_embed_kit.sglang.installed import find_installed
from tests.conftest import Launched, free_port

pytestmark = pytest.mark.server

GIB = 2**30


@dataclass(frozen=True)
class Logged:
    """What SGLang said of its memory; sizes in its GB, which are GiB."""

    log: str

    def number(self, pattern: str) -> float:
        found = re.search(pattern, self.log)
        assert found, f"no {pattern} in the log"
        return float(found[1])

    @property
    def tokens(self) -> int:
        return int(self.number(r"max_total_num_tokens=(\d+)"))

    @property
    def pool(self) -> float:
        return self.number(r"K size: ([\d.]+) GB") + self.number(r"V size: ([\d.]+) GB")

    @property
    def available(self) -> float:
        return self.number(r"Load weight begin\. avail mem=([\d.]+) GB")

    @property
    def weights(self) -> float:
        return self.number(r"Load weight end\..*mem usage=(-?[\d.]+) GB")


def planned(subject: Subject) -> Plan:
    demand = subject.demand()
    assert demand is not None
    return make_plan(demand, cpu(subject.machine))


def subject_of(profile: Profile) -> Subject:
    return Subject.of(profile, find_installed(), RealMachine())


@contextmanager
def served(folder: Path, limits: dict[str, Any]) -> Iterator[tuple[Plan, Logged]]:
    """Plan for a model folder, then serve it; yield the plan and what SGLang logged."""
    content = {
        "model": {"path": str(folder)},
        "hardware": {"device": "cpu"},
        "server": {"port": free_port()},
        "limits": limits,
    }
    subject = subject_of(Profile.model_validate(content))
    plan = planned(subject)
    with running_server(subject) as server:
        ready = server.wait_until_ready(nobody)
        yield plan, Logged(ready.log.read_text(encoding="utf-8"))


def test_a_limited_pool_of_the_tiny_model_is_as_planned(tiny_qwen: Ready) -> None:
    plan = planned(subject_of(load_profile("tiny-cpu")))
    assert plan.fits
    assert Logged(tiny_qwen.log.read_text(encoding="utf-8")).tokens == plan.pool_tokens == 16384


def test_a_limited_pool_of_minilm_is_as_planned(minilm: Launched) -> None:
    (log,) = re.findall(r"^  log +(.+)$", minilm.printed, re.MULTILINE)
    logged, plan = (
        Logged(Path(log).read_text("utf-8")),
        planned(subject_of(load_profile(str(minilm.profile)))),
    )
    assert plan.fits
    assert logged.tokens == plan.pool_tokens == 16384
    assert logged.pool == pytest.approx(plan.pool / GIB, abs=0.01)  # two digits each


def test_the_plan_says_first_what_sglang_warns_of(unguarded: tuple[Subject, Ready]) -> None:
    subject, ready = unguarded
    plan, logged = planned(subject), Logged(ready.log.read_text(encoding="utf-8"))
    assert logged.tokens == plan.pool_tokens == 1024  # in whole pages
    warning = "KV pool holds 1024 tokens, fewer than --context-length 2048"
    assert warning in logged.log
    (fault,) = plan.faults
    assert (fault.line, fault.text[: len(warning)]) == ("KV pool", warning)


def test_a_pool_by_the_fraction_and_weights_of_a_gigabyte_are_as_planned(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=2048, layers=12))
    plan, logged = served_undisturbed(
        tmp_path / "m", {"context_length": 2048, "mem_fraction_static": 0.4}
    )
    assert plan.fits
    assert logged.tokens == pytest.approx(plan.pool_tokens, rel=0.1)
    assert logged.pool >= 1
    assert logged.pool == pytest.approx(logged.tokens * plan.token_bytes / GIB, rel=0.05)
    assert plan.weights >= 1e9
    assert logged.weights == pytest.approx(plan.weights / GIB, rel=0.05)
    # The same with what SGLang read of the machine in place of what was expected of it.
    read = replace(plan.device, free=int(logged.available * GIB) + TAKEN_AT_LOAD)
    again = make_plan(plan.demand, read)
    drift = (logged.weights * GIB - plan.weights) / plan.token_bytes
    assert logged.tokens == pytest.approx(again.pool_tokens - drift, rel=0.03)


DISTURBANCE = 0.05
"""GiB that other programs may take or give back while weights are loaded: SGLang sizes pool
and weights by what is available on the whole machine."""


def served_undisturbed(folder: Path, limits: dict[str, Any]) -> tuple[Plan, Logged]:
    """Serve a folder, again if other programs took or gave back memory meanwhile."""
    for _ in range(4):
        with served(folder, limits) as result:
            plan, logged = result
        if abs(logged.weights - plan.weights / GIB) < DISTURBANCE:
            break
    return result
