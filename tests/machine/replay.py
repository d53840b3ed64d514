"""NVML as a recording has it: a stand-in for the module pynvml.

A recording is a JSON file: its `origin` says whether a real GPU gave the answers, `answers`
has them by the call, such as "nvmlDeviceGetName(gpu:0)". An answer `{"error": 3}` is the
error of that number; a call that is not in the file is one that the driver does not have.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

RECORDINGS = Path(__file__).with_name("recordings")
FROM_THE_DOCUMENTATION = "written from NVML's documentation, not recorded"


class Replay:
    """Answers as the recording does; everything that is no call is pynvml's own."""

    def __init__(self, recording: dict[str, Any]) -> None:
        self.answers = recording["answers"]
        self.is_open = 0

    @classmethod
    def of(cls, name: str) -> Replay:
        return cls(json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8")))

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own name
        self._call("nvmlInit")
        self.is_open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.is_open -= 1

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("nvmlDevice", "nvmlSystem")):
            return getattr(pynvml, name)
        return lambda *args: self._call(name, *args)

    def _call(self, name: str, *args: Any) -> Any:
        call = f"{name}({', '.join(map(str, args))})"
        if call not in self.answers and hasattr(getattr(pynvml, name), "__wrapped__"):
            raise pynvml.NVMLLibraryMismatchError(
                call
            )  # as pynvml does for functions with versions
        answer = self.answers.get(call, {"error": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND})
        if isinstance(answer, dict) and "error" in answer:
            raise pynvml.NVMLError(answer["error"])
        return _as_object(answer)


def _as_object(answer: Any) -> Any:
    if isinstance(answer, dict):
        return SimpleNamespace(**answer)
    return [_as_object(one) for one in answer] if isinstance(answer, list) else answer
