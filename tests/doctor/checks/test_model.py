"""The model's folder, and room for it: what the checks find."""

from pathlib import Path

from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from tests.doctor.checks.cases import Case, find
from tests.machines import FakeMachine

CASES: list[Case] = [
    ("SGE-DISK-001", {}, Status.OK, "500.0 GB free"),
    (
        "SGE-MOD-001",
        {"model": {"path": str(Path(__file__).parent)}},
        Status.ERROR,
        "no config.json",
    ),
    ("SGE-DISK-001", {"machine": FakeMachine(disk=50_000_000)}, Status.ERROR, "0.1 GB free"),
    ("SGE-MOD-001", {"model": {"path": "org/model"}}, Status.OK, "from the hub"),
]


def test_a_broken_model_folder_is_named_with_its_cure(tmp_path: Path) -> None:
    finding = find("SGE-MOD-001", model={"path": str(tmp_path)})
    assert finding.status is Status.ERROR
    assert "no config.json" in finding.found
    assert finding.fix


def _bert(folder: Path, pooling: str) -> dict[str, str]:
    """Write the least of a BERT folder that declares a pooling."""
    make_tiny_model(folder, TinyModel(hidden_size=64, layers=1))
    config = folder / "config.json"
    config.write_text(config.read_text().replace("Qwen3ForCausalLM", "BertModel"))
    (folder / "1_Pooling" / "config.json").write_text(f'{{"pooling_mode": "{pooling}"}}')
    return {"path": str(folder)}


def test_mean_pooling_needs_the_guard(tmp_path: Path) -> None:
    model = _bert(tmp_path / "m", "mean")
    assert find("SGE-MOD-001", model=model).status is Status.OK
    without = find("SGE-MOD-001", model=model, guard={"enabled": False})
    assert without.status is Status.ERROR
    assert "declares mean pooling, SGLang would pool by cls" in without.found
    assert "guard: {enabled: true}" in without.fix


def test_cls_pooling_needs_no_guard(tmp_path: Path) -> None:
    model = _bert(tmp_path / "m", "cls")
    assert find("SGE-MOD-001", model=model, guard={"enabled": False}).status is Status.OK


def test_a_decoder_that_declares_mean_pooling_is_refused(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=64, layers=1))
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    finding = find("SGE-MOD-001", model={"path": str(tmp_path / "m")})
    assert finding.status is Status.ERROR
    assert "SGLang would pool by last" in finding.found
