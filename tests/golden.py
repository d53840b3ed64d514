"""What is shown to people and programs, kept word for word in files.

After a change of words: SGL_EMBED_GOLDEN=write pytest PATH, and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path


def assert_golden(path: Path, said: str) -> None:
    """Compare a text with its file, which SGL_EMBED_GOLDEN=write makes anew first."""
    if os.environ.get("SGL_EMBED_GOLDEN") == "write":
        path.write_text(said, encoding="utf-8")
    assert said == path.read_text(encoding="utf-8")
