"""The GPUs that a server would use: what the checks find."""

import dataclasses
from typing import Any

import pytest

from sgl_embed_kit.doctor import Subject, run_checks
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.checks.gpu import KERNELS_FROM, severest
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.machine import Gpu, Nvidia
from sgl_embed_kit.machine.cuda_probe import Probed
from sgl_embed_kit.machine.gpus import BFLOAT16_FROM, KnownGpu, known_gpus, known_gpus_named
from sgl_embed_kit.machine.kernel_log import Xid
from sgl_embed_kit.plan.device import gpu_numbers
from sgl_embed_kit.profile import Profile, load_profile
from sgl_embed_kit.profile.loading import bundled_profiles
from tests.doctor.checks.cases import BY_ID, SGLANG, Case, find
from tests.machines import FakeMachine, healthy_gpu

CUDA = {"device": "cuda"}
WITH_TORCH = dataclasses.replace(SGLANG, torch_cuda="13.0")
A10, H200 = healthy_gpu("NVIDIA A10"), healthy_gpu("NVIDIA H200", 1)
PART = dataclasses.replace(
    A10, name="NVIDIA A100-SXM4-40GB MIG 3g.20gb", uuid="MIG-1", mig=None, slowdowns=None
)
DIVIDED = dataclasses.replace(A10, mig=True, instances=(PART,))
EMPTY = dataclasses.replace(A10, mig=True)


def on(*gpus: Gpu, **said: Any) -> dict[str, Any]:
    """Return the options of a profile for GPUs on a machine with these."""
    facts: dict[str, Any] = {"driver": "580.95.05", "cuda": (13, 0), "source": "NVML", **said}
    driver = Nvidia(gpus, **facts)
    return {"hardware": CUDA, "installed": WITH_TORCH, "machine": FakeMachine(driver=driver)}


def a10(**changes: Any) -> Gpu:
    return dataclasses.replace(A10, **changes)


def chosen(setting: str, *gpus: Gpu, **said: Any) -> dict[str, Any]:
    options = on(*gpus, **said)
    options["machine"].variables["CUDA_VISIBLE_DEVICES"] = setting
    return options


def probing(*found: Probed, **options: Any) -> dict[str, Any]:
    return {"hardware": CUDA, "machine": FakeMachine(devices=(A10,), probed=found), **options}


def reporting(*xids: Xid) -> dict[str, Any]:
    return {"hardware": CUDA, "machine": FakeMachine(devices=(A10,), reported=xids)}


SECOND: dict[str, Any] = {"sglang": {"extra_args": {"base-gpu-id": 1}}}
NO_DRIVER = {"hardware": CUDA, "installed": WITH_TORCH}
NO_TORCH = {**on(A10), "installed": dataclasses.replace(SGLANG, torch_cuda=None)}
CPU_TORCH = {**on(A10), "installed": dataclasses.replace(SGLANG, torch_cuda="")}
NEXT_TORCH = {
    **on(A10, cuda=None),
    "installed": dataclasses.replace(SGLANG, torch_cuda="99.0"),
}

