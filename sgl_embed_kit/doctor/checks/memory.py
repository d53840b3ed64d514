"""Checks of memory: what the plan needs against what is free."""

from __future__ import annotations

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.plan.device import cpu, gpu_here
from sgl_embed_kit.plan.memory import THREE_PROCESSES
from sgl_embed_kit.plan.plan import Plan, gib, gigabytes, make_plan
from sgl_embed_kit.profile.patch import patch


def memory(subject: Subject) -> Finding:
    """Look whether SGLang, weights and KV pool fit into what is free."""
    available = subject.machine.memory_available()
    on_gpu = subject.profile.hardware.device == "cuda"
    demand = subject.demand()
    device = gpu_here(subject.profile, subject.machine) if on_gpu else cpu(subject.machine)
    plan = make_plan(demand, device) if demand and device else None
    needed, what = THREE_PROCESSES, "SGLang itself" if on_gpu else "SGLang alone"
    if plan and not on_gpu:
        needed, what = plan.needed, "SGLang, weights and KV pool"
    found = f"{gigabytes(available)} available; {gigabytes(needed)} for {what}"
    if available < needed:
        return Finding(Status.ERROR, found, gigabytes(needed), _room(available, plan))
    return (_misfit(plan) if plan else None) or Finding(Status.OK, found)


def _room(available: int, plan: Plan | None) -> str:
    """Return the cure: a pool of so many whole contexts as fit, else what takes the memory."""
    if plan and plan.device.is_cpu and plan.demand.max_tokens:
        # The pool has a page more than the tokens that are asked for.
        limit, context = plan.demand.max_tokens - plan.demand.page, plan.demand.context
        besides = plan.needed - limit * plan.token_bytes
        texts = (available - besides) // (context * plan.token_bytes)
        if texts > 0:
            return patch(limits={"max_total_tokens": texts * context})
    return "ps aux --sort=-rss | head  # one of these that can be ended"


def _misfit(plan: Plan) -> Finding | None:
    """Return what speaks against a plan, or None where it fits.

    A pool that would hang the server, and a chunk that leaves no memory, have checks of their
    own (limits.py).
    """
    needed = f"a server that fits {plan.device.name} with {gib(plan.device.memory)}"
    faults = [fault for fault in plan.faults if not fault.hangs] if plan.fraction > 0 else []
    if faults:
        return Finding(Status.ERROR, str(faults[0]), needed, plan.cure)
    if plan.is_tight:
        return Finding(Status.WARN, plan.warnings[0], needed, plan.cure)
    return None
