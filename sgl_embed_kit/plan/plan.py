"""The plan of a server's memory: every part of it, what that allows, and what would change it.

Pure: the device and what is free on it come from outside (`plan.device`). Sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from sgl_embed_kit.machine.gpus import known_gpus
from sgl_embed_kit.model.shape import ModelShape
from sgl_embed_kit.plan.memory import (
    GIB,
    KV_DTYPE_BYTES,
    MIB,
    TAKEN_AT_LOAD,
    THREE_PROCESSES,
    activation_bytes,
    batch_tokens,
    cpu_working_bytes,
    default_chunk,
    default_fraction,
    gpu_memory,
    pool_tokens,
    running_requests,
    token_bytes,
    working_bytes,
)
from sgl_embed_kit.plan.weights import DTYPE_BYTES, is_exact, weight_bytes
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.patch import patch
from sgl_embed_kit.sglang.command import memory_fraction

SMALLER_KV = "fp8_e5m2"
FEWEST_TOKENS = 128
"""No context below this is proposed."""

SMALLEST_CHUNK = 2048
"""SGLang keeps no less working memory for a smaller chunk (handle_gpu_memory_settings)."""

ANOTHER_SIZE = 1.2
"""A GPU is of another size than one with this many times its memory."""

UNCOUNTED = ("quantization", "cpu-offload-gb", "enable-lora", "lora-paths", "speculative-algorithm")
"""Flags that change the sum and are not in it."""


@dataclass(frozen=True)
class Device:
    """What a server runs on: one GPU of a kind, or the CPU with its RAM.

    Attributes:
        name: What people call it.
        memory: All of it, in bytes; a GPU's as NVML reports it.
        free: What is free of it now; None where the device is not here.
        is_cpu: Whether it is the CPU.
        has_bfloat16: Whether SGLang serves a bfloat16 model on it as such.
        origin: Where its numbers are from, for people.
    """

    name: str
    memory: int
    free: int | None = None
    is_cpu: bool = False
    has_bfloat16: bool = True
    origin: str = ""


@dataclass(frozen=True)
class Demand:
    """What a profile asks of a device.

    Attributes:
        model: Name for people.
        shape: Shape of the model.
        dtype: The profile's `model.dtype`.
        context: Longest text in tokens, `--context-length`.
        fraction: `--mem-fraction-static`, or None for SGLang's own.
        max_tokens: `--max-total-tokens`, or None.
        max_running: `--max-running-requests`, or None for SGLang's own.
        chunk: `--chunked-prefill-size`; None for SGLang's own, -1 for whole texts.
        page: `--page-size`.
        kv_dtype: `--kv-cache-dtype`.
        tensor: GPUs that share each layer.
        data: Whole copies of the model, each on GPUs of its own.
        uncounted: Flags of the profile that change the sum and are not in it.
    """

    model: str
    shape: ModelShape
    dtype: str
    context: int
    fraction: float | None = None
    max_tokens: int | None = None
    max_running: int | None = None
    chunk: int | None = None
    page: int = 1
    kv_dtype: str = "auto"
    tensor: int = 1
    data: int = 1
    uncounted: tuple[str, ...] = ()


def demand_of(profile: Profile, shape: ModelShape, *, encoder: bool) -> Demand:
    """Return what a profile asks for, its limits being settled (`plan.limits`).

    Args:
        profile: The profile, with a context and a pool or a fraction.
        shape: Shape of its model.
        encoder: Whether attention looks both ways, so that texts are not taken in chunks.
    """
    limits, extra = profile.limits, profile.sglang.extra_args
    kv_dtype = str(extra.get("kv-cache-dtype", "auto"))
    return Demand(
        model=profile.model.name,
        shape=shape,
        dtype=profile.model.dtype,
        context=limits.context_length or shape.positions,
        fraction=memory_fraction(profile, encoder),
        max_tokens=limits.max_total_tokens,
        max_running=limits.max_running_requests,
        chunk=-1 if encoder else limits.chunked_prefill_size,
        page=int(extra.get("page-size", 1)),
        kv_dtype=kv_dtype if kv_dtype in KV_DTYPE_BYTES else "auto",
        tensor=profile.parallel.tensor,
        data=profile.parallel.data,
        uncounted=(
            *(name for name in UNCOUNTED if name in extra),
            *(() if kv_dtype in KV_DTYPE_BYTES else ("kv-cache-dtype",)),
        ),
    )


@dataclass(frozen=True)
class Fault:
    """Why a plan does not hold.

    Attributes:
        line: The line of the sum that breaks it.
        text: What is wrong.
        hangs: Whether the server would start all the same, and hang at a long text.
    """

    line: str
    text: str
    hangs: bool = False

    def __str__(self) -> str:
        return self.text if self.text.startswith(self.line) else f"{self.line}: {self.text}"


@dataclass(frozen=True)
class Plan:
    """The memory of a server on a device; the parts add up to `device.memory`.

    Attributes:
        demand: What is asked for.
        device: On what.
        fraction: Share of what is free for weights and pool.
        chunk: Tokens of a prefill chunk; -1 for whole texts.
        others: What other programs hold now.
        base: Driver and CUDA context of a GPU; on a CPU, SGLang's processes.
        weights: Model weights.
        pool: The KV pool.
        working: What is kept for activations and graphs.
        least_working: What of that follows from the model's shape.
        spare: What is left; below zero, something does not fit.
        pool_tokens: Tokens that the pool holds.
        token_bytes: The pool's bytes for one token.
        budget_tokens: Tokens that the fraction alone would give the pool.
        free_at_load: What SGLang finds free before it loads weights.
    """

    demand: Demand
    device: Device
    fraction: float
    chunk: int
    others: int
    base: int
    weights: int
    pool: int
    working: int
    least_working: int
    spare: int
    pool_tokens: int
    token_bytes: int
    budget_tokens: int
    free_at_load: int

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """Every reason why this does not hold, the decisive one first."""
        return tuple(self._faults())

    @property
    def fits(self) -> bool:
        """Whether a server of this plan starts and answers every text of its context."""
        return not self.faults

    @property
    def is_tight(self) -> bool:
        """Whether it fits, but with less working memory than SGLang would keep."""
        return self.fits and self.spare < 0

    def _faults(self) -> Iterator[Fault]:
        ours, demand = self.free_at_load, self.demand
        static = int(ours * self.fraction)
        if self.weights >= static:
            yield Fault(
                "weights",
                f"{gib(self.weights)} of weights do not fit into {gib(max(static, 0))}, which are "
                f"{self.fraction:g} of the {gib(ours)} that the server finds free",
            )
            return
        if self.pool_tokens < demand.context:
            yield Fault(
                "KV pool",
                f"KV pool holds {self.pool_tokens} tokens, fewer than --context-length "
                f"{demand.context}: SGLang will start with a warning in these words, and the "
                "first text longer than the pool will never be answered, nor any after it",
                hangs=True,
            )
        if self.device.is_cpu and self.needed > self.device.memory - self.others:
            yield Fault(
                "KV pool",
                f"with max_total_tokens {demand.max_tokens} the server takes "
                f"{gib(self.needed)}, and {gib(self.device.memory - self.others)} are available",
            )
            return
        left = ours - self.weights - self.pool
        if left < self.least_working:
            yield Fault(
                "working memory",
                f"{gib(max(left, 0))} are left for working memory, of which a prefill takes "
                f"{gib(self.least_working)} at least",
            )

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is not wrong but should be known."""
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[str]:
        demand = self.demand
        if self.is_tight:
            yield (
                f"{gib(self.working + self.spare)} are left for working memory, less than the "
                f"{gib(self.working)} that SGLang would keep: a full chunk may run out of memory"
            )
        if demand.max_tokens is not None and self.budget_tokens < demand.max_tokens:
            yield (
                f"max_total_tokens is {demand.max_tokens}, but the memory fraction leaves room "
                f"for {self.budget_tokens}, which is what SGLang will take"
            )
        if not self.device.has_bfloat16 and self._bfloat16:
            yield f"{self.device.name} has no bfloat16: SGLang loads the model as float16"
        if not is_exact(demand.shape):
            yield (
                f"the weights of a {demand.shape.architecture} are estimated from its files' "
                "parameters, not from SGLang's class"
            )
        for flag in demand.uncounted:
            yield f"{flag} changes this sum and is not counted"

    @property
    def _bfloat16(self) -> bool:
        dtype = self.demand.dtype
        return "bfloat16" in {dtype, self.demand.shape.stored_dtype if dtype == "auto" else dtype}

    @property
    def is_limited(self) -> bool:
        """Whether max_total_tokens limits the pool, and not the fraction."""
        limit = self.demand.max_tokens
        return limit is not None and limit <= self.budget_tokens

    @property
    def needed(self) -> int:
        """What the server takes with the whole pool that is asked for, at least."""
        asked = (self.demand.max_tokens or 0) * self.token_bytes
        return self.base + self.weights + max(self.pool, asked) + self.least_working

    @property
    def running(self) -> int:
        """Texts that SGLang works on at a time, at most."""
        return running_requests(self.pool_tokens, self.demand.context, self.demand.max_running)

    @property
    def context_bytes(self) -> int:
        """What one full context takes of the pool."""
        return self.demand.context * self.token_bytes

    @property
    def largest_context(self) -> int:
        """The longest context that this pool holds and the model allows."""
        return min(self.pool_tokens, self.demand.shape.positions)

    def in_flight(self, tokens: int) -> int:
        """Return how many texts of so many tokens fit into the pool at a time."""
        pages = -(-tokens // self.demand.page) * self.demand.page
        return min(self.pool_tokens // pages, self.running)

    @property
    def least_fraction(self) -> float | None:
        """The smallest fraction, to two digits, whose pool holds one full context.

        None where no fraction below 1 does.
        """
        wanted = self.weights + (self.demand.context + self.demand.page) * self.token_bytes
        fraction = -(-wanted * 100 // max(self.free_at_load, 1)) / 100
        return fraction if fraction < 1 else None

    @property
    def most_fraction(self) -> float | None:
        """The largest fraction, to two digits, that leaves the working memory alone.

        None where even the weights leave too little.
        """
        left = self.device.memory - self.others - self.base - self.working
        fraction = left * 100 // max(self.free_at_load, 1) / 100
        return fraction if fraction * self.free_at_load > self.weights else None

    @cached_property
    def largest_possible_context(self) -> int:
        """The longest context with the fraction at its best; 0 where there is none."""
        if self.most_fraction is None:
            return 0
        budget = int(self.free_at_load * self.most_fraction) - self.weights
        tokens = pool_tokens(budget, self.token_bytes, None, self.demand.page)
        return min(tokens, self.demand.shape.positions)

    @property
    def cure(self) -> str:
        """An edit of the profile that makes it fit, or a command that says what else would."""
        limit, context = self.demand.max_tokens, self.demand.context
        if limit is not None and limit < context <= self.budget_tokens:
            return patch(limits={"max_total_tokens": context})
        if self._holds_a_context:
            return patch(limits={"mem_fraction_static": self.most_fraction})
        if self.chunk > SMALLEST_CHUNK:
            less = make_plan(replace(self.demand, chunk=SMALLEST_CHUNK), self.device)
            if less._holds_a_context:
                return patch(
                    limits={
                        "chunked_prefill_size": SMALLEST_CHUNK,
                        "mem_fraction_static": less.most_fraction,
                    }
                )
        if self.largest_possible_context >= FEWEST_TOKENS:
            return patch(
                limits={
                    "context_length": self.largest_possible_context,
                    "mem_fraction_static": self.most_fraction,
                }
            )
        return "sgl-embed plan PROFILE --gpu NAME  # a larger GPU, or take a smaller model"

    @property
    def _holds_a_context(self) -> bool:
        """Whether some fraction holds a full context beside the working memory."""
        least, most = self.least_fraction, self.most_fraction
        return least is not None and most is not None and least <= most


@dataclass(frozen=True)
class Alternative:
    """Another way to serve the same: what would be changed, and the plan of it."""

    change: str
    plan: Plan


def make_plan(demand: Demand, device: Device) -> Plan:
    """Return the plan of a demand on a device."""
    return _on_cpu(demand, device) if device.is_cpu else _on_gpu(demand, device)


def _on_gpu(demand: Demand, device: Device) -> Plan:
    shape, memory, tensor = demand.shape, device.memory, demand.tensor
    chunk = default_chunk(memory) if demand.chunk is None else demand.chunk
    reserve = working_bytes(memory, chunk, demand.max_running, tensor, demand.max_tokens)
    fraction = demand.fraction or default_fraction(memory, reserve)
    found = gpu_memory(
        shape,
        memory,
        dtype=demand.dtype,
        fraction=fraction,
        chunk=chunk,
        max_running=demand.max_running,
        tensor=tensor,
        free=device.free,
        max_tokens=demand.max_tokens,
        page=demand.page,
        kv_dtype=demand.kv_dtype,
        context=demand.context,
    )
    token = token_bytes(shape, demand.dtype, tensor, demand.kv_dtype)
    ours = memory - found.others - found.driver
    return Plan(
        demand=demand,
        device=device,
        fraction=fraction,
        chunk=chunk,
        others=found.others,
        base=found.driver,
        weights=found.weights,
        pool=found.pool,
        working=found.working,
        least_working=found.least_working,
        spare=found.spare,
        pool_tokens=found.pool_tokens,
        token_bytes=token,
        budget_tokens=_budget_tokens(ours, fraction, found.weights, token, demand.page),
        free_at_load=ours,
    )


def _on_cpu(demand: Demand, device: Device) -> Plan:
    """Plan for a CPU: as on a GPU, with RAM for the card and SGLang's processes for the driver.

    SGLang takes the fraction of what is available when the weights are loaded, most of what
    its processes take being gone already; on a machine of several NUMA nodes, of one node's
    share of it (get_available_gpu_memory, srt/utils/common.py), which is not counted here. No
    graphs and no kernels' workspace.
    """
    memory, shape = device.memory, demand.shape
    free = memory if device.free is None else device.free
    ours, at_load = max(free - THREE_PROCESSES, 0), max(free - TAKEN_AT_LOAD, 0)
    chunk = default_chunk(memory) if demand.chunk is None else demand.chunk
    reserve = cpu_working_bytes(memory, chunk, demand.tensor)
    fraction = demand.fraction or default_fraction(memory, reserve)
    weights = weight_bytes(shape, demand.dtype)
    token = token_bytes(shape, demand.dtype, 1, demand.kv_dtype)
    budget = max(int(at_load * fraction) - weights, 0)
    tokens = pool_tokens(budget, token, demand.max_tokens, demand.page)
    pool = (tokens + demand.page) * token
    longest = min(batch_tokens(chunk, demand.context), tokens)
    working = activation_bytes(shape, longest, demand.dtype)
    working += (
        4
        * (running_requests(tokens, demand.context, demand.max_running) + 1)
        * (demand.context + 4)
    )
    return Plan(
        demand=demand,
        device=device,
        fraction=fraction,
        chunk=chunk,
        others=memory - free,
        base=free - ours,
        weights=weights,
        pool=pool,
        working=working,
        least_working=working,
        spare=ours - weights - pool - working,
        pool_tokens=tokens,
        token_bytes=token,
        budget_tokens=_budget_tokens(at_load, fraction, weights, token, demand.page),
        free_at_load=at_load,
    )


def _budget_tokens(ours: int, fraction: float, weights: int, token: int, page: int) -> int:
    return pool_tokens(max(int(ours * fraction) - weights, 0), token, None, page)


def alternatives(plan: Plan) -> list[Alternative]:
    """Return what a smaller type, another GPU, or a lower context would change."""
    demand, device, on_cpu = plan.demand, plan.device, plan.device.is_cpu
    found = []
    if DTYPE_BYTES[demand.dtype] > DTYPE_BYTES["auto"]:
        smaller = "bfloat16" if device.has_bfloat16 else "float16"
        found.append(
            Alternative(f"model.dtype {smaller}", make_plan(replace(demand, dtype=smaller), device))
        )
    elif demand.kv_dtype == "auto" and plan.pool_tokens and device.has_bfloat16 and not on_cpu:
        smaller_kv = replace(demand, kv_dtype=SMALLER_KV)
        found.append(Alternative(f"kv-cache-dtype {SMALLER_KV}", make_plan(smaller_kv, device)))
    context = demand.context // 2 if plan.fits else min(plan.largest_context, demand.context)
    if context >= FEWEST_TOKENS:
        # The pool stays as it is: it is the fraction's, or the profile's own number.
        lower = replace(demand, context=context)
        found.append(Alternative(f"context_length {context}", make_plan(lower, device)))
    if not on_cpu:
        found += [Alternative(f"on {other.device.name}", other) for other in _other_gpus(plan)]
    return found


def _other_gpus(plan: Plan) -> Iterator[Plan]:
    """Yield the plans for the smallest known GPU that fits, and for the next larger one."""
    kinds = sorted(known_gpus().items(), key=lambda item: item[1].memory)
    plans = [
        make_plan(plan.demand, Device(name, gpu.memory, has_bfloat16=gpu.has_bfloat16))
        for name, gpu in kinds
    ]
    fitting = [other for other in plans if other.fits and not other.is_tight]
    ours = plan.device.memory
    smaller = [other for other in fitting if other.device.memory < ours / ANOTHER_SIZE]
    larger = [other for other in fitting if other.device.memory > ours * ANOTHER_SIZE]
    yield from smaller[:1]
    yield from larger[:1]


def gigabytes(size: int) -> str:
    """Show a size as disks and RAM are sold: "1.2 GB"."""
    return f"{size / 1e9:.1f} GB"


def gib(size: int) -> str:
    """Show a size for people: "1.25 GiB", or "4.5 MiB" below a tenth of one."""
    return f"{size / GIB:.2f} GiB" if abs(size) >= GIB / 10 else f"{size / MIB:.1f} MiB"