CASES: list[Case] = [
    ("SGE-GPU-001", {}, Status.OK, "needed on a CPU"),
    (
        "SGE-GPU-001",
        on(source="", is_silent=True, trouble="NVML: no answer within 20 s"),
        Status.ERROR,
        "the NVIDIA driver does not answer (NVML: no answer within 20 s)",
    ),
    ("SGE-GPU-001", on(A10), Status.OK, "driver 580.95.05 for CUDA 13.0; torch is built for CUDA"),
    ("SGE-GPU-001", on(A10, driver="999.1", cuda=(14, 0)), Status.OK, "driver 999.1"),
    ("SGE-GPU-001", on(A10, driver="550.54", cuda=(12, 4)), Status.ERROR, "driver 550.54"),
    ("SGE-GPU-001", on(A10, driver="550.54", cuda=(13, 0)), Status.OK, "550.54 for CUDA 13.0"),
    ("SGE-GPU-001", on(A10, driver="580.65.06", cuda=None), Status.OK, "driver 580.65.06;"),
    ("SGE-GPU-001", on(A10, driver="580", cuda=None), Status.OK, "driver 580;"),
    ("SGE-GPU-001", on(A10, driver="579.99", cuda=None), Status.ERROR, "driver 579.99;"),
    ("SGE-GPU-001", on(A10, driver=None, cuda=None), Status.SKIP, "of an unknown release"),
    ("SGE-GPU-001", NEXT_TORCH, Status.SKIP, "which driver that needs is not known"),
    ("SGE-GPU-001", NO_TORCH, Status.SKIP, "there is no torch"),
    ("SGE-GPU-001", {**on(A10), "installed": None}, Status.SKIP, "there is no torch"),
    ("SGE-GPU-001", CPU_TORCH, Status.ERROR, "built without CUDA"),
    ("SGE-GPU-001", NO_DRIVER, Status.ERROR, "no NVIDIA driver answers (NVML: NVML Shared"),
    ("SGE-GPU-001", on(source="", trouble="NVML: mismatch"), Status.ERROR, "(NVML: mismatch)"),
    ("SGE-GPU-001", on(trouble="GPU 0: GPU is lost"), Status.ERROR, "GPU 0: GPU is lost"),
    ("SGE-GPU-001", on(a10(persistence=False)), Status.INFO, "persistence mode is off"),
    ("SGE-GPU-001", on(a10(persistence=None)), Status.OK, "driver 580"),
    ("SGE-GPU-002", {}, Status.OK, "no GPU is asked for"),
    ("SGE-GPU-002", on(A10), Status.OK, "CUDA shows 1 of 1 GPU; the server takes GPU 0"),
    ("SGE-GPU-002", {**on(A10, A10), **SECOND}, Status.OK, "the server takes GPU 1"),
    ("SGE-GPU-002", {"hardware": CUDA}, Status.SKIP, "no NVIDIA GPU"),
    ("SGE-GPU-002", chosen("0", A10, A10), Status.OK, "CUDA shows 1 of 2 GPUs"),
    ("SGE-GPU-002", chosen("5", A10), Status.ERROR, "CUDA_VISIBLE_DEVICES=5: there is no GPU '5'"),
    ("SGE-GPU-002", chosen("0,5", A10), Status.WARN, "CUDA_VISIBLE_DEVICES=0,5: there is no GPU"),
    ("SGE-GPU-002", chosen("", A10), Status.ERROR, "CUDA_VISIBLE_DEVICES=: hides all GPUs"),
    ("SGE-GPU-002", on(EMPTY), Status.ERROR, "none of its instances can be seen"),
    ("SGE-GPU-002", on(EMPTY, A10), Status.OK, "CUDA shows 1 of 2 GPUs"),
    ("SGE-GPU-002", {**on(A10), **SECOND}, Status.OK, "CUDA shows 1 of 1 GPU"),
    ("SGE-GPU-002", on(DIVIDED), Status.OK, "CUDA shows 1 of 1 GPU"),
    ("SGE-GPU-002", on(A10, H200), Status.WARN, "GPUs of 2 kinds (NVIDIA A10, NVIDIA H200)"),
    ("SGE-GPU-002", chosen("GPU-00", A10, H200), Status.OK, "CUDA shows 1 of 2"),
    ("SGE-GPU-003", {}, Status.OK, "no GPU is asked for"),
    ("SGE-GPU-003", on(A10), Status.OK, "NVIDIA A10: compute capability 8.6, with bfloat16"),
    ("SGE-GPU-003", on(a10(compute_capability=(8, 0))), Status.OK, "8.0, with bfloat16"),
    ("SGE-GPU-003", on(a10(compute_capability=(7, 5))), Status.WARN, "7.5: SGLang serves float16"),
    ("SGE-GPU-003", on(a10(compute_capability=(7, 0))), Status.ERROR, "7.0, for which SGLang ends"),
    ("SGE-GPU-003", on(a10(compute_capability=None)), Status.SKIP, "does not tell its kind"),
    ("SGE-GPU-003", {"hardware": CUDA}, Status.SKIP, "no GPU that the server could use"),
    ("SGE-GPU-004", {}, Status.OK, "no GPU is asked for"),
    ("SGE-GPU-004", on(A10), Status.OK, "a CUDA context and memory to write to on GPU 0"),
    ("SGE-GPU-004", {"hardware": CUDA}, Status.SKIP, "no GPU"),
    ("SGE-GPU-004", probing(Probed(0, error="cuInit says X (2)")), Status.ERROR, "GPU 0: cuInit"),
    ("SGE-GPU-005", {}, Status.OK, "no GPU is asked for"),
    ("SGE-GPU-005", on(A10), Status.OK, "no memory errors"),
    ("SGE-GPU-005", on(a10(uncorrected_errors=None)), Status.OK, "no memory errors"),
    ("SGE-GPU-005", on(a10(repair_pending=None)), Status.OK, "no memory errors"),
    ("SGE-GPU-005", on(a10(uncorrected_errors=1)), Status.WARN, "1 memory error since"),
    ("SGE-GPU-005", on(a10(uncorrected_errors=3)), Status.WARN, "3 memory errors since"),
    ("SGE-GPU-005", on(a10(repair_pending=True)), Status.WARN, "waits to be replaced"),
    ("SGE-GPU-005", on(a10(repair_failed=True)), Status.ERROR, "could not be replaced"),
    (
        "SGE-GPU-005",
        on(a10(uncorrected_errors=None, repair_pending=None, repair_failed=None)),
        Status.SKIP,
        "does not tell of memory errors",
    ),
    ("SGE-GPU-006", {}, Status.OK, "no GPU is asked for"),
    ("SGE-GPU-006", on(A10), Status.OK, "reported no trouble"),
    (
        "SGE-GPU-006",
        reporting(Xid(79, "0000:00:00", 7200)),
        Status.WARN,
        "off the bus (Xid 79, 2 h",
    ),
    ("SGE-GPU-006", reporting(Xid(79, "0000:99:00", 7200)), Status.OK, "reported no trouble"),
    ("SGE-GPU-006", reporting(Xid(31, "0000:00:00", 7200)), Status.INFO, "1 report on programs"),
    (
        "SGE-GPU-006",
        {"hardware": CUDA, "machine": FakeMachine(devices=(A10,), reported=None)},
        Status.SKIP,
        "cannot be read",
    ),
    ("SGE-GPU-007", {}, Status.OK, "no GPU is asked for"),
    ("SGE-GPU-007", on(A10), Status.OK, "nothing slows it down"),
    ("SGE-GPU-007", on(a10(slowdowns=("power brake",))), Status.WARN, "down now: power brake"),
    ("SGE-GPU-007", on(a10(slowdowns=None)), Status.SKIP, "does not tell what slows it down"),
]


