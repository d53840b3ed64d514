"""The profiles that ship: each loads, says why, and fits the GPU that it names.

Where a profile speaks of a GPU by a part of its name, it is held to every known GPU that
doctor would take for it: 06b-a10 to an A10, an A10G and both sizes of the A100.

"At least 1.5 GiB or 6 % of the card to spare" is read as the larger of the two, left over
from the whole card after driver, weights, KV pool and SGLang's own estimate of working
memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from sgl_embed_kit.doctor import Status, Subject
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.machine import Gpu
from sgl_embed_kit.machine.gpus import KnownGpu, known_gpus_named
from sgl_embed_kit.model.known import known_model
from sgl_embed_kit.model.shape import ModelShape
from sgl_embed_kit.plan.device import gpu_numbers
from sgl_embed_kit.plan.memory import GIB, GpuMemory, gpu_memory
from sgl_embed_kit.profile import Profile, load_profile
from sgl_embed_kit.profile.loading import bundled_profiles, head_comment
from sgl_embed_kit.profile.yaml_file import read_yaml
from sgl_embed_kit.sglang.command import build_command
from sgl_embed_kit.sglang.flag_history import table_of
from tests.machines import FakeMachine
from tests.real_sglang import parsed_words
from tests.resolution import Case, Resolved, resolve, write_config

LEAST_SPARE = 1.5 * GIB
LEAST_SPARE_SHARE = 0.06
HOPPER = (9, 0)

PROFILES = {name: load_profile(name) for name in bundled_profiles()}


@dataclass(frozen=True)
class OnGpu:
    """A profile on one of the GPUs that it may meet."""

    name: str
    key: str
    gpu: KnownGpu

    @property
    def profile(self) -> Profile:
        return PROFILES[self.name]

    @property
    def model(self) -> ModelShape:
        model = known_model(self.profile.model.path)
        assert model is not None
        return model.shape

    @property
    def memory(self) -> GpuMemory:
        profile, limits = self.profile, self.profile.limits
        assert limits.mem_fraction_static is not None
        assert limits.chunked_prefill_size is not None
        return gpu_memory(
            self.model,
            self.gpu.memory,
            dtype=profile.model.dtype,
            fraction=limits.mem_fraction_static,
            chunk=limits.chunked_prefill_size,
            max_running=limits.max_running_requests,
            tensor=profile.parallel.tensor,
        )

    @property
    def spare_needed(self) -> float:
        return max(LEAST_SPARE, LEAST_SPARE_SHARE * self.gpu.memory)

    def question(self, folder: Path, *, fraction: bool) -> Case:
        """Return what to ask SGLang, with the profile's memory fraction or without."""
        profile = self.profile
        if not fraction:
            limits = profile.limits.model_copy(update={"mem_fraction_static": None})
            profile = profile.model_copy(update={"limits": limits})
        free = self.gpu.memory - self.memory.driver
        hopper = self.gpu.compute_capability == HOPPER
        argv = command_of(profile, str(folder))
        return Case(argv, self.gpu.memory_mib, hopper, free, free - self.memory.weights)


def command_of(profile: Profile, model_path: str) -> tuple[str, ...]:
    table = table_of("0.5.23")
    assert table is not None
    built = build_command(
        profile, table, model_path=model_path, encoder=False, stand_in=None, inherited={}
    )
    return tuple(parsed_words(built.argv))


GPU_PROFILES = [name for name, p in PROFILES.items() if p.hardware.device == "cuda"]
ON_GPUS = [
    OnGpu(name, key, gpu)
    for name in GPU_PROFILES
    for key, gpu in known_gpus_named(PROFILES[name].hardware.gpu or "").items()
]
on_every_gpu = pytest.mark.parametrize("case", ON_GPUS, ids=lambda c: f"{c.name} on {c.key}")
every_profile = pytest.mark.parametrize("name", PROFILES)


def test_what_ships_is_what_was_promised() -> None:
    a10s = {"06b-a10", "06b-a10-dp2", "06b-a10-replica1", "06b-a10-replica2"}
    small = {"06b-t4", "06b-l4", "06b-4090", "06b-a100", "06b-h100", "06b-h200"}
    middle = {"4b-l4", "4b-a10", "4b-a100", "4b-h100", "4b-h200"}
    large = {"8b-l40s", "8b-a100", "8b-h100", "8b-h200"}
    cpu = {"06b-cpu", "minilm-cpu", "tiny-cpu"}
    assert set(PROFILES) == a10s | small | middle | large | cpu


