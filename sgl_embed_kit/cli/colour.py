"""Whether to colour what is shown."""

from __future__ import annotations

import os
from typing import TextIO


def wants_colour(stream: TextIO) -> bool:
    """Say whether a stream is a terminal whose user did not set NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR")
