"""The plan as people and programs see it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sgl_embed_kit.plan.device import named_gpu
from sgl_embed_kit.plan.plan import Device, make_plan
from sgl_embed_kit.plan.report import ASCII, BAR, COLUMNS, UNICODE, as_json, as_text, bar
from tests.plan.test_plan import LARGE_32K, MINILM_256, RAM, SMALL_8K

PLANS = {
    "fits": make_plan(SMALL_8K, named_gpu("A10")),
    "does not fit": make_plan(LARGE_32K, named_gpu("A10")),
    "tight": make_plan(replace(SMALL_8K, fraction=0.7), named_gpu("A10")),
    "no pool": make_plan(LARGE_32K, named_gpu("T4")),
    "shared": make_plan(replace(LARGE_32K, tensor=2, data=2), Device("x" * 60, 2**36, 2**35)),
    "encoder": make_plan(MINILM_256, RAM),
    "nothing free": make_plan(SMALL_8K, Device("A10", 2**34, 0)),
}
every_plan = pytest.mark.parametrize("name", PLANS)


@every_plan
def test_no_line_is_longer_than_80_columns(name: str) -> None:
    for ascii_only in (False, True):
        text = as_text(PLANS[name], ascii_only=ascii_only)
        assert [line for line in text.splitlines() if len(line) > COLUMNS] == []
    assert text.isascii()


@every_plan
def test_the_amounts_in_the_table_add_up(name: str) -> None:
    table = as_text(PLANS[name]).split("\n\n")[1]
    rows = [line for line in table.splitlines() if " GiB" in line[:36]]
    amounts = [float(line[20:34].replace("GiB", "").lstrip("-= ") or 0) for line in rows]
    signs = [line[20:34].strip()[0] for line in rows]
    assert (signs[1:-1], signs[-1]) == (["-"] * (len(rows) - 2), "=")
    spare = PLANS[name].spare / 2**30
    assert amounts[0] - sum(amounts[1:-1]) == pytest.approx(spare, abs=0.04)


@pytest.mark.parametrize(("name", "word"), [("fits", "fits"), ("tight", "tight")])
def test_the_first_line_says_whether_it_fits_and_that_it_was_computed(name: str, word: str) -> None:
    head = as_text(PLANS[name]).splitlines()[0]
    assert head == f"small on A10: {word}. Computed, not measured."


def test_what_breaks_it_is_said_at_the_top() -> None:
    lines = as_text(PLANS["does not fit"]).splitlines()
    assert "does not fit" in lines[0]
    assert lines[1].startswith("  does not fit: weights: 15.25 GiB of weights do not fit")


def test_a_pool_that_is_limited_in_tokens_needs_no_fraction() -> None:
    assert "none is needed beside max_total_tokens; 0.01 holds" in as_text(PLANS["encoder"])
    assert "0.1 holds one full context, 0.66 is the most" in as_text(PLANS["fits"])


def test_a_fault_is_not_named_twice() -> None:
    short = as_text(make_plan(replace(SMALL_8K, max_tokens=8000), named_gpu("A10")))
    assert short.splitlines()[1].startswith("  does not fit: KV pool holds 8000 tokens, fewer than")


def test_the_bar_divides_as_the_memory_does() -> None:
    plan = PLANS["fits"]
    drawn, legend = bar(plan, UNICODE)
    assert len(drawn.strip()) == BAR
    share = drawn.count(UNICODE["pool"]) / BAR
    assert share == pytest.approx(plan.pool / plan.device.memory, abs=1 / BAR)
    assert f"{UNICODE['pool']} pool 10.6" in legend


def test_a_bar_of_too_much_marks_where_the_memory_ends() -> None:
    plan = PLANS["does not fit"]
    drawn, mark, _ = bar(plan, ASCII)
    assert ASCII["spare"] not in drawn
    end = plan.device.memory / (plan.device.memory - plan.spare)
    assert mark.index("^") - 1 == pytest.approx(BAR * end, abs=1)


@every_plan
def test_json_carries_schema_and_every_number(name: str) -> None:
    plan = PLANS[name]
    data = json.loads(json.dumps(as_json(plan)))
    assert data["schema"] == "sgl-embed.plan/1"
    assert data["measured"] is False
    assert data["fits"] == plan.fits
    blocks = ("others", "base", "weights", "pool", "working", "spare")
    assert sum(data[part] for part in blocks) == data["memory"]
    assert [fault["line"] for fault in data["faults"]] == [fault.line for fault in plan.faults]
    assert data["texts_in_flight"][str(plan.demand.context)] == plan.in_flight(plan.demand.context)
    assert all("fits" in other for other in data["alternatives"])
