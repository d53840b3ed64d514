"""Write an edit of a profile as YAML to paste into it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import yaml

IN_PROFILE = "  # in the profile"
"""What ends each line of an edit."""


def patch(**sections: Mapping[str, object]) -> str:
    """Return sections of a profile as YAML, a line each, which a comment says where to put.

    Args:
        sections: What to change, such as `server={"port": 30001}`.
    """
    data = {name: dict(values) for name, values in sections.items()}
    text = yaml.safe_dump(
        data, default_flow_style=None, sort_keys=False, width=sys.maxsize, allow_unicode=True
    )
    return "\n".join(f"{line}{IN_PROFILE}" for line in text.splitlines())