GPU_PROFILES = [
    pytest.param(name, profile, gpu, id=f"{name} on {gpu.names[0]}")
    for name, profile in ((name, load_profile(name)) for name in bundled_profiles())
    if profile.hardware.device == "cuda"
    for gpu in known_gpus_named(profile.hardware.gpu or "").values()
]
"""Each bundled profile for a GPU with every known GPU that it may meet."""


@pytest.mark.parametrize(("name", "profile", "gpu"), GPU_PROFILES)
def test_a_bundled_profile_on_its_gpu_is_all_well(
    name: str, profile: Profile, gpu: KnownGpu
) -> None:
    count = gpu_numbers(profile)[-1] + 1
    gpus = tuple(healthy_gpu(gpu.names[0], index) for index in range(count))
    subject = Subject.of(profile, WITH_TORCH, FakeMachine(devices=gpus))
    checks = [check for check in CHECKS if check.about.category == "hardware"]
    report = run_checks(subject, [*checks, BY_ID["SGE-MEM-001"]])
    told = [
        (result.check.id, result.finding.status, result.finding.found)
        for result in report.results
        if result.finding.status is not Status.OK
    ]
    # No kernels are compiled for a T4, which is true of a healthy one, too.
    assert [check for check, _, _ in told] == (["SGE-GPU-003"] if name == "06b-t4" else []), told