@every_profile
def test_it_survives_a_round_trip(name: str) -> None:
    assert Profile.model_validate(PROFILES[name].model_dump()) == PROFILES[name]


@every_profile
def test_its_command_is_built_for_the_release_that_it_was_computed_for(name: str) -> None:
    argv = command_of(PROFILES[name], "/models/m")
    assert "--is-embedding" in argv
    assert argv[argv.index("--port") + 1] == str(PROFILES[name].server.port)


@every_profile
def test_its_head_says_whether_its_numbers_were_measured_and_on_what(name: str) -> None:
    head = " ".join(head_comment(bundled_profiles()[name]).split())
    if name in GPU_PROFILES:
        assert re.search(
            r"Computed, not measured: nobody in this project has run it on an? \S+", head
        )
    else:
        assert ("Measured:" in head) != ("Computed, not measured" in head)


def uncommented(path: Path) -> list[str]:
    """Return the lines that set a value and say not why.

    The rule: every such line, whether its value is a default or not, ends in a comment or
    has a comment directly above it. The file's head is no such comment.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    head = next(n for n, line in enumerate(lines) if not line.startswith("#"))
    document = read_yaml(path)
    places = {place[:-1] for place in document.origins if place}
    leaves = [origin.line - 1 for place, origin in document.origins.items() if place not in places]
    return [
        lines[at]
        for at in leaves
        if not re.search(r"\s#\s", lines[at])
        and (at == head or not lines[at - 1].lstrip().startswith("# "))
    ]


@every_profile
def test_every_line_says_why(name: str) -> None:
    assert uncommented(bundled_profiles()[name]) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model:\n  path: x  # why\n", []),
        ("model:\n  # why\n  path: x\n", []),
        ("# what for\nmodel:\n  path: x\n", ["  path: x"]),
        ("# what for\nextends: x.yaml\n", ["extends: x.yaml"]),
        ("model:\n  # why\n  path: x\n  dtype: auto\n", ["  dtype: auto"]),
        ("# why\n\nmodel: {path: x}\n", ["model: {path: x}"]),
        ("sglang:\n  extra_args:\n    # why\n    a: [1, 2]\n    b: 1\n", ["    b: 1"]),
    ],
)
def test_the_rule_for_comments_can_be_broken(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    assert uncommented(path) == expected


@pytest.mark.parametrize("name", [n for n, p in PROFILES.items() if known_model(p.model.path)])
def test_it_agrees_with_what_is_known_of_its_model(name: str) -> None:
    profile = PROFILES[name]
    model = known_model(profile.model.path)
    assert model is not None
    assert profile.model.revision == model.revision
    assert profile.embedding.dimensions == model.shape.hidden_size
    assert profile.embedding.matryoshka
    assert profile.limits.context_length is not None
    # The cards of all three promise 32768, whatever config.json says.
    assert profile.limits.context_length <= min(model.shape.positions, 32768)


@pytest.mark.parametrize("name", GPU_PROFILES)
def test_its_gpu_is_known(name: str) -> None:
    assert PROFILES[name].hardware.gpu
    assert any(case.name == name for case in ON_GPUS)


@on_every_gpu
def test_it_fits_with_memory_to_spare(case: OnGpu) -> None:
    assert case.memory.spare >= case.spare_needed


@on_every_gpu
def test_its_pool_holds_a_full_context(case: OnGpu) -> None:
    assert case.profile.limits.context_length is not None
    assert case.memory.pool_tokens >= case.profile.limits.context_length


@on_every_gpu
def test_a_gpu_without_bfloat16_is_not_asked_for_it(case: OnGpu) -> None:
    assert case.gpu.has_bfloat16 or case.profile.model.dtype == "float16"


@on_every_gpu
def test_doctor_takes_the_gpu_for_the_one_that_is_meant(case: OnGpu) -> None:
    (check,) = (check for check in CHECKS if check.id == "SGE-ENG-001")
    for name in case.gpu.names:
        gpus = (Gpu(name, case.gpu.memory, case.gpu.memory),) * (gpu_numbers(case.profile)[-1] + 1)
        subject = Subject.of(case.profile, None, FakeMachine(devices=gpus))
        assert check.look(subject).status is Status.OK


def memory_line(case: OnGpu) -> str:
    """Return the line of a profile's head that shows what becomes of a GPU's memory."""
    memory = case.memory
    parts = [
        f"driver {memory.driver / GIB:.1f}",
        f"weights {memory.weights / GIB:.1f}",
        f"pool {memory.pool / GIB:.1f} ({memory.pool_tokens} tokens)",
        f"working {memory.working / GIB:.1f}",
        f"spare {memory.spare / GIB:.1f}",
    ]
    return f"{case.key}, {case.gpu.memory / GIB:.1f} GiB: {', '.join(parts)}"


@pytest.mark.parametrize("name", GPU_PROFILES)
def test_the_numbers_in_its_head_are_the_arithmetics(name: str) -> None:
    path = bundled_profiles()[name]
    shown = {line for line in head_comment(path).splitlines() if " GiB: driver " in line}
    assert shown <= {memory_line(case) for case in ON_GPUS if case.name == name}
    sets_a_gpu = ("hardware", "gpu") in read_yaml(path).origins
    assert bool(shown) == sets_a_gpu


@pytest.fixture(scope="module")
def by_itself_and_as_told(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[OnGpu, tuple[Resolved, Resolved]]:
    """What SGLang makes of each profile without its memory fraction, and with it."""
    root = tmp_path_factory.mktemp("models")
    folders = {
        case.model: write_config(root / str(case.model.hidden_size), case.model)
        for case in {case.model: case for case in ON_GPUS}.values()
    }
    resolved = resolve(
        case.question(folders[case.model], fraction=fraction)
        for case in ON_GPUS
        for fraction in (False, True)
    )
    return dict(zip(ON_GPUS, zip(resolved[::2], resolved[1::2], strict=True), strict=True))


Judged = dict[OnGpu, tuple[Resolved, Resolved]]


@pytest.mark.server
@on_every_gpu
def test_what_sglang_itself_would_keep_free_fits_beside_weights_and_pool(
    case: OnGpu, by_itself_and_as_told: Judged
) -> None:
    default = by_itself_and_as_told[case][0].fraction
    kept_free = (1 - default) * case.gpu.memory
    memory, limits = case.memory, case.profile.limits
    taken = memory.driver + memory.weights + memory.pool + kept_free
    rounding = 0.0005 * case.gpu.memory  # SGLang rounds its fraction to three digits
    assert taken + case.spare_needed <= case.gpu.memory + rounding
    assert limits.mem_fraction_static is not None
    assert limits.mem_fraction_static <= default - case.spare_needed / case.gpu.memory


@pytest.mark.server
@on_every_gpu
def test_sglang_serves_with_what_the_profile_says(
    case: OnGpu, by_itself_and_as_told: Judged
) -> None:
    limits = case.profile.limits
    for resolved in by_itself_and_as_told[case]:
        assert resolved.device == "cuda"
        assert resolved.chunk == limits.chunked_prefill_size
        assert resolved.context_length == limits.context_length
        assert resolved.prefill_backend == "breakable"  # for which memory is set aside
    told = by_itself_and_as_told[case][1]
    assert told.fraction == limits.mem_fraction_static
    assert limits.context_length is not None
    assert told.pool_tokens >= limits.context_length
    assert told.pool_tokens == pytest.approx(case.memory.pool_tokens, abs=1)


@pytest.mark.server
@pytest.mark.parametrize("name", GPU_PROFILES)
def test_the_fraction_that_it_calls_sglangs_own_is_sglangs_own(
    name: str, by_itself_and_as_told: Judged
) -> None:
    path = bundled_profiles()[name]
    head = head_comment(path).splitlines()
    for case, (by_itself, _) in by_itself_and_as_told.items():
        if case.name == name and any(line.startswith(f"{case.key}, ") for line in head):
            assert f"{by_itself.fraction}" in path.read_text(encoding="utf-8")


def test_two_replicas_differ_in_port_and_gpu_alone() -> None:
    first, second = PROFILES["06b-a10-replica1"], PROFILES["06b-a10-replica2"]
    assert first.server.port != second.server.port
    assert first.sglang.extra_args == {}  # GPU 0
    assert second.sglang.extra_args == {"base-gpu-id": 1}
    same = {"server": first.server, "sglang": first.sglang}
    assert second.model_copy(update=same) == first


def test_the_copies_of_a_data_parallel_server_each_have_a_gpu() -> None:
    profile = PROFILES["06b-a10-dp2"]
    assert profile.parallel.data == profile.hardware.gpus == 2
    assert profile.limits == PROFILES["06b-a10"].limits
