"""Checks of the GPUs that a server would use: driver, choice, kind, health, a real context."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.machine import Gpu, Nvidia
from sgl_embed_kit.machine.cuda_drivers import least_driver
from sgl_embed_kit.machine.cuda_probe import Probed
from sgl_embed_kit.machine.kernel_log import Xid, hardware_xids
from sgl_embed_kit.machine.nvidia import BY_BUS, ORDER, VISIBLE
from sgl_embed_kit.plan.device import gpu_numbers, gpus_for
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.patch import patch
from sgl_embed_kit.sglang.versions import release_of

OLDEST = (7, 5)
""""SGLang only supports sm75 and above." (maybe_downgrade_dtype_for_legacy_gpu,
srt/model_executor/model_runner_components/load_model_utils.py)"""
KERNELS_FROM = (8, 0)
"""None of the five libraries of sglang-kernel 0.4.10 holds code for less: common_ops has it for
8.0, 8.9, 9.0, 10.0 and 12.0, and no PTX, which a driver could compile for others (`cuobjdump
--list-elf` and `--list-ptx`). torch 2.14.1 itself has code from 7.5 on."""
SEVEREST_FIRST = (Status.ERROR, Status.WARN, Status.SKIP, Status.INFO, Status.OK)
SHOWN_XIDS = 3


def driver(subject: Subject) -> Finding:
    """Look whether a driver answers, and runs programs of the CUDA that torch is built for."""
    if _is_on_cpu(subject):
        return Finding(Status.OK, "no driver is needed on a CPU")
    said = subject.machine.nvidia()
    if said.is_silent:
        return Finding(
            Status.ERROR,
            f"the NVIDIA driver does not answer ({said.trouble})",
            "an answer; a driver that is stuck says why in the kernel's log",
            "sudo dmesg | grep -i nvrm",
        )
    if not said.source:
        return _no_driver(said.trouble)
    if said.trouble:
        return Finding(
            Status.ERROR,
            f"{_driver_name(said)}; {said.trouble}",
            "an answer from every GPU",
            "sudo dmesg | grep -i nvrm",
        )
    torch = subject.installed.torch_cuda if subject.installed else None
    if torch is None:
        return Finding(Status.SKIP, f"{_driver_name(said)}; there is no torch to compare it with")
    if not torch:
        return Finding(
            Status.ERROR,
            "torch is built without CUDA",
            "a torch that is built for it",
            "pip install --force-reinstall 'sgl-embed-kit[server]'",
        )
    return _compared(said, release_of(torch)[:2], torch)


def _no_driver(trouble: str) -> Finding:
    found = f"no NVIDIA driver answers ({trouble})"
    if "mismatch" in trouble:
        return Finding(
            Status.ERROR,
            found,
            "the driver that is loaded to be the one that is installed: it was updated since",
            "sudo reboot",
        )
    return Finding(
        Status.ERROR,
        found,
        "the driver; in a container, the GPU given to it",
        "sudo apt install nvidia-driver-580  # in a container: docker run --gpus all",
    )


def _compared(said: Nvidia, cuda: tuple[int, ...], torch: str) -> Finding:
    """Compare a driver with the CUDA of torch.

    What CUDA the driver itself says that it runs counts first: NVIDIA's package cuda-compat
    lets an older driver run a newer one, and says so there.
    """
    found = f"{_driver_name(said)}; torch is built for CUDA {torch}"
    least = least_driver((cuda[0], 0))
    if said.cuda is not None:
        enough = said.cuda[0] >= cuda[0]
    elif least is not None and said.driver is not None:
        enough = release_of(said.driver) >= release_of(least)
    else:
        return Finding(Status.SKIP, f"{found}; which driver that needs is not known")
    if not enough:
        needed = f"a driver for CUDA {cuda[0]}"
        if least is None:
            return Finding(Status.ERROR, found, needed, "sudo ubuntu-drivers install")
        return Finding(
            Status.ERROR,
            found,
            f"{needed}: {least} or newer",
            f"sudo apt install nvidia-driver-{least}",
        )
    if any(gpu.persistence is False for gpu in said.gpus):
        return Finding(
            Status.INFO,
            f"{found}; persistence mode is off: the driver sets a GPU up anew, in 1 to 3 s, "
            "for the first program that uses it",
            "persistence mode, for a start that is as quick as it can be",
            "sudo nvidia-smi -pm 1",
        )
    return Finding(Status.OK, found)


def _driver_name(said: Nvidia) -> str:
    cuda = f" for CUDA {_dotted(said.cuda)}" if said.cuda else ""
    return f"driver {said.driver or 'of an unknown release'}{cuda}"


def visible(subject: Subject) -> Finding:
    """Look which GPUs CUDA would show the server, and whether those are the ones meant."""
    if _is_on_cpu(subject):
        return Finding(Status.OK, "no GPU is asked for")
    said = subject.machine.nvidia()
    if not said.gpus:
        return Finding(Status.SKIP, "no NVIDIA GPU answers")
    shown, numbers = said.visible(subject.environment), gpu_numbers(subject.profile)
    count = f"CUDA shows {len(shown.gpus)} of {_counted(len(said.gpus), 'GPU')}"
    setting = subject.environment.get(VISIBLE)
    if shown.fault or (setting is not None and not shown.gpus):
        fault = f"{VISIBLE}={setting}: {shown.fault or 'hides all GPUs'}; {count}"
        return _hidden(subject.profile, fault, len(shown.gpus))
    undivided = [gpu for gpu in said.gpus if gpu.mig and not gpu.instances]
    if undivided and len(shown.gpus) <= numbers[-1]:
        return _without_instance(undivided[0])
    return _out_of_order(said, subject.environment, len(numbers)) or Finding(
        Status.OK, f"{count}; the server takes {_numbered(numbers)}"
    )


def _hidden(profile: Profile, fault: str, shown: int) -> Finding:
    """Return what a wrong variable comes to: an error where it hides what the server takes."""
    needed = gpu_numbers(profile)[-1] + 1
    return Finding(
        Status.ERROR if shown < needed else Status.WARN,
        fault,
        f"{_counted(needed, 'GPU')} for the server",
        patch(env={VISIBLE: ",".join(map(str, range(needed)))})
        if VISIBLE in profile.env
        else f"unset {VISIBLE}",
    )


def _without_instance(gpu: Gpu) -> Finding:
    return Finding(
        Status.ERROR,
        f"GPU {gpu.index} ({gpu.name}) is in MIG mode, and none of its instances can be seen here",
        "an instance: CUDA runs on nothing else there",
        f"sudo nvidia-smi mig -i {gpu.index} -cgi 0 -C",
    )


def _out_of_order(said: Nvidia, variables: Mapping[str, str], taken: int) -> Finding | None:
    """Return a warning where a GPU's number may mean another one to CUDA than to nvidia-smi."""
    kinds = {gpu.name: None for gpu in said.gpus}
    by_uuid = variables.get(VISIBLE, "").startswith(("GPU-", "MIG-"))
    is_told = by_uuid or variables.get(ORDER) == BY_BUS
    if len(kinds) == 1 or is_told or taken == len(said.gpus):
        return None
    return Finding(
        Status.WARN,
        f"GPUs of {len(kinds)} kinds ({', '.join(kinds)}): CUDA counts from the fastest on, "
        "nvidia-smi along the PCI bus",
        "the same numbers for both, so that the server is on the GPU that was looked at",
        f"export {ORDER}={BY_BUS}",
    )


