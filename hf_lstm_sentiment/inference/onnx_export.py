"""A finished run in ONNX form, in float32 and in int8, each compared with the model that it came from."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from ..utils.files import read_json, user_path, write_json
from ..utils.imports import require
from .classifier import Classifier, sigmoid
from .onnx import make_graph

logger = logging.getLogger(__name__)

MODEL, INT8 = "model.onnx", "model_int8.onnx"
EXAMPLE, REPORT = "classify.py", "export.json"
SHAPES = ((1, 1), (1, 0), (3, 7), (8, 64), (2, 300), (64, 33))
"""Batch sizes and lengths at which an export is compared with torch."""
# Float32 sums in another order; a mistake in the graph makes differences above a tenth.
_TOLERANCE = 1e-4
_BATCH = 64


@dataclass(frozen=True)
class OnnxExport:
    """What an export wrote and what was measured of it.

    Attributes:
        bytes: Size of each file with weights; "model.safetensors" for comparison.
        largest_difference: Of a logit from torch's, over all `SHAPES`, by file.
        reviews: Of which source, and how many, the figures below are; None where no reviews were named.
        accuracy: Of torch ("torch") and of each file.
        changed_answers: Share of the reviews to which a file gives another label than torch.
        mean_probability_difference: Mean over the reviews of the distance from torch's probability, by file.
    """

    bytes: Mapping[str, int]
    largest_difference: Mapping[str, float]
    reviews: str | None = None
    accuracy: Mapping[str, float] | None = None
    changed_answers: Mapping[str, float] | None = None
    mean_probability_difference: Mapping[str, float] | None = None

    def summary(self) -> str:
        """What was measured, for a console."""
        lines = [f"{name:<18} {size:>12,} bytes" for name, size in self.bytes.items()]
        shapes = ", ".join(f"{batch}x{length}" for batch, length in SHAPES)
        lines += [
            f"{name}: logits differ from torch by at most {difference:.1e} (batch x length: {shapes})"
            for name, difference in self.largest_difference.items()
        ]
        if self.accuracy is not None:
            assert self.changed_answers is not None
            lines.append(f"{self.reviews}: torch {self.accuracy['torch']:.2%}")
            lines += [
                f"  {name}: {self.accuracy[name]:.2%} ({self.accuracy[name] - self.accuracy['torch']:+.2%}), "
                f"{self.changed_answers[name]:.2%} of the answers changed"
                for name in (MODEL, INT8)
            ]
        return "\n".join(lines)


def export_onnx(
    run: str | os.PathLike[str],
    *,
    output_dir: str | os.PathLike[str] | None = None,
    reviews: str | os.PathLike[str] | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    max_reviews: int | None = None,
) -> OnnxExport:
    """Write a run's model in ONNX form, with all that a program without torch needs to classify texts.

    The directory then holds `model.onnx` (float32), `model_int8.onnx` (weights of the word vectors and the LSTM in
    8 bits), `tokenizer.json` (which here cuts and pads by itself), `classify.py` (an example that runs) and
    `export.json` (what is returned).

    Args:
        run: A run directory, or another directory with a checkpoint and its tokenizer.
        output_dir: Where to; the folder `onnx` of the run where None. Files of an earlier export are replaced.
        reviews: Labelled reviews to measure the loss of accuracy on, as for `load_reviews`: their test part.
        text_column: As for `load_reviews`.
        label_column: As for `load_reviews`.
        max_reviews: Measure on a stratified sample of so many of them.

    Returns:
        What was measured.

    Raises:
        FileNotFoundError: There is no such directory.
        ModuleNotFoundError: An optional dependency is missing; the message holds the command that installs it.
        RuntimeError: The exported model does not compute what the original does.
        ValueError: A `naive_padding` model, reviews that cannot be used, or a checkpoint of another kind.
    """
    require("onnx", "onnxruntime", extra="onnx")
    from .onnx_classify import OnnxClassifier

    run = user_path(run, "the run")
    if not (run / "config.json").is_file():
        raise FileNotFoundError(f"{run} holds no model; pass a run directory, such as runs/v2_glove-seed42")
    kind = read_json(run / "config.json").get("model_type")
    if kind != SentimentLSTMForSequenceClassification.config_class.model_type:
        raise ValueError(f"{run} holds a model of type {kind!r}; only this package's own can be exported")
    labelled = None
    if reviews is not None:
        require("datasets", extra="train")
        from ..data.reviews import load_reviews

        labelled = load_reviews(
            reviews, text_column=text_column, label_column=label_column, max_test_samples=max_reviews
        ).test
    model = SentimentLSTMForSequenceClassification.from_pretrained(run).float().eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run)
    graph = make_graph(model)

    directory = user_path(output_dir, "the output") if output_dir is not None else run / "onnx"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MODEL).write_bytes(graph.SerializeToString())
    _quantize(directory / MODEL, directory / INT8)
    _save_tokenizer(tokenizer, directory / "tokenizer.json")
    shutil.copyfile(Path(__file__).with_name("onnx_classify.py"), directory / EXAMPLE)

    differences = {name: _largest_difference(model, directory / name) for name in (MODEL, INT8)}
    if not differences[MODEL] <= _TOLERANCE:
        raise RuntimeError(
            f"{directory / MODEL} differs from the model by {differences[MODEL]:.1e} in a logit; allowed: "
            f"{_TOLERANCE}. Do not use it"
        )
    sizes = {
        path.name: path.stat().st_size for path in (run / "model.safetensors", directory / MODEL, directory / INT8)
    }
    measured: dict[str, Any] = {}
    if labelled is not None:
        texts, labels = list(labelled["text"]), np.array(labelled["label"])
        logits = {"torch": Classifier(model, tokenizer).logits(texts, batch_size=_BATCH)}
        for name in (MODEL, INT8):
            logits[name] = _in_batches(OnnxClassifier(directory, model=name).logits, texts)
        measured = {"reviews": f"{len(texts):,} test reviews of {reviews}", **_compare(logits, labels)}
    export = OnnxExport(sizes, differences, **measured)
    recorded = {key: value for key, value in asdict(export).items() if value is not None}
    write_json({**recorded, "shapes": [list(shape) for shape in SHAPES]}, directory / REPORT)
    return export


def _quantize(path: Path, output: Path) -> None:
    """Weights of the word vectors and of the LSTM in 8 bits; its inputs and states are quantized as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _without_advice():
        quantize_dynamic(
            path, output, op_types_to_quantize=["Gather", "LSTM"], weight_type=QuantType.QInt8, per_channel=True
        )


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep onnxruntime from recommending, through the root logger, a preparation that changes nothing here."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _save_tokenizer(tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """The run's tokenizer, set to cut reviews as in training and to pad a batch to its longest."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.enable_truncation(max_length=tokenizer.model_max_length)
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    backend.save(str(path))


