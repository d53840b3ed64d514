"""What the tests of the checks share: a healthy SGLang, and a check run on a changed world."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.doctor.checks import CHECKS
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import Installed
from tests.machines import FakeMachine

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
    **sections: dict[str, Any],
) -> Finding:
    """Run one check on a profile for the CPU, with these sections in place of its own."""
    content = {"model": {"path": "tiny:"}, "hardware": {"device": "cpu"}, **sections}
    profile = Profile.model_validate(content)
    subject = Subject(profile, locate(profile.model.path), installed, machine or FakeMachine())
    return BY_ID[check].look(subject)