def test_the_second_of_two_servers_needs_two_gpus() -> None:
    profile = load_profile("06b-a10-replica2")
    for count, status in ((1, Status.ERROR), (2, Status.OK)):
        machine = FakeMachine(devices=tuple(healthy_gpu("NVIDIA A10", i) for i in range(count)))
        finding = BY_ID["SGE-ENG-001"].look(Subject.of(profile, SGLANG, machine))
        assert finding.status is status
    one = FakeMachine(devices=(A10,))
    finding = BY_ID["SGE-ENG-001"].look(Subject.of(profile, SGLANG, one))
    assert finding.needed.startswith("2 GPUs: with base-gpu-id 1 and gpu-id-step 1 the server")


@pytest.mark.parametrize(
    ("extra", "parallel", "numbers"),
    [
        ({}, {}, [0]),
        ({"base-gpu-id": 2}, {"tensor": 2}, [2, 3]),
        ({"gpu-id-step": 2}, {"tensor": 2, "data": 2}, [0, 2, 4, 6]),
        ({"gpu-id-step": 0}, {"tensor": 2}, [0, 1]),
    ],
)
def test_the_gpus_of_a_server_are_numbered_as_sglang_does(
    extra: dict[str, int], parallel: dict[str, int], numbers: list[int]
) -> None:
    content = {"model": {"path": "tiny:"}, "parallel": parallel, "sglang": {"extra_args": extra}}
    assert list(gpu_numbers(Profile.model_validate(content))) == numbers


def test_only_the_gpus_that_the_server_takes_are_looked_at() -> None:
    hot = dataclasses.replace(A10, index=1, slowdowns=("power brake",))
    assert find("SGE-GPU-007", **on(A10, hot)).status is Status.OK
    assert find("SGE-GPU-007", **on(A10, hot), **SECOND).status is Status.WARN
    assert find("SGE-GPU-007", **on(A10, hot), parallel={"data": 2}).status is Status.WARN


def test_another_kind_of_gpu_in_its_place_is_not_the_one_expected() -> None:
    options = {**on(H200, A10), "hardware": {"device": "cuda", "gpu": "A10"}}
    assert find("SGE-ENG-001", **options).status is Status.WARN
    assert find("SGE-ENG-001", **options, **SECOND).status is Status.OK


def test_a_variable_of_the_profile_counts_for_the_server() -> None:
    hidden = find("SGE-GPU-002", **on(A10), env={"CUDA_VISIBLE_DEVICES": "3"})
    assert hidden.status is Status.ERROR
    assert hidden.fix == "env: {CUDA_VISIBLE_DEVICES: '0'}  # in the profile"
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert find("SGE-GPU-002", **on(A10, H200), env=order).status is Status.OK
    engine = find("SGE-ENG-001", **on(A10), env={"CUDA_VISIBLE_DEVICES": "3"})
    assert engine.status is Status.ERROR


def test_the_probe_gets_the_servers_gpus_and_variables() -> None:
    asked: list[tuple[tuple[int, ...], dict[str, str]]] = []

    class Machine(FakeMachine):
        def probe_cuda(self, ordinals: tuple[int, ...], variables: Any) -> tuple[Probed, ...]:
            asked.append((ordinals, dict(variables)))
            return super().probe_cuda(ordinals, variables)

    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    env = {**order, "NCCL_DEBUG": "INFO"}
    find("SGE-GPU-004", Machine(devices=(A10, A10)), hardware=CUDA, env=env, **SECOND)
    assert asked == [((1,), order)]


@pytest.mark.parametrize(
    ("trouble", "fix"),
    [
        ("NVML: RM has detected an NVML/RM version mismatch.", "sudo reboot"),
        ("NVML: Driver Not Loaded", "sudo apt install nvidia-driver-580"),
    ],
)
def test_a_driver_that_does_not_answer_has_a_cure(trouble: str, fix: str) -> None:
    assert find("SGE-GPU-001", **on(source="", trouble=trouble)).fix.startswith(fix)


