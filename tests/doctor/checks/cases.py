"""What the tests of the checks share: a healthy SGLang, and a check run on a changed world."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, TypeAlias
from unittest.mock import patch

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import Installed
from tests.machines import UNREACHABLE, FakeMachine
from tests.model.builders import small_model

SGLANG = Installed("0.5.23", Path("/x"), Path("/bin/sglang"), kernels="no driver", sees_guard=True)
BY_ID = {check.id: check for check in CHECKS}

Case: TypeAlias = tuple[str, dict[str, Any], Status, str]
"""A check, what is changed of the healthy world (arguments of `find`), its verdict, and a part
of what it found."""


def find(
    check: str,
    machine: FakeMachine | None = None,
    *,
    installed: Installed | None = SGLANG,
    environ: Mapping[str, str] = MappingProxyType({}),
    harm: Callable[[Path], None] | None = None,
    **sections: dict[str, Any],
) -> Finding:
    """Run one check on a profile for the CPU, with these sections in place of its own.

    Args:
        check: Its id.
        machine: The machine, a healthy one without a GPU by default.
        installed: The SGLang.
        environ: Variables of this process, which the server inherits; without them the hub is
            out of reach.
        harm: What is done to a small sound model, which is then the profile's.
        sections: Sections of the profile.
    """
    if harm is not None:
        with TemporaryDirectory() as made:
            folder = small_model(Path(made) / "model")
            harm(folder)
            sections["model"] = {"path": str(folder)}
            return find(check, machine, installed=installed, environ=environ, harm=None, **sections)
    machine = copy(machine or FakeMachine())
    variables = {"HF_ENDPOINT": UNREACHABLE, **environ}
    machine.variables = {**machine.variables, **variables}
    content = {"model": {"path": "tiny:"}, "hardware": {"device": "cpu"}, **sections}
    profile = Profile.model_validate(content)
    subject = Subject(profile, locate(profile.model.path), installed, machine)
    with patch.dict(os.environ, variables):
        return BY_ID[check].look(subject)
