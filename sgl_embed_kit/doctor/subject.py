"""What the checks look at: a profile, its model, the installed SGLang, and the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.machine import Machine
from sgl_embed_kit.model.folder import ModelFolder, read_folder
from sgl_embed_kit.model.source import Kind, Source, locate
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.command import Command, build_command
from sgl_embed_kit.sglang.flags import FlagTable
from sgl_embed_kit.sglang.installed import Installed
from sgl_embed_kit.sglang.tables import table_for


@dataclass(frozen=True)
class Subject:
    """Everything that a check may read, and everything that the command is built from."""

    profile: Profile
    source: Source
    installed: Installed | None
    machine: Machine

    @classmethod
    def of(cls, profile: Profile, installed: Installed | None, machine: Machine) -> Subject:
        """Put together the subject of a profile.

        Raises:
            KitError: the profile's `model.path` leads nowhere.
        """
        return cls(profile, locate(profile.model.path), installed, machine)

    @property
    def table(self) -> FlagTable:
        """The flags of the SGLang that will run, or that the profile is for."""
        return table_for(self.profile.sglang.version, self.installed)

    @property
    def stand_in(self) -> Path | None:
        """Folder of the CPU engine where it is needed, else None.

        It is needed where the profile wants the CPU and the real kernels cannot load.
        """
        if self.profile.hardware.device != "cpu":
            return None
        can_load = self.installed is not None and not self.installed.kernels
        return None if can_load else OVERLAY

    def model_folder(self) -> ModelFolder | None:
        """Read the model's folder; None for a repository, or where it is yet to be made.

        Raises:
            KitError: the folder cannot be served.
        """
        if self.source.folder is None or self.source.is_missing:
            return None
        return read_folder(self.source.folder)

    def command(
        self, inherited: Mapping[str, str] = os.environ, *, shown: Profile | None = None
    ) -> Command:
        """Build the command that serves this subject, also where nothing is here yet.

        Args:
            inherited: The environment that the server will inherit.
            shown: The profile to build it from where the command is only shown.
        """
        try:
            folder = self.model_folder()
        except KitError:
            folder = None  # the checks report it; the command can be shown all the same
        return build_command(
            shown or self.profile,
            self.table,
            model_path=shown.model.path
            if shown and shown.model.path != self.profile.model.path
            else self.source.model_path,
            encoder=folder.is_encoder if folder else self.source.kind is Kind.DEMO,
            stand_in=self.stand_in,
            inherited=inherited,
        )
