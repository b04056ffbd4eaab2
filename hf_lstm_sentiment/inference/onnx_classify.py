"""Classify texts with an exported model: `python classify.py "A moving film." "A waste of two hours."`.

A copy of this file lies beside every exported model. It needs onnxruntime, tokenizers and numpy, and neither torch nor
transformers: pip install onnxruntime tokenizers numpy
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class OnnxClassifier:
    """A model in ONNX form and its tokenizer.

    Args:
        directory: Where they lie.
        model: File of the model; "model.onnx" for the one in float32.
    """

    def __init__(self, directory: str | os.PathLike[str], *, model: str = "model_int8.onnx") -> None:
        # This tokenizer.json cuts to the length of the training and pads by itself.
        self._tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
        # A review that says "<pad>" means the word.
        self._tokenizer.encode_special_tokens = True
        self._session = onnxruntime.InferenceSession(str(Path(directory) / model), providers=["CPUExecutionProvider"])
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.labels: tuple[str, str] = tuple(json.loads(metadata["labels"]))

    def logits(self, texts: Sequence[str], *, batch_size: int = 64) -> list[float]:
        """Logit of the second label (POSITIVE) for each text, in order.

        Args:
            texts: The texts.
            batch_size: Texts that are computed together; those of similar length are.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string; pass a list of strings")
        logits = np.zeros(len(texts))
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            encodings = self._tokenizer.encode_batch([texts[row] for row in rows])
            inputs = {
                "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
                "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
            }
            (pairs,) = self._session.run(["logits"], inputs)  # (texts, 2), the first column zero
            logits[rows] = pairs[:, 1]
        return [float(z) for z in logits]

    def __call__(self, texts: Sequence[str], *, batch_size: int = 64) -> list[tuple[str, float]]:
        """The more probable label of each text and its probability; arguments as for :meth:`logits`."""
        found = self.logits(texts, batch_size=batch_size)
        return [(self.labels[int(z > 0)], 1 / (1 + math.exp(-abs(z)))) for z in found]


def main() -> None:
    """Classify what the command line says, with the model beside this file."""
    texts = sys.argv[1:]
    for text, (label, score) in zip(texts, OnnxClassifier(Path(__file__).parent)(texts), strict=True):
        print(f"{label} {score:.3f}  {text}")  # noqa: T201


if __name__ == "__main__":
    main()