def compute(subject: Subject) -> Finding:
    """Look whether SGLang and its compiled kernels support this kind of GPU."""
    return of_each(subject, _capability)


def _capability(subject: Subject, gpu: Gpu) -> Finding:
    capability = gpu.compute_capability
    if capability is None:
        return Finding(Status.SKIP, f"{gpu.name}: the driver does not tell its kind")
    found = f"{gpu.name}: compute capability {_dotted(capability)}"
    if capability < OLDEST:
        return Finding(
            Status.ERROR,
            f"{found}, for which SGLang ends while it loads the model",
            f"{_dotted(OLDEST)} or newer",
            patch(hardware={"device": "cpu"}),
        )
    if capability < KERNELS_FROM:
        return Finding(
            Status.WARN,
            f"{found}: SGLang serves float16 there, and sglang-kernel's libraries hold no code "
            "for it",
            f"{_dotted(KERNELS_FROM)} or newer for all of SGLang's kernels",
            "nvidia-smi -L  # take a GPU of compute capability 8.0 or newer, such as an L4 or A10",
        )
    return Finding(Status.OK, f"{found}, with bfloat16")


def health(subject: Subject) -> Finding:
    """Look for memory errors that error correction could not repair."""
    return of_each(subject, _memory_health)


def _memory_health(_subject: Subject, gpu: Gpu) -> Finding:
    errors = gpu.uncorrected_errors
    if gpu.repair_failed:
        return Finding(
            Status.ERROR,
            f"{gpu.name}: a faulty part of its memory could not be replaced",
            "a GPU whose memory holds what is written to it",
            f"{_details(gpu)}  # then take it out of service",
        )
    if gpu.repair_pending:
        return Finding(
            Status.WARN,
            f"{gpu.name}: a faulty part of its memory waits to be replaced",
            "a restart, in which the driver does it",
            "sudo reboot  # when nobody needs the machine",
        )
    if errors:
        return Finding(
            Status.WARN,
            f"{gpu.name}: {_counted(errors, 'memory error')} since the driver was loaded that "
            "could not be corrected",
            "none: each ends the program that it hits",
            _details(gpu),
        )
    if errors is None and gpu.repair_pending is None:
        return Finding(Status.SKIP, f"{gpu.name}: the driver does not tell of memory errors")
    return Finding(Status.OK, f"{gpu.name}: no memory errors")


