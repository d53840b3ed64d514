"""What the checks look at: a profile, its model, the installed SGLang, and the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.machine import Machine
from sgl_embed_kit.model.bounds import Bounds, bounds_or_none, of_folder
from sgl_embed_kit.model.facts import ModelFacts
from sgl_embed_kit.model.folder import Folders
from sgl_embed_kit.model.hub_cache import cached_folder
from sgl_embed_kit.model.known import known_model
from sgl_embed_kit.model.shape import ModelShape
from sgl_embed_kit.model.source import Kind, Source, locate
from sgl_embed_kit.plan.limits import settled_limits
from sgl_embed_kit.plan.plan import Demand, demand_of
from sgl_embed_kit.plan.shapes import MINILM, TINY
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.masking import NO_MASK, Mask
from sgl_embed_kit.sglang.command import Command, build_command
from sgl_embed_kit.sglang.flags import FlagTable
from sgl_embed_kit.sglang.installed import Installed
from sgl_embed_kit.sglang.tables import table_for


@dataclass(frozen=True)
class Subject:
    """Everything that a check may read, and everything that the command is built from.

    Attributes:
        profile: What the user asks for.
        source: Where its model comes from.
        installed: The SGLang of this environment.
        machine: The machine that it runs on.
        fetched: Folder of the model's files once they were brought here.
        mask: Keeps what the profile took from the environment out of what is shown.
        folders: What was read of the model's folder already.
        starts: Whether the server is to be started now, and not only looked at.
    """

    profile: Profile
    source: Source
    installed: Installed | None
    machine: Machine
    fetched: Path | None = None
    mask: Mask = NO_MASK
    folders: Folders = field(default_factory=Folders, compare=False, repr=False)
    starts: bool = False

    @classmethod
    def of(
        cls,
        profile: Profile,
        installed: Installed | None,
        machine: Machine,
        mask: Mask = NO_MASK,
        folders: Folders | None = None,
        *,
        starts: bool = False,
    ) -> Subject:
        """Put together the subject of a profile.

        Args:
            profile: What the user asks for.
            installed: The SGLang of this environment.
            machine: The machine that it runs on.
            mask: Keeps what the profile took from the environment out of what is shown.
            folders: What was read of the model's folder while the profile was checked.
            starts: Whether the server is to be started now.

        Raises:
            KitError: the profile's `model.path` names a demo model that does not exist.
        """
        with mask.errors():
            source = locate(profile.model.path)
        return cls(
            profile,
            source,
            installed,
            machine,
            mask=mask,
            folders=folders or Folders(),
            starts=starts,
        )

    @property
    def release(self) -> str | None:
        """Version of the SGLang of this environment; None where there is none."""
        return self.installed.version if self.installed else None

    @property
    def url(self) -> None:
        """A machine has no address."""

    def with_files(self, folder: Path | None) -> Subject:
        """Return the subject with what can be said now that the model's files are here.

        Args:
            folder: Where they are; None where SGLang itself will fetch them.
        """
        return replace(self, fetched=folder, folders=Folders())

    @property
    def table(self) -> FlagTable:
        """The flags of the SGLang that will run, or that the profile is for."""
        return table_for(self.profile.sglang.version, self.installed)

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """The variables of the server, but for those that the toolkit itself sets."""
        return {**self.machine.environment(), **self.profile.env}

    @property
    def stand_in(self) -> Path | None:
        """Folder of the CPU engine where it is needed, else None.

        It is needed where the profile wants the CPU and the real kernels cannot load.
        """
        if self.profile.hardware.device != "cpu":
            return None
        can_load = self.installed is not None and not self.installed.kernels
        return None if can_load else OVERLAY

    @property
    def has_files(self) -> bool:
        """Whether the model's files are here, so that they can be looked at."""
        return self.folder is not None

    @cached_property
    def folder(self) -> Path | None:
        """Folder of the model's files; None where they are yet to be fetched or made.

        Of a repository that is in the hub's cache as a whole, the cache's. The folder that
        a profile names is told even where there is none.
        """
        if self.fetched is not None:
            return self.fetched
        if self.source.kind is not Kind.REPO:
            return None if self.source.is_missing else self.source.folder
        kept = cached_folder(self.source.model_path, self.profile.model.revision, self.environment)
        return kept if kept is not None and self.folders.facts(kept).is_whole else None

    @cached_property
    def bounds(self) -> Bounds | None:
        """What the model allows; None where it is not known, or its folder has a fault."""
        if self.fetched is None and (known := bounds_or_none(self.source, self.folders)):
            return known
        try:
            facts = self.model_folder()
        except KitError:
            return None
        return of_folder(facts) if facts else None

    @cached_property
    def shape(self) -> ModelShape | None:
        """The model's shape; None where it is not known, or its folder has a fault."""
        try:
            folder = self.model_folder()
        except KitError:
            return None
        if folder is not None:
            return folder.shape
        if self.source.kind is Kind.REPO:
            known = known_model(self.source.model_path)
            return known.shape if known else None
        return MINILM if self.source.kind is Kind.DEMO else TINY

    def demand(self) -> Demand | None:
        """Return what the profile asks of a device; None where its model is not known."""
        if self.shape is None:
            return None
        encoder = self.bounds is not None and self.bounds.is_encoder
        return demand_of(self.settled(self.profile), self.shape, encoder=encoder)

    def settled(self, profile: Profile) -> Profile:
        """Return a profile with the limits in place that it leaves open."""
        return profile.model_copy(update={"limits": settled_limits(profile.limits, self.bounds)})

    def model_facts(self) -> ModelFacts | None:
        """Return what the model's files say, faults included; None where they are not here yet.

        Raises:
            KitError: there is no such folder, or it cannot be looked into.
        """
        return self.folders.facts(self.folder) if self.folder is not None else None

    def model_folder(self) -> ModelFacts | None:
        """Return what the model's files say; None where they are not here yet.

        Raises:
            KitError: the folder cannot be served.
        """
        return self.folders.sound(self.folder) if self.folder is not None else None

    def command(
        self, inherited: Mapping[str, str] = os.environ, *, shown: Profile | None = None
    ) -> Command:
        """Build the command that serves this subject, also where nothing is here yet.

        Args:
            inherited: The environment that the server will inherit.
            shown: The profile to build it from where the command is only shown.
        """
        return build_command(
            self.settled(shown or self.profile),
            self.table,
            model_path=shown.model.path
            if shown and shown.model.path != self.profile.model.path
            else self.source.model_path,
            encoder=self.bounds is not None and self.bounds.is_encoder,
            stand_in=self.stand_in,
            is_local=self.source.folder is not None,
            inherited=inherited,
        )
