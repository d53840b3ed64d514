"""The errors that a person sees: what happened, why, and one command that cures it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line ends with, the same for every command."""

    OK = 0
    FAILED = 1  # a check failed, or the thing asked for did not happen
    USAGE = 2  # wrong use, or an invalid profile
    SERVER_DIED = 3
    NOT_READY = 4  # the server was not ready in time
    INTERRUPTED = 130


class KitError(Exception):
    """Something that the person at the keyboard can act on.

    Attributes:
        what: One sentence: what happened.
        why: One sentence: the evidence or the reason; empty where `what` says it.
        cure: One command or edit that cures it; empty where there is none.
        exit_code: What the program ends with when nobody handles the error.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, why: str = "", cure: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.cure = cure


class ProfileError(KitError):
    """A profile that cannot be used."""

    exit_code = ExitCode.USAGE


class UsageError(KitError):
    """The command was used wrongly."""

    exit_code = ExitCode.USAGE


class ServerDiedError(KitError):
    """The server process ended, or hung, while it should have been serving.

    Attributes:
        heals: Whether a new start may cure the cause; None where it is not known.
    """

    exit_code = ExitCode.SERVER_DIED

    def __init__(
        self, what: str, *, why: str = "", cure: str = "", heals: bool | None = None
    ) -> None:
        super().__init__(what, why=why, cure=cure)
        self.heals = heals


class NotReadyError(KitError):
    """The server did not become ready within its time limit."""

    exit_code = ExitCode.NOT_READY
