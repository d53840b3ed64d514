"""Which model quickstart serves on this machine, why, and what it shows with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sgl_embed_kit.machine import Machine
from sgl_embed_kit.model.bounds import of_folder
from sgl_embed_kit.model.demo import DemoWithdrawnError
from sgl_embed_kit.model.folder import local_files, read_folder
from sgl_embed_kit.model.hub import MIRROR_HINT, Reach, check_reach, configured_hub
from sgl_embed_kit.model.source import Kind, locate
from sgl_embed_kit.plan.limits import settled_limits
from sgl_embed_kit.profile import Profile, load_profile
from sgl_embed_kit.profile.schema import HardwareSection, LimitsSection, ModelSection

QWEN = "Qwen/Qwen3-Embedding-0.6B"
LONGEST_CONTEXT = 8192
"""Context of a model that is only to be tried, whatever its positions."""

MULTILINGUAL = (
    "苹果是一种水果",
    "香蕉也是一种水果",
    "Apples are a fruit",
    "Python 是一种编程语言",
    "Java 也是一种编程语言",
    "Python is a programming language",
)
ENGLISH = (
    "Apples are a fruit",
    "Bananas are a fruit too",
    "Pears grow on trees",
    "Python is a programming language",
    "Java is a programming language too",
    "C++ is a compiled programming language",
)
"""Three sentences about fruit, then three about programming languages."""

CheckReach = Callable[[str], Reach]


@dataclass(frozen=True)
class Choice:
    """A model to serve.

    Attributes:
        profile: How it is served.
        because: Why this one, for people.
        hints: Commands that would lead to a better choice.
        folder: Where the model's files are, once they were brought here.
    """

    profile: Profile
    because: str
    hints: tuple[str, ...] = ()
    folder: Path | None = None

    def on_port(self, port: int) -> Choice:
        """Return the same choice, served on another port."""
        return replace(self, profile=self.profile.with_server(port=port))

    @property
    def sentences(self) -> tuple[str, ...]:
        """Six sentences that suit the model's languages."""
        return MULTILINGUAL if "qwen3" in self.profile.model.path.lower() else ENGLISH

    @property
    def is_random(self) -> bool:
        """Whether the model's weights are random, so that its vectors mean nothing."""
        return self.profile.model.path == "tiny:"


def choose_model(named: str | None, machine: Machine, reach_of: CheckReach | None = None) -> Choice:
    """Pick the model: the one named, else Qwen3-Embedding, else what needs no hub.

    Args:
        named: What the user asked for, or None.
        machine: Tells whether there is a GPU.
        reach_of: Asks the hub for a repository; replaced in tests.
    """
    device = _device(machine)
    if named is not None:
        return Choice(_named_profile(named, device), "you named it")
    reach = reach_of(QWEN) if reach_of else check_reach(QWEN, configured_hub())
    if reach.ok:
        profile = _on(load_profile("06b-cpu"), device)
        if reach.hub.is_modelscope:  # knows the model, not Hugging Face's commits
            model = profile.model.model_copy(update={"revision": None})
            profile = profile.model_copy(update={"model": model})
        return Choice(profile, f"{_shown(machine)}, and {reach.hub.name} is in reach")
    because = f"{reach.why_not}; this model comes with a Python package"
    return Choice(_on(load_profile("minilm-cpu"), device), because, MIRROR_HINT)


LOCAL_PROFILE = "minilm-cpu"


def local_profile(machine: Machine) -> Profile:
    """Return the profile to look at where none is named: quickstart's, without a hub."""
    return _on(load_profile(LOCAL_PROFILE), _device(machine))


def _device(machine: Machine) -> str:
    """Return the device to serve on; a driver that is silent has a GPU, and a check says so."""
    return "cuda" if machine.gpus() or machine.nvidia().is_silent else "cpu"


def _shown(machine: Machine) -> str:
    """Say what there is to serve on."""
    if machine.nvidia().is_silent:
        return "a GPU whose driver does not answer"
    gpus = machine.gpus()
    return f"a GPU ({gpus[0].name})" if gpus else "no GPU"


def bring_model(choice: Choice) -> Choice:
    """Bring the files of the chosen model to this machine; return what will be served.

    That is another choice only if the demo model's package was withdrawn: the random
    model then, which says so.

    Raises:
        KitError: the files cannot be brought, or SGLang could not serve them.
    """
    source = locate(choice.profile.model.path)
    try:
        folder = source.make(choice.profile.model.revision)
    except DemoWithdrawnError as error:
        random = Choice(
            _on(load_profile("tiny-cpu"), choice.profile.hardware.device),
            f"{error.what} The stand-in's weights are random: its vectors mean nothing.",
            choice.hints,
        )
        return bring_model(random.on_port(choice.profile.server.port))
    choice = replace(choice, folder=folder)
    if source.kind in {Kind.DEMO, Kind.TINY} or folder is None or choice.profile.limits != _NONE:
        return choice
    bounds = of_folder(read_folder(folder))
    limits = settled_limits(_NONE, bounds, at_most=LONGEST_CONTEXT)
    return replace(choice, profile=choice.profile.model_copy(update={"limits": limits}))


_NONE = LimitsSection()


def _named_profile(named: str, device: str) -> Profile:
    if named == "tiny:":
        return _on(load_profile("tiny-cpu"), device)
    if named.startswith("demo:"):
        locate(named)  # refuses a demo model that does not exist
        return _on(load_profile("minilm-cpu"), device)
    source = locate(named)
    if source.kind is Kind.FOLDER:
        local_files(Path(source.model_path))  # refuses a folder that does not exist
    hardware = HardwareSection.model_validate({"device": device})
    return Profile(model=ModelSection(path=source.model_path), hardware=hardware)


def _on(profile: Profile, device: str) -> Profile:
    """Return a CPU profile for a device; on a GPU its numbers are computed, not measured."""
    if device == "cpu":
        return profile
    model = profile.model.model_copy(update={"dtype": "auto"})
    hardware = HardwareSection(device="cuda")
    return profile.model_copy(update={"model": model, "hardware": hardware})
