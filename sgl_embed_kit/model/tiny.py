"""Make a small random model that SGLang serves as it serves Qwen3-Embedding.

It has the real layout (Qwen3ForCausalLM config, bf16 safetensors, a byte-level BPE
tokenizer that ends every text in the EOS token, sentence-transformers' pooling and
prompt files), so that everything but the meaning of the vectors can be tried without
a network. The same options and seed give the same files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgl_embed_kit.errors import KitError, UsageError
from sgl_embed_kit.folders import complete_or_absent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

HEAD_DIM = 32
CONTEXT_LENGTH = 4096
VOCABULARY_SIZE = 2048
END_OF_TEXT = "<|endoftext|>"
WEB_SEARCH_PROMPT = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)


@dataclass(frozen=True)
class TinyModel:
    """The shape of a tiny model.

    Attributes:
        hidden_size: Width of the hidden state, which is the dimension of the vectors.
        layers: Number of transformer layers.
        seed: Seed of the random weights.
    """

    hidden_size: int = 128
    layers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * HEAD_DIM) or not 64 <= self.hidden_size <= 4096:  # noqa: PLR2004
            raise UsageError(
                f"A hidden size of {self.hidden_size} cannot be made.",
                why=f"It must be a multiple of {2 * HEAD_DIM} between 64 and 4096.",
                cure="sgl-embed model tiny DIR --hidden-size 128",
            )
        if not 1 <= self.layers <= 64:  # noqa: PLR2004
            raise UsageError(
                f"A model of {self.layers} layers cannot be made.",
                why="It must have between 1 and 64 layers.",
                cure="sgl-embed model tiny DIR --layers 2",
            )


def make_tiny_model(target: Path, shape: TinyModel) -> None:
    """Write the model to `target`, a folder that must not exist yet.

    Raises:
        KitError: `target` exists or cannot be written.
    """
    if target.exists():
        raise KitError(
            f"{target} exists already.",
            why="A model folder is written whole and never over another one.",
            cure=f"sgl-embed model tiny {target}-2",
        )
    tokenizer = _trained_tokenizer()
    with complete_or_absent(target) as folder:
        (folder / "1_Pooling").mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        for name, content in _json_files(shape, tokenizer).items():
            (folder / name).write_text(
                json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        _write_safetensors(
            folder / "model.safetensors", _weights(shape, tokenizer.get_vocab_size())
        )


def _trained_tokenizer() -> Tokenizer:
    """Train a byte-level BPE like Qwen's on the text that lies beside this module."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from tokenizers.trainers import BpeTrainer

    text = resources.files(__package__).joinpath("tiny_corpus.txt").read_text(encoding="utf-8")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(  # type: ignore[no-untyped-call]
        vocab_size=VOCABULARY_SIZE - 3,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(), trainer)
    tokenizer.add_special_tokens([END_OF_TEXT, "<|im_start|>", "<|im_end|>"])
    tokenizer.post_processor = TemplateProcessing(
        single=f"$A {END_OF_TEXT}",
        pair=f"$A {END_OF_TEXT} $B:1 {END_OF_TEXT}:1",
        special_tokens=[(END_OF_TEXT, tokenizer.token_to_id(END_OF_TEXT))],
    )
    return tokenizer


