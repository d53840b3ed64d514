"""Reference vectors, computed with transformers and torch in the test's own process."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Reference:
    """A model as transformers runs it, one text at a time, on the CPU."""

    def __init__(self, folder: Path, pooling: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
            from transformers import AutoModel, AutoTokenizer

            self._torch: Any = torch
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
            self._model: Any = AutoModel.from_pretrained(str(folder)).eval()
        self._pooling = pooling

    def count(self, text: str) -> int:
        """Return the tokens of a text, special tokens included."""
        return len(self.tokenizer(text).input_ids)

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the normalised vectors of the texts: float32 (len(texts), dimension)."""
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> NDArray[np.float32]:
        with self._torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokens = self.tokenizer(text, return_tensors="pt")
            hidden = self._model(**tokens).last_hidden_state[0].float()
        pooled = {"mean": hidden.mean(dim=0), "last": hidden[-1], "cls": hidden[0]}[self._pooling]
        vector: NDArray[np.float32] = pooled.numpy()
        return vector / np.linalg.norm(vector)


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each row of `a` with the same row of `b`."""
    result: NDArray[np.float32] = (a * b).sum(axis=1) / (
        np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    )
    return result
