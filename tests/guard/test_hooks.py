"""What the guard's hooks do to SGLang's own classes, without a server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.cpu_engine import OVERLAY
from sgl_embed_kit.guard.generation import REASON
from sgl_embed_kit.sglang.installed import find_installed

pytestmark = pytest.mark.skipif(
    find_installed() is None, reason="SGLang is not installed; get it with: make test"
)

# Runs where SGLang runs: a process of its own, with the CPU engine. It gives objects with
# a real Pooler to the guard's hook, one for each folder, and prints what became of them.
SCRIPT = """
import json, sys
from types import SimpleNamespace
from sglang.srt import runtime_context
from sglang.srt.configs.embedding_model_spec import resolve_embedding_model_spec
from sglang.srt.layers.pooler import Pooler, PoolingType
from sglang.srt.managers.io_struct import EmbeddingReqInput, GenerateReqInput
from sgl_embed_kit.guard import encoder, generation

def pooling(folder):
    runtime_context.get_model = lambda: SimpleNamespace(
        is_embedding=True, model_path=folder, revision=None)
    model = SimpleNamespace(pooler=Pooler(PoolingType.CLS, normalize=True))
    try:
        encoder.apply_declared_pooling(None, model)
    except RuntimeError as error:
        return str(error)
    return model.pooler.pooling_type.name

def safe(architecture):
    spec = resolve_embedding_model_spec(
        [architecture], is_embedding_requested=True, is_embedding_gemma=False)
    spec = encoder.switch_off_unsafe_caches(spec, [architecture])
    return [spec.safe_disable_radix_cache, spec.safe_disable_chunked_prefill]

def refused(request, manager_generates):
    manager = SimpleNamespace(is_generation=manager_generates)
    try:
        generation._refuse_generation(manager, request, None)
    except ValueError as error:
        return str(error)
    return None

chat, embedding = GenerateReqInput(text="Hello"), EmbeddingReqInput(text="Hello")
print(json.dumps({
    "refused": [refused(chat, False), refused(embedding, False), refused(chat, True)],
    "pooling": [pooling(folder) for folder in sys.argv[1:]],
    "caches off": {
        name: safe(name) for name in ("BertModel", "XLMRobertaModel", "Qwen3ForCausalLM")},
}))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the guard makes of folders that declare mean, last, max and nothing."""
    folders = [
        _declare(tmp_path_factory.mktemp("model"), mode)
        for mode in ("mean_tokens", "lasttoken", "max_tokens", None)
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(OVERLAY), "SGLANG_USE_CPU_ENGINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _declare(folder: Path, mode: str | None) -> Path:
    if mode is None:
        return folder
    (folder / "1_Pooling").mkdir()
    modules = [{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))
    return folder


@pytest.mark.server
def test_the_declared_pooling_is_applied(outcome: dict[str, Any]) -> None:
    assert outcome["pooling"][:2] == ["MEAN", "LAST"]


@pytest.mark.server
def test_a_folder_that_declares_nothing_keeps_sglangs_pooling(outcome: dict[str, Any]) -> None:
    assert outcome["pooling"][3] == "CLS"


@pytest.mark.server
def test_a_pooling_that_sglang_cannot_do_stops_the_start(outcome: dict[str, Any]) -> None:
    refusal = outcome["pooling"][2]
    assert refusal.startswith("sgl-embed guard: refusing to serve wrong vectors")
    assert "declares pooling 'max'" in refusal


@pytest.mark.server
def test_unsafe_caches_are_marked_for_encoders_and_only_for_them(outcome: dict[str, Any]) -> None:
    assert outcome["caches off"] == {
        "BertModel": [True, True],
        "XLMRobertaModel": [True, True],
        "Qwen3ForCausalLM": [False, False],
    }


@pytest.mark.server
def test_only_generation_on_an_embedding_server_is_refused(outcome: dict[str, Any]) -> None:
    assert outcome["refused"] == [REASON, None, None]