@pytest.mark.parametrize(
    ("torch", "needed", "fix"),
    [
        ("13.0", "a driver for CUDA 13: 580 or newer", "sudo apt install nvidia-driver-580"),
        ("99.0", "a driver for CUDA 99", "sudo ubuntu-drivers install"),
    ],
)
def test_a_driver_that_is_too_old_has_a_cure(torch: str, needed: str, fix: str) -> None:
    installed = dataclasses.replace(SGLANG, torch_cuda=torch)
    finding = find("SGE-GPU-001", **{**on(A10, cuda=(12, 4)), "installed": installed})
    assert (finding.status, finding.needed, finding.fix) == (Status.ERROR, needed, fix)


@pytest.mark.parametrize(
    ("error", "fix"),
    [("CUDA_ERROR_OUT_OF_MEMORY (2)", "nvidia-smi"), ("no answer within 10 s", "dmesg")],
)
def test_a_context_that_fails_has_a_cure(error: str, fix: str) -> None:
    assert fix in find("SGE-GPU-004", **probing(Probed(0, error=error))).fix


@pytest.mark.parametrize(("index", "which"), [(0, " -i 0"), (None, "")])
def test_a_command_about_a_gpu_names_it_where_its_number_is_known(
    index: int | None, which: str
) -> None:
    errors = find("SGE-GPU-005", **on(a10(index=index, uncorrected_errors=3)))
    assert errors.fix == f"nvidia-smi -q{which} -d ECC,ROW_REMAPPER"
    slow = find("SGE-GPU-007", **on(a10(index=index, slowdowns=("power brake",))))
    assert slow.fix == f"nvidia-smi -q{which} -d PERFORMANCE,TEMPERATURE,POWER"


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(59, "59 s"), (60, "1 min"), (3600, "1 h"), (86400, "1 d"), (200_000, "2 d")],
)
def test_the_age_of_a_report_is_in_a_unit_that_people_use(seconds: float, age: str) -> None:
    found = find("SGE-GPU-006", **reporting(Xid(79, "0000:00:00", seconds))).found
    assert f"(Xid 79, {age} ago)" in found


def test_reports_are_told_the_newest_with_how_many_came_before() -> None:
    xids = [
        Xid(number, "0000:00:00", ago) for number, ago in ((48, 9e5), (79, 90), (94, 9), (119, 0))
    ]
    found = find("SGE-GPU-006", **reporting(*xids)).found
    assert "(Xid 79, 2 min ago)" in found
    assert "(Xid 94, 9 s ago)" in found
    assert found.endswith(", and 1 before")
    assert "Xid 48" not in found
    old = find("SGE-GPU-006", **reporting(xids[0])).found
    assert "(Xid 48, 10 d ago)" in old


def test_the_worst_of_several_gpus_is_told() -> None:
    findings = [Finding(status, status.value) for status in (Status.OK, Status.INFO, Status.WARN)]
    assert severest(findings).status is Status.WARN
    assert severest([*findings, Finding(Status.ERROR, "x")]).status is Status.ERROR
    assert severest(findings[:2]).status is Status.INFO


@pytest.mark.parametrize(
    "check", [check for check in CHECKS if "GPU" in check.id or "VRAM" in check.id]
)
def test_no_cure_does_harm(check: Any) -> None:
    texts = " ".join([check.about.cure, check.about.why, *(_fixes(check.id))])
    for harmful in ("gpu-reset", "--disable-flash-attn", "killall", "fuser -k", "kill -9"):
        assert harmful not in texts


def _fixes(check: str) -> list[str]:
    return [find(check, **options).fix for name, options, _, _ in CASES if name == check]


def test_every_gpu_with_kernels_has_bfloat16() -> None:
    assert KERNELS_FROM >= BFLOAT16_FROM


def test_every_known_gpu_but_the_t4_has_its_kernels() -> None:
    for gpu in known_gpus().values():
        status = find("SGE-GPU-003", **on(healthy_gpu(gpu.names[0]))).status
        assert status is (Status.WARN if gpu.names == ("Tesla T4",) else Status.OK)
