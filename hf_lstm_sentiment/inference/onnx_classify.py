"""Classify texts with an exported model: `python classify.py "A moving film." "A waste of two hours."`.

A copy of this file lies beside every exported model. It needs onnxruntime, tokenizers and numpy, and neither torch nor
transformers: pip install onnxruntime tokenizers numpy
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

_BATCH_SIZE = 64


class OnnxClassifier:
    """A model in ONNX form and its tokenizer.

    Args:
        directory: Where they lie.
        model: File of the model: "model_quantized.onnx" is the one in 8 bits, "model.onnx" the one in float32.

    Attributes:
        labels: Names of the labels.
    """

    def __init__(self, directory: str | os.PathLike[str], *, model: str = "model_quantized.onnx") -> None:
        # This tokenizer.json cuts to the length of the training and pads by itself.
        self._tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
        # A review that says "<pad>" means the word.
        self._tokenizer.encode_special_tokens = True
        self._session = onnxruntime.InferenceSession(str(Path(directory) / model), providers=["CPUExecutionProvider"])
        self.labels: tuple[str, ...] = tuple(json.loads(self._session.get_modelmeta().custom_metadata_map["labels"]))

    def logits(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Logits of each text, in order: of two labels that of the second (POSITIVE), else those of all.

        A text without a token gets what the model says of nothing; what is no text is refused.
        *Shape:* (texts,) or (texts, labels)
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string; pass a list of strings")
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"text {row} is {text!r} ({type(text).__name__}); every text must be a string")
            text.encode()
        logits = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        # Texts of similar length are computed together.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(texts), _BATCH_SIZE):
            rows = order[start : start + _BATCH_SIZE]
            encodings = self._tokenizer.encode_batch([texts[row] for row in rows])
            parts = {"input_ids": [e.ids for e in encodings], "attention_mask": [e.attention_mask for e in encodings]}
            inputs = {name: np.array(part, dtype=np.int64) for name, part in parts.items()}
            (logits[rows],) = self._session.run(["logits"], inputs)
        return logits[:, 1] if len(self.labels) == 2 else logits

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The most probable label of each text and its probability: `for label, score in classifier(texts)`."""
        found = probabilities(self.logits(texts))
        return [(self.labels[scores.argmax()], float(scores.max())) for scores in found]


def probabilities(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probability of every label from the logits that a classifier gives. *Shape:* (texts, labels)."""
    z = np.asarray(logits, dtype=np.float64)
    z = np.stack([np.zeros_like(z), z], axis=1) if z.ndim == 1 else z
    return np.asarray(np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True)))


def main() -> None:
    """Classify what the command line says, with the model beside this file."""
    texts = sys.argv[1:] or sys.exit(__doc__)
    # A console may not know every character of a text.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    for text, (label, score) in zip(texts, OnnxClassifier(Path(__file__).parent)(texts), strict=True):
        print(f"{label} {score:.3f}  {text}")  # noqa: T201


if __name__ == "__main__":
    main()
