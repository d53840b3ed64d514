"""What is known of each check besides how it looks: checks.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sgl_embed_kit.data_files import data_file

LIVE = "live"
"""Category of the checks that ask a server that runs."""


@dataclass(frozen=True)
class KnownIssue:
    """A report upstream: its address, and the releases of SGLang that it is about."""

    url: str
    versions: str


@dataclass(frozen=True)
class About:
    """What a check is about.

    Attributes:
        id: `SGE-<AREA>-<NNN>`, never used for anything else.
        name: A short word.
        category: What it belongs to, such as network.
        title: What a report calls it.
        severity: What it can end with at worst: error or warn.
        reads: Keys of the profile that it looks at.
        means: What it looks for, in a sentence.
        why: What happens where it is not so.
        cure: A command, or an edit of the profile; a sentence where it is neither.
        known_issue: The report upstream, if there is one.
        harm: What it does that could hurt a server; empty where it is harmless.
    """

    id: str
    name: str
    category: str
    title: str
    severity: str
    reads: tuple[str, ...]
    means: str
    why: str
    cure: str
    known_issue: KnownIssue | None = None
    harm: str = ""

    @property
    def anchor(self) -> str:
        """Where docs/checks.md speaks of it."""
        return f"docs/checks.md#{self.id.lower()}"


@cache
def catalogue() -> dict[str, About]:
    """Return what is known of each check, by its id and in the order of the reports."""
    data = data_file(__package__, "checks.yaml")
    return {key: _about(key, entry) for key, entry in data.items()}


def _about(key: str, entry: dict[str, object]) -> About:
    issue = entry.pop("known_issue", None)
    reads = entry.pop("reads")
    assert isinstance(reads, list)
    return About(
        id=key,
        reads=tuple(reads),
        known_issue=KnownIssue(**issue) if isinstance(issue, dict) else None,
        **{name: str(text) for name, text in entry.items()},
    )
