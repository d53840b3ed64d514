"""The longest text of XLM-R, tried on SGLang's own class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sgl_embed_kit.model.facts import read_facts
from sgl_embed_kit.model.folder import local_files
from tests.model.builders import change_json
from tests.real_sglang import Sglang, sglang

pytestmark = pytest.mark.server

EMBED = """
import torch
from types import SimpleNamespace
from sglang.srt.models.roberta import RobertaEmbedding
from sglang.srt.runtime_context import get_parallel, publish
from sglang.srt.server_args import prepare_server_args


def answer(case):
    "Whether SGLang's embedding of XLM-R takes a text of so many tokens."
    args = prepare_server_args(["--model-path", case["folder"], "--device", "cpu"])
    publish(args, role="scheduler")
    config = SimpleNamespace(
        hidden_size=8, vocab_size=64, pad_token_id=case["padding"], type_vocab_size=1,
        max_position_embeddings=case["positions"], layer_norm_eps=1e-5,
        position_embedding_type="absolute",
    )
    alone = SimpleNamespace(world_size=1, rank_in_group=0, is_first_rank=True, is_last_rank=True,
                            cpu_group=None, device_group=None)
    tokens = case["tokens"]
    with get_parallel().override(
        tp_size=1, attn_tp_size=1, tp_rank=0, attn_tp_rank=0, tp_group=alone, attn_tp_group=alone
    ), torch.no_grad():
        embedding = RobertaEmbedding(config)
        ids = torch.full((tokens,), 7)
        batch = SimpleNamespace(token_type_ids=None)
        try:
            embedding(ids, torch.tensor([tokens]), torch.arange(tokens), batch)
        except IndexError as error:
            return {"says": str(error)}
    return {"says": "ok"}
"""


@pytest.fixture(scope="module")
def embedder() -> Iterator[Sglang]:
    with sglang(EMBED) as process:
        yield process


@pytest.mark.parametrize(("positions", "padding"), [(514, 1), (514, 0), (130, 3)])
def test_xlm_r_takes_texts_as_long_as_said_and_no_longer(
    embedder: Sglang, model: Path, positions: int, padding: int
) -> None:
    change_json(
        model / "config.json",
        architectures=["XLMRobertaModel"],
        max_position_embeddings=positions,
        pad_token_id=padding,
    )
    usable = read_facts(local_files(model)).usable_positions
    assert usable is not None
    case = {"folder": str(model), "positions": positions, "padding": padding}
    assert embedder.ask({**case, "tokens": usable}) == {"says": "ok"}
    beyond = embedder.ask({**case, "tokens": usable + 1})
    assert beyond == {"says": "index out of range in self"}
