"""The plan: what fits, what breaks it, and what would change it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sgl_embed_kit.machine.gpus import known_gpus
from sgl_embed_kit.model.known import known_models
from sgl_embed_kit.plan.device import named_gpu
from sgl_embed_kit.plan.memory import GIB, MIB, THREE_PROCESSES, driver_bytes
from sgl_embed_kit.plan.plan import (
    Demand,
    Device,
    Plan,
    alternatives,
    demand_of,
    gib,
    make_plan,
)
from sgl_embed_kit.plan.shapes import MINILM, TINY
from sgl_embed_kit.profile import Profile, load_profile

SMALL, MIDDLE, LARGE = (
    known_models()[f"Qwen/Qwen3-Embedding-{size}"].shape for size in ("0.6B", "4B", "8B")
)
SMALL_8K = Demand("small", SMALL, "auto", 8192, fraction=0.55, chunk=4096, max_running=256)
LARGE_32K = Demand("large", LARGE, "auto", 32768, fraction=0.7, chunk=4096, max_running=256)
MINILM_256 = Demand("minilm", MINILM, "float32", 257, fraction=0.5, max_tokens=16384, chunk=-1)
RAM = Device("the CPU", 24 * GIB, 20 * GIB, is_cpu=True)


def on(gpu: str, demand: Demand, **changes: object) -> Plan:
    return make_plan(replace(demand, **changes), named_gpu(gpu))  # type: ignore[arg-type]


def parts(plan: Plan) -> int:
    return plan.others + plan.base + plan.weights + plan.pool + plan.working + plan.spare


@given(
    device=st.sampled_from([*known_gpus(), "CPU"]),
    demand=st.sampled_from([SMALL_8K, LARGE_32K, MINILM_256]),
    fraction=st.none() | st.floats(0.01, 0.99),
    max_tokens=st.none() | st.integers(64, 10**7),
    chunk=st.none() | st.just(-1) | st.integers(1, 65536),
    page=st.sampled_from([1, 16, 64]),
    free=st.none() | st.floats(0, 1),
    context=st.integers(8, 40960),
)
def test_whatever_is_asked_the_parts_add_up_and_the_answers_agree(
    device: str,
    demand: Demand,
    fraction: float | None,
    max_tokens: int | None,
    chunk: int | None,
    page: int,
    free: float | None,
    context: int,
) -> None:
    on_what = RAM if device == "CPU" else named_gpu(device)
    if free is not None:
        on_what = replace(on_what, free=int(on_what.memory * free))
    asked = replace(
        demand, fraction=fraction, max_tokens=max_tokens, chunk=chunk, page=page, context=context
    )
    plan = make_plan(asked, on_what)
    assert parts(plan) == plan.device.memory
    assert min(plan.others, plan.base, plan.weights, plan.pool, plan.pool_tokens) >= 0
    assert plan.pool_tokens % page == 0
    assert plan.fits == (plan.faults == ())
    if plan.fits:
        assert plan.pool_tokens >= context
        assert plan.largest_context >= min(context, asked.shape.positions)
        assert plan.in_flight(context) >= 1
    if max_tokens is not None:
        assert plan.pool_tokens <= max_tokens
    assert plan.in_flight(128) >= plan.in_flight(2048)
    for other in alternatives(plan):
        assert parts(other.plan) == other.plan.device.memory


def test_a_profile_that_ships_is_asked_for_as_it_says() -> None:
    demand = demand_of(load_profile("8b-a100"), LARGE, encoder=False)
    assert demand == replace(LARGE_32K, model="qwen3-embedding-8b")


def test_what_the_flags_of_a_profile_change_is_counted_or_named() -> None:
    extra = {"page-size": 64, "kv-cache-dtype": "fp8_e4m3", "quantization": "fp8"}
    content = {"model": {"path": "org/m"}, "sglang": {"extra_args": extra}}
    demand = demand_of(Profile.model_validate(content), SMALL, encoder=False)
    assert (demand.page, demand.kv_dtype) == (64, "fp8_e4m3")
    assert demand.uncounted == ("quantization",)
    assert "quantization changes this sum" in on("A10", demand).warnings[-1]
    extra["kv-cache-dtype"] = "mxfp8"
    demand = demand_of(Profile.model_validate(content), SMALL, encoder=False)
    assert (demand.kv_dtype, demand.uncounted) == ("auto", ("quantization", "kv-cache-dtype"))


def test_an_encoder_takes_whole_texts_and_half_of_the_memory() -> None:
    content = {"model": {"path": "org/m"}, "limits": {"context_length": 257}}
    demand = demand_of(Profile.model_validate(content), MINILM, encoder=True)
    assert (demand.chunk, demand.fraction) == (-1, 0.5)


def test_weights_larger_than_the_share_break_it() -> None:
    (fault,) = on("A10", LARGE_32K).faults
    assert fault.line == "weights"
    assert "15.25 GiB of weights do not fit into 14.96 GiB" in fault.text


def test_a_pool_below_the_context_breaks_it_in_sglangs_words() -> None:
    (fault,) = on("A10", SMALL_8K, max_tokens=8000).faults
    assert fault.line == "KV pool"
    assert "KV pool holds 8000 tokens, fewer than --context-length 8192" in fault.text
    assert on("A10", SMALL_8K, max_tokens=8192).fits
    cure = on("A10", SMALL_8K, max_tokens=8000).cure
    assert cure == "limits: {max_total_tokens: 8192}  # in the profile"


def test_no_room_for_a_prefill_breaks_it() -> None:
    (fault,) = on("A10", SMALL_8K, fraction=0.97).faults
    assert fault.line == "working memory"


def test_less_working_memory_than_sglang_would_keep_is_tight_but_fits() -> None:
    plan = on("A10", SMALL_8K, fraction=0.7)
    assert (plan.fits, plan.is_tight) == (True, True)
    assert "less than the 7.11 GiB that SGLang would keep" in plan.warnings[0]
    assert not on("A10", SMALL_8K, fraction=plan.most_fraction).is_tight
    assert plan.cure == "limits: {mem_fraction_static: 0.66}  # in the profile"


def test_the_smallest_fraction_holds_one_context_and_one_less_does_not() -> None:
    plan = on("A10", SMALL_8K)
    assert plan.least_fraction is not None
    assert on("A10", SMALL_8K, fraction=plan.least_fraction).fits
    assert not on("A10", SMALL_8K, fraction=plan.least_fraction - 0.01).fits


MIDDLE_40K = Demand("middle", MIDDLE, "auto", 40960, chunk=2048, max_running=256)


def test_the_largest_possible_context_fits_and_a_longer_one_does_not() -> None:
    plan = on("T4", MIDDLE_40K)
    longest, best = plan.largest_possible_context, plan.most_fraction
    assert 0 < longest < MIDDLE.positions
    assert on("T4", MIDDLE_40K, fraction=best, context=longest).fits
    assert not on("T4", MIDDLE_40K, fraction=best, context=longest + 1).fits
    assert f"limits: {{context_length: {longest}, mem_fraction_static: {best}}}" in plan.cure


def test_a_smaller_chunk_is_the_cure_where_it_makes_room_for_the_context() -> None:
    plan = on("L4", MIDDLE_40K, fraction=0.9, chunk=8192)
    assert "chunked_prefill_size: 2048" in plan.cure
    assert "a larger GPU" in on("T4", LARGE_32K).cure


def test_what_others_hold_of_the_gpu_is_missing_from_the_pool() -> None:
    memory = named_gpu("A10").memory
    alone = make_plan(SMALL_8K, named_gpu("A10"))
    idle = make_plan(SMALL_8K, Device("A10", memory, memory - 600 * MIB))
    shared = make_plan(SMALL_8K, Device("A10", memory, 10 * GIB))
    assert (idle.others, idle.pool_tokens) == (0, alone.pool_tokens)
    assert shared.others == memory - driver_bytes(memory) - shared.free_at_load > 10 * GIB
    assert shared.pool_tokens < alone.pool_tokens // 2
    assert not make_plan(LARGE_32K, Device("A100", 80 * GIB, 10 * GIB)).fits


def test_a_limit_above_what_the_fraction_gives_is_a_warning() -> None:
    plan = on("A10", SMALL_8K, max_tokens=10**6)
    assert plan.fits
    assert f"leaves room for {plan.pool_tokens}" in plan.warnings[0]


def test_a_gpu_without_bfloat16_says_what_sglang_makes_of_it() -> None:
    assert "loads the model as float16" in on("T4", SMALL_8K).warnings[-1]
    assert not any("float16" in text for text in on("T4", SMALL_8K, dtype="float16").warnings)


def test_texts_in_flight_are_bound_by_pool_and_limit_in_whole_pages() -> None:
    plan = on("A10", SMALL_8K)
    assert plan.in_flight(8192) == plan.pool_tokens // 8192
    assert plan.in_flight(1) == 256
    paged = on("A10", SMALL_8K, page=64, max_running=None)
    assert paged.in_flight(65) == min(paged.pool_tokens // 128, paged.running)


def test_sglang_by_itself_runs_2048_to_4096_texts_but_half_the_pool_at_most() -> None:
    assert on("A10", SMALL_8K, max_running=None, context=40960).running == 2048
    assert on("H200", SMALL_8K, max_running=None).running == 4096
    assert on("A10", SMALL_8K, max_running=None, context=64, max_tokens=100).running == 50


def test_an_encoder_on_a_small_gpu_is_not_charged_for_chunks_that_it_has_not() -> None:
    plan = on("T4", MINILM_256)
    assert plan.fits
    assert plan.working == plan.least_working < GIB


def test_two_gpus_share_weights_and_pool() -> None:
    alone, shared = on("A10", LARGE_32K), on("A10", LARGE_32K, tensor=2)
    assert not alone.fits
    assert shared.fits
    assert shared.token_bytes == alone.token_bytes // 2


def test_alternatives_are_a_smaller_type_a_lower_context_and_other_gpus() -> None:
    found = {other.change: other.plan for other in alternatives(on("A100-40GB", LARGE_32K))}
    plan = on("A100-40GB", LARGE_32K)
    assert list(found) == [
        "kv-cache-dtype fp8_e5m2",
        "context_length 16384",
        "on RTX 5090",
        "on H100",
    ]
    assert found["on RTX 5090"].device.memory < plan.device.memory
    assert found["kv-cache-dtype fp8_e5m2"].pool_tokens // 2 == plan.pool_tokens
    assert found["on H100"].pool_tokens > 3 * plan.pool_tokens
    in_float32 = alternatives(on("A100-40GB", SMALL_8K, dtype="float32"))
    assert in_float32[0].change == "model.dtype bfloat16"
    assert in_float32[0].plan.weights * 2 == on("A10", SMALL_8K, dtype="float32").weights


def test_the_smallest_gpu_that_fits_is_named_where_this_one_does_not_do() -> None:
    changes = [other.change for other in alternatives(on("A10", LARGE_32K))]
    assert "on RTX 5090" in changes


def test_on_a_cpu_the_sum_is_processes_weights_pool_and_activations() -> None:
    demand = Demand("tiny", TINY, "auto", 4096, max_tokens=16384)
    plan = make_plan(demand, RAM)
    assert plan.fits
    assert plan.base == THREE_PROCESSES
    assert plan.others == 4 * GIB
    assert plan.pool_tokens == 16384
    assert plan.pool == (16384 + 1) * plan.token_bytes
    assert plan.needed == plan.base + plan.weights + plan.pool + plan.working


def test_more_ram_asked_for_than_there_is_breaks_it() -> None:
    demand = Demand("small", SMALL, "auto", 8192, max_tokens=200_000)
    (fault,) = make_plan(demand, RAM).faults
    assert fault.line == "KV pool"
    assert "are available" in fault.text


def test_sizes_for_people() -> None:
    assert [gib(size) for size in (0, MIB, GIB, 3 * GIB // 2)] == [
        "0.0 MiB",
        "1.0 MiB",
        "1.00 GiB",
        "1.50 GiB",
    ]
