"""A model as it is shown: text that fits a terminal, JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.inspection import inspect_files
from sgl_embed_kit.model.report import as_json, as_text
from tests.model.builders import change_json, qwen_8b


def text(folder: Path) -> str:
    return as_text(inspect_files(local_files(folder)))


def shown(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(as_json(inspect_files(local_files(folder)))))
    return found


def line(folder: Path, label: str) -> str:
    return next(line for line in text(folder).splitlines() if line.strip().startswith(label))


def test_every_line_fits_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    qwen_8b(Path("m"))
    change_json(Path("m/config.json"), auto_map={f"Auto{n}": f"modeling_{n}.X" for n in range(9)})
    (Path("m") / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    (Path("m") / "tokenizer.json").write_text("{}")
    lines = text(Path("m")).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 60


def test_the_positions_of_config_and_card_are_both_said(tmp_path: Path) -> None:
    qwen_8b(tmp_path / "m")
    assert "40,960 tokens by config.json; 32,768 by the model card" in line(
        tmp_path / "m", "context"
    )


def test_exact_parameters_and_bytes_are_said(tmp_path: Path) -> None:
    qwen_8b(tmp_path / "m")
    expected = "7,567,295,488 of bfloat16, 15,134,590,976 bytes (15.13 GB)"
    assert expected in line(tmp_path / "m", "parameters")


def test_pooling_is_shown_as_declared_served_and_guarded(model: Path) -> None:
    change_json(model / "config.json", architectures=["BertModel"])
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    assert line(model, "pooling").split() == ["pooling", "mean", "cls", "mean"]
    assert line(model, "prefix cache").split()[2:] == ["-", "on:", "wrong", "off"]


def test_errors_come_before_warnings(model: Path) -> None:
    change_json(model / "config.json", vocab_size=2)
    (model / "x.bin").write_bytes(b"")
    lines = text(model).splitlines()
    labels = [line.split(":")[0] for line in lines if line.startswith(("error", "warning"))]
    assert labels == ["error", "warning"]


def test_a_warning_ends_with_its_cure(tmp_path: Path) -> None:
    qwen_8b(tmp_path / "m")
    assert "  cure: limits: {context_length: 32768}  # in the profile" in text(tmp_path / "m")


def test_a_model_without_faults_says_so(model: Path) -> None:
    assert text(model).endswith("\nNothing is wrong with it.")


def test_json_has_everything_and_its_schema(model: Path) -> None:
    found = shown(model)
    assert found["schema"] == "sgl-embed.model/1"
    assert found["can_be_served"] is True
    assert found["weights"]["bytes"] == 2 * found["weights"]["parameters"]["bfloat16"]
    assert found["sglang"]["pooling"] == found["guard"]["pooling"] == "last"
    assert found["tokenizer"]["last"] == "<|endoftext|>"
    assert found["fingerprint_of"]["dimensions"] == found["dimensions"] == 64
    assert found["faults"] == []


def test_a_broken_folder_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    found = shown(tmp_path)
    assert found["can_be_served"] is False
    assert found["fingerprint"] is None
    assert found["faults"][0]["what"] == f"{tmp_path} is not a model folder."
    assert "error: " in text(tmp_path)
