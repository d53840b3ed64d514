"""A recording says the same as the driver that it was made of."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from sgl_embed_kit.machine.nvml import read_nvml
from tests.machine.replay import RECORDINGS, Replay


@pytest.fixture
def record_gpu(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("record_gpu")


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("*.json")))
def test_a_recording_of_a_recording_reads_alike(record_gpu: ModuleType, name: str) -> None:
    driver = Replay.of(name)
    recorder = record_gpu.Recorder(driver)
    said = read_nvml(recorder)
    again = json.loads(record_gpu.as_recording(recorder, said.driver))
    replayed = read_nvml(Replay(again))
    assert again["origin"] == "recorded"
    assert [gpu.memory_free for gpu in replayed.gpus] == [gpu.memory_free for gpu in said.gpus]
    assert [gpu.slowdowns for gpu in replayed.gpus] == [gpu.slowdowns for gpu in said.gpus]
    assert replayed.trouble == said.trouble
    assert [len(gpu.processes or ()) for gpu in replayed.gpus] == [
        len(gpu.processes or ()) for gpu in said.gpus
    ]


def test_it_holds_no_identity_and_no_process_of_the_machine(record_gpu: ModuleType) -> None:
    recorder = record_gpu.Recorder(Replay.of("a10-two-busy"))
    text = record_gpu.as_recording(recorder, read_nvml(recorder).driver)
    assert "20bd9faed9f6" not in text
    assert "4242" not in text
    assert text.count("GPU-") == 2


def test_without_a_gpu_there_is_nothing_to_record(
    record_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["record_gpu.py", str(tmp_path / "x.json")])
    monkeypatch.setattr(record_gpu, "Recorder", lambda _nvml: Replay.of("mismatch"))
    with pytest.raises(SystemExit, match="nothing to record: NVML"):
        record_gpu.main()
    assert not list(tmp_path.iterdir())