def _details(gpu: Gpu) -> str:
    which = "" if gpu.index is None else f" -i {gpu.index}"
    return f"nvidia-smi -q{which} -d ECC,ROW_REMAPPER"


def reports(subject: Subject) -> Finding:
    """Look into the kernel's log for what the driver reported of these GPUs."""
    if (nothing := nothing_to_look_at(subject)) is not None:
        return nothing
    xids = subject.machine.xids()
    if xids is None:
        return Finding(Status.SKIP, "the kernel's log cannot be read here: sudo dmesg | grep Xid")
    buses = {gpu.bus for gpu in gpus_for(subject.profile, subject.machine)}
    ours = [xid for xid in xids if xid.bus in buses or None in buses]
    serious = [xid for xid in ours if xid.number in hardware_xids()]
    if serious:
        return Finding(
            Status.WARN,
            f"the driver reported: {_told(serious)}",
            "no report of a fault since the machine was started",
            "sudo dmesg | grep -i nvrm",
        )
    if ours:
        count = _counted(len(ours), "report")
        return Finding(Status.INFO, f"{count} on programs, none on the GPU itself")
    return Finding(Status.OK, "the driver reported no trouble to the kernel's log")


def _told(xids: list[Xid]) -> str:
    texts = [
        f"{hardware_xids()[xid.number]} (Xid {xid.number}, {_age(xid.seconds_ago)} ago)"
        for xid in xids[-SHOWN_XIDS:]
    ]
    before = len(xids) - len(texts)
    return ", ".join(texts) + (f", and {before} before" if before else "")


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def clocks(subject: Subject) -> Finding:
    """Look whether something slows the GPUs down."""
    return of_each(subject, _slowed)


def _slowed(_subject: Subject, gpu: Gpu) -> Finding:
    if gpu.slowdowns is None:
        return Finding(Status.SKIP, f"{gpu.name}: the driver does not tell what slows it down")
    if gpu.slowdowns:
        which = "" if gpu.index is None else f" -i {gpu.index}"
        return Finding(
            Status.WARN,
            f"{gpu.name} is slowed down now: {', '.join(gpu.slowdowns)}",
            "full clocks: enough cooling and power",
            f"nvidia-smi -q{which} -d PERFORMANCE,TEMPERATURE,POWER",
        )
    return Finding(Status.OK, f"{gpu.name}: nothing slows it down")


def context(subject: Subject) -> Finding:
    """Make a real CUDA context on each GPU, and write to its memory."""
    if (nothing := nothing_to_look_at(subject)) is not None:
        return nothing
    found = probed(subject)
    for one in found:
        if one.error:
            return Finding(
                Status.ERROR,
                f"GPU {one.ordinal}: {one.error}",
                "a CUDA context, and 1 MiB that holds what is written to it",
                "nvidia-smi  # who holds the memory"
                if "OUT_OF_MEMORY" in one.error
                else "sudo dmesg | grep -i nvrm",
            )
    numbers = _numbered([one.ordinal for one in found])
    return Finding(Status.OK, f"a CUDA context and memory to write to on {numbers}")


def probed(subject: Subject) -> tuple[Probed, ...]:
    """Return what a real CUDA context can have on each GPU that the server would use."""
    env = subject.profile.env
    count = len(gpus_for(subject.profile, subject.machine))
    chosen = {name: env[name] for name in (VISIBLE, ORDER) if name in env}
    return subject.machine.probe_cuda(tuple(gpu_numbers(subject.profile))[:count], chosen)


def of_each(subject: Subject, look: Callable[[Subject, Gpu], Finding]) -> Finding:
    """Return the severest of what is found on the GPUs that the server would use."""
    if (nothing := nothing_to_look_at(subject)) is not None:
        return nothing
    return severest(look(subject, gpu) for gpu in gpus_for(subject.profile, subject.machine))


def severest(findings: Iterable[Finding]) -> Finding:
    """Return the first of the findings with the worst status."""
    return min(findings, key=lambda finding: SEVEREST_FIRST.index(finding.status))


def nothing_to_look_at(subject: Subject) -> Finding | None:
    """Return what to say where no GPU is used; None where one is."""
    if _is_on_cpu(subject):
        return Finding(Status.OK, "no GPU is asked for")
    if not gpus_for(subject.profile, subject.machine):
        return Finding(Status.SKIP, "no GPU that the server could use")
    return None


def _is_on_cpu(subject: Subject) -> bool:
    return subject.profile.hardware.device == "cpu"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _numbered(numbers: Iterable[int]) -> str:
    texts = [str(number) for number in numbers]
    return f"GPU {texts[0]}" if len(texts) == 1 else f"GPUs {', '.join(texts)}"