def _json_files(shape: TinyModel, tokenizer: Tokenizer) -> dict[str, Any]:
    heads = shape.hidden_size // HEAD_DIM
    end_of_text = tokenizer.token_to_id(END_OF_TEXT)
    special = {
        str(tokenizer.token_to_id(token)): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for token in (END_OF_TEXT, "<|im_start|>", "<|im_end|>")
    }
    pooling_modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    return {
        "config.json": {
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": end_of_text,
            "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
            "head_dim": HEAD_DIM,
            "hidden_act": "silu",
            "hidden_size": shape.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": 3 * shape.hidden_size,
            "max_position_embeddings": CONTEXT_LENGTH,
            "model_type": "qwen3",
            "num_attention_heads": heads,
            "num_hidden_layers": shape.layers,
            "num_key_value_heads": heads // 2,
            "rms_norm_eps": 1e-06,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": None,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "use_sliding_window": False,
            "vocab_size": tokenizer.get_vocab_size(),
        },
        "tokenizer_config.json": {
            "added_tokens_decoder": special,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "model_max_length": CONTEXT_LENGTH,
            "pad_token": END_OF_TEXT,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {
                "idx": 1,
                "name": "1",
                "path": "1_Pooling",
                "type": "sentence_transformers.models.Pooling",
            },
            {
                "idx": 2,
                "name": "2",
                "path": "2_Normalize",
                "type": "sentence_transformers.models.Normalize",
            },
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": shape.hidden_size,
            **{f"pooling_mode_{mode}": False for mode in pooling_modes},
            "pooling_mode_weightedmean_tokens": False,
            "pooling_mode_lasttoken": True,
            "include_prompt": True,
        },
        "config_sentence_transformers.json": {
            "prompts": {"query": WEB_SEARCH_PROMPT, "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }


def _weights(shape: TinyModel, vocabulary: int) -> dict[str, NDArray[np.float32]]:
    """Return random float32 weights by their name in Qwen3ForCausalLM.

    The spread is 1/sqrt(inputs), not the usual 0.02: each layer then changes the hidden
    state enough for the last token's vector to depend on the whole text.
    """
    import numpy as np

    random = np.random.default_rng(shape.seed)
    hidden, heads = shape.hidden_size, shape.hidden_size // HEAD_DIM

    def matrix(outputs: int, inputs: int) -> NDArray[np.float32]:
        spread = np.float32(1 / np.sqrt(inputs))
        return random.standard_normal((outputs, inputs), dtype=np.float32) * spread

    weights = {"model.embed_tokens.weight": matrix(vocabulary, hidden)}
    for index in range(shape.layers):
        layer = f"model.layers.{index}"
        weights |= {
            f"{layer}.self_attn.q_proj.weight": matrix(heads * HEAD_DIM, hidden),
            f"{layer}.self_attn.k_proj.weight": matrix(heads // 2 * HEAD_DIM, hidden),
            f"{layer}.self_attn.v_proj.weight": matrix(heads // 2 * HEAD_DIM, hidden),
            f"{layer}.self_attn.o_proj.weight": matrix(hidden, heads * HEAD_DIM),
            f"{layer}.self_attn.q_norm.weight": np.ones(HEAD_DIM, dtype=np.float32),
            f"{layer}.self_attn.k_norm.weight": np.ones(HEAD_DIM, dtype=np.float32),
            f"{layer}.mlp.gate_proj.weight": matrix(3 * hidden, hidden),
            f"{layer}.mlp.up_proj.weight": matrix(3 * hidden, hidden),
            f"{layer}.mlp.down_proj.weight": matrix(hidden, 3 * hidden),
            f"{layer}.input_layernorm.weight": np.ones(hidden, dtype=np.float32),
            f"{layer}.post_attention_layernorm.weight": np.ones(hidden, dtype=np.float32),
        }
    weights["model.norm.weight"] = np.ones(hidden, dtype=np.float32)
    return weights


def _write_safetensors(path: Path, weights: dict[str, NDArray[np.float32]]) -> None:
    """Write the weights as bf16: eight bytes of header length, a JSON header, the data.

    The safetensors package cannot do it without torch, because NumPy has no bfloat16;
    the format is fixed (https://huggingface.co/docs/safetensors, "Format").
    """
    data = {name: _bfloat16_bytes(values) for name, values in weights.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, content in data.items():
        header[name] = {
            "dtype": "BF16",
            "shape": list(weights[name].shape),
            "data_offsets": [start, start + len(content)],
        }
        start += len(content)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        file.writelines(data.values())


def _bfloat16_bytes(values: NDArray[np.float32]) -> bytes:
    """Round float32 values to bfloat16 (its upper 16 bits), to the nearest even."""
    import numpy as np

    bits = values.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype("<u2").tobytes()
