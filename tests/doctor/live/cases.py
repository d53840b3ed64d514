"""What the tests of the live checks share: the form of a case."""

from __future__ import annotations

from typing import Any, TypeAlias

from sgl_embed_kit.doctor.engine import Status

Case: TypeAlias = tuple[str, dict[str, Any], Status, str]
"""A check, what is changed of the healthy world (arguments of `find`), its verdict, and a part
of what it found."""
