"""Record what NVML says on this machine's GPUs, for tests/machine/recordings.

Usage: record_gpu.py FILE.json. UUIDs, and process ids beyond their order, are left out.
"""

import json
import sys
from pathlib import Path
from typing import Any

from sgl_embed_kit.machine.nvml import read_nvml

FIELDS = ("total", "free", "used", "reserved", "busId", "pid", "usedGpuMemory")
"""What is kept of NVML's structures."""


class Recorder:
    """Passes every call on to pynvml, and keeps what came back."""

    def __init__(self, nvml: Any) -> None:
        self.nvml = nvml
        self.answers: dict[str, Any] = {}
        self.handles: list[tuple[Any, str]] = []
        self.pids: list[int] = []

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.nvml, name)
        if not name.startswith(("nvmlDevice", "nvmlSystem", "nvmlInit")):
            return member
        return lambda *args: self._call(name, member, args)

    def _call(self, name: str, function: Any, args: tuple[Any, ...]) -> Any:
        call = f"{name}({', '.join(map(self._label, args))})"
        try:
            answer = function(*args)
        except self.nvml.NVMLError as error:
            self.answers[call] = {"error": error.value}
            raise
        if "GetHandleByIndex" in name:
            self.handles.append((answer, f"gpu:{args[0]}"))
        elif "GetMigDeviceHandleByIndex" in name:
            self.handles.append((answer, f"{self._label(args[0])}/mig:{args[1]}"))
        self.answers[call] = self._plain(name, answer, call)
        return answer

    def _label(self, argument: Any) -> str:
        labels = [label for handle, label in self.handles if handle is argument]
        return labels[0] if labels else str(argument)

    def _plain(self, name: str, answer: Any, call: str) -> Any:
        labels = [label for handle, label in self.handles if handle is answer]
        if labels:
            return labels[0]
        if name == "nvmlDeviceGetUUID":
            kind = str(answer).partition("-")[0]
            return f"{kind}-{sum('GetUUID' in known for known in self.answers):08x}"
        if isinstance(answer, list | tuple):
            return [self._plain("", one, call) for one in answer]
        kept = {field: getattr(answer, field) for field in FIELDS if hasattr(answer, field)}
        if "pid" in kept:
            self.pids.append(kept["pid"])
            kept["pid"] = 1000 + self.pids.index(kept["pid"])
        if isinstance(kept.get("busId"), bytes):
            kept["busId"] = kept["busId"].decode()
        return kept or answer


def main() -> None:
    if not sys.argv[1:]:
        sys.exit(__doc__)
    import pynvml

    recorder = Recorder(pynvml)
    said = read_nvml(recorder)
    if not said.source:
        sys.exit(f"there is nothing to record: {said.trouble}")
    Path(sys.argv[1]).write_text(as_recording(recorder, said.driver), encoding="utf-8")
    print(f"{len(recorder.answers)} answers of driver {said.driver} written to {sys.argv[1]}")


def as_recording(recorder: Recorder, driver: str | None) -> str:
    """Return the recording as JSON."""
    content = {"origin": "recorded", "driver": driver, "answers": recorder.answers}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    main()