def _largest_difference(model: SentimentLSTMForSequenceClassification, path: Path) -> float:
    """Largest distance of a logit from torch's, over batches of random words with padding anywhere."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch_size, length in SHAPES:
        ids = torch.randint(model.config.vocab_size, (batch_size, length), generator=generator)
        mask = (torch.rand(batch_size, length, generator=generator) < 0.8).long()
        # A review without words, where there are others.
        mask[1:2] = 0
        with torch.inference_mode():
            expected = model(input_ids=ids, attention_mask=mask).logits.numpy()
        (logits,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        if logits.shape != expected.shape:
            raise RuntimeError(f"{path} answers {expected.shape[0]} reviews with an array of shape {logits.shape}")
        # Not max(): it would pass over a logit that is no number.
        largest = float(np.maximum(largest, np.abs(logits - expected).max()))
    return largest


def _in_batches(logits: Callable[[Sequence[str]], list[float]], texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Logits of many texts, batches being of similar length."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    result = np.empty(len(texts), dtype=np.float32)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        result[rows] = logits([texts[row] for row in rows])
    return result


def _compare(logits: Mapping[str, npt.NDArray[np.float32]], labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    answers = {name: z > 0 for name, z in logits.items()}
    probabilities = {name: sigmoid(z) for name, z in logits.items()}
    exported = [name for name in logits if name != "torch"]
    return {
        "accuracy": {name: float((answer == labels).mean()) for name, answer in answers.items()},
        "changed_answers": {name: float((answers[name] != answers["torch"]).mean()) for name in exported},
        "mean_probability_difference": {
            name: float(np.abs(probabilities[name] - probabilities["torch"]).mean()) for name in exported
        },
    }
