"""A run in ONNX form, in float32 and in int8, each compared with the model that it came from.

The graph is written down here, not traced: ONNX's LSTM takes the length of each review, so that the graph, like the
model, reads no padding in either direction. torch's exporters do not get there from a model whose time steps are
grouped by the lengths of the reviews.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..model.loading import Network
from ..utils.files import user_path, write_json
from ..utils.imports import require
from .classifier import Classifier, sigmoid

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

MODEL, INT8 = "model.onnx", "model_int8.onnx"
EXAMPLE, REPORT = "classify.py", "export.json"
SHAPES = ((1, 1), (1, 0), (3, 7), (8, 64), (2, 300), (64, 33))
"""Batch sizes and lengths at which an export is compared with torch."""
# Understood by runtimes since 2021.
_OPSET, _IR_VERSION = 17, 8
# Float32 sums in another order; a mistake in the graph makes differences above a tenth.
_TOLERANCE = 1e-4


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
        """Say what was measured, for a console."""
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
    classifier = Classifier.from_pretrained(run)
    graph = make_graph(classifier.network)
    labelled = None
    if reviews is not None:
        require("datasets", extra="train")
        from ..data.reviews import load_reviews

        labelled = load_reviews(
            reviews, text_column=text_column, label_column=label_column, max_test_samples=max_reviews
        ).test

    directory = user_path(output_dir, "the output") if output_dir is not None else run / "onnx"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MODEL).write_bytes(graph.SerializeToString())
    _quantize(directory / MODEL, directory / INT8)
    _save_tokenizer(classifier, directory / "tokenizer.json")
    shutil.copyfile(Path(__file__).with_name("onnx_classify.py"), directory / EXAMPLE)

    differences = {name: _largest_difference(classifier.network, directory / name) for name in (MODEL, INT8)}
    if not differences[MODEL] <= _TOLERANCE:
        raise RuntimeError(
            f"{directory / MODEL} differs from the model by {differences[MODEL]:.1e} in a logit; allowed: "
            f"{_TOLERANCE}. Do not use it"
        )
    paths = (run / "model.safetensors", directory / MODEL, directory / INT8)
    measured: dict[str, Any] = {}
    if labelled is not None:
        texts, labels = list(labelled["text"]), np.array(labelled["label"])
        logits = {"torch": classifier.logits(texts)}
        for name in (MODEL, INT8):
            logits[name] = np.array(OnnxClassifier(directory, model=name).logits(texts), dtype=np.float32)
        measured = {"reviews": f"{len(texts):,} test reviews of {reviews}", **_compare(logits, labels)}
    export = OnnxExport({path.name: path.stat().st_size for path in paths}, differences, **measured)
    recorded = {key: value for key, value in asdict(export).items() if value is not None}
    write_json({**recorded, "shapes": [list(shape) for shape in SHAPES]}, directory / REPORT)
    return export


def _quantize(path: Path, output: Path) -> None:
    """Weights of the word vectors and of the LSTM in 8 bits; its inputs and states are quantized as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        path, output, op_types_to_quantize=["Gather", "LSTM"], weight_type=QuantType.QInt8, per_channel=True
    )


def _save_tokenizer(classifier: Classifier, path: Path) -> None:
    """The run's tokenizer, set to cut reviews as in training and to pad a batch to its longest."""
    tokenizer, padding = classifier.tokenizer, classifier.config.pad_token_id or 0
    tokenizer = type(tokenizer).from_str(tokenizer.to_str())
    tokenizer.enable_truncation(max_length=classifier.max_length)
    tokenizer.enable_padding(pad_id=padding, pad_token=tokenizer.id_to_token(padding))
    tokenizer.save(str(path))


def _largest_difference(network: Network, path: Path) -> float:
    """Largest distance of a logit from torch's, over batches of random tokens with padding anywhere."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch_size, length in SHAPES:
        ids = torch.randint(network.config.vocab_size, (batch_size, length), generator=generator)
        mask = torch.rand(batch_size, length, generator=generator) < 0.8
        # A review without tokens, where there are others.
        mask[1:2] = False
        with torch.inference_mode():
            expected = network(ids, mask).numpy()
        (logits,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.long().numpy()})
        if logits.shape != (batch_size, 2):
            raise RuntimeError(f"{path} answers {batch_size} reviews with an array of shape {logits.shape}")
        # Not max(): it would pass over a logit that is no number.
        largest = float(np.maximum(largest, np.abs(logits - [[0, 1]] * expected[:, None]).max()))
    return largest


def _compare(logits: Mapping[str, npt.NDArray[np.float32]], labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    answers = {name: z > 0 for name, z in logits.items()}
    distances = {name: np.abs(sigmoid(logits[name]) - sigmoid(logits["torch"])) for name in (MODEL, INT8)}
    return {
        "accuracy": {name: float((answer == labels).mean()) for name, answer in answers.items()},
        "changed_answers": {name: float((answers[name] != answers["torch"]).mean()) for name in distances},
        "mean_probability_difference": {name: float(distance.mean()) for name, distance in distances.items()},
    }


class _Graph:
    """Nodes and constants, in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: npt.ArrayLike, dtype: type[np.generic] = np.int64) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype, order="C"), name))
        return name

    def weight(self, tensor: Tensor) -> str:
        return self.constant(tensor.detach().float().cpu().numpy(), np.float32)

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Name of the node's output; a list of names where there are several."""
        from onnx import helper

        names = [f"{operator}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names


def make_graph(network: Network) -> ModelProto:
    """Write down the graph of a model; the names of its labels are in the metadata.

    *Shapes:* `input_ids` and `attention_mask`, int64, (batch_size, seq_len); `logits`, `[0, z]`, (batch_size, 2).
    A batch has at least one review: onnxruntime's LSTM does not survive an empty one.
    """
    from onnx import TensorProto, checker, helper

    config = network.config
    if config.naive_padding:
        raise ValueError(
            "naive_padding is on: this model demonstrates a mistake and is not exported; train another preset"
        )
    graph = _Graph()
    ids, lengths = _left_aligned(graph, pad_token_id=config.pad_token_id or 0)
    table = graph.weight(network.embedding.weight)
    vectors = graph.add("Gather", table, graph.add("Transpose", ids, perm=[1, 0]))
    states, pooled = _lstm(graph, network.lstm, vectors, lengths)
    if config.pooling != "last":
        pooled = _pool(graph, states, lengths, pooling=config.pooling)
    filled = graph.add("Unsqueeze", graph.add("Greater", lengths, graph.constant(0, np.int32)), graph.constant([1]))
    pooled = graph.add("Where", filled, pooled, graph.constant(0, np.float32))
    head = graph.weight(network.head.weight), graph.weight(network.head.bias)
    z = graph.add("Gemm", pooled, *head, transB=1)  # (batch_size, 1)
    # [z] to [0, z]
    graph.nodes.append(helper.make_node("Pad", [z, graph.constant([0, 1, 0, 0])], ["logits"]))

    shape = ["batch_size", "seq_len"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 2])]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "sentiment_lstm", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="hf_lstm_sentiment",
    )
    labels = cast("dict[int, str]", config.id2label)
    # The second keeps onnxruntime from recommending a preparation that changes nothing here.
    prepared = {"onnx.quant.pre_process": "onnxruntime.quant"}
    helper.set_model_props(proto, {"labels": json.dumps([labels[0], labels[1]]), **prepared})
    checker.check_model(proto, full_check=True)
    return proto


def _left_aligned(graph: _Graph, *, pad_token_id: int) -> tuple[str, str]:
    """Token ids with all padding moved to the end, and how many are real.

    *Shapes:* (batch_size, length), (batch_size,)

    One column of padding is added, so that a batch of empty reviews has a length that an LSTM takes.
    """
    column = graph.constant([0, 0, 0, 1])
    ids = graph.add("Pad", "input_ids", column, graph.constant(pad_token_id))
    given = graph.add("Pad", "attention_mask", column, graph.constant(0))
    mask = graph.add("Cast", graph.add("Cast", given, to=9), to=7)  # to bool, to int64: any value but 0 is a real token
    length = graph.add("Gather", graph.add("Shape", ids), graph.constant(1))
    # Real tokens weigh more the further to the left they stand, padding nothing.
    weights = graph.add("Range", length, graph.constant(0), graph.constant(-1))
    _, order = graph.add(
        "TopK", graph.add("Mul", mask, weights), graph.add("Unsqueeze", length, graph.constant([0])), outputs=2, axis=1
    )
    lengths = graph.add("Cast", graph.add("ReduceSum", mask, graph.constant([1]), keepdims=0), to=6)  # to int32
    return graph.add("GatherElements", ids, order, axis=1), lengths


def _lstm(graph: _Graph, lstm: nn.LSTM, x: str, lengths: str) -> tuple[str, str]:
    """States after every token and the last ones, both directions side by side.

    *Shapes:* (length, batch_size, directions * hidden_size), (batch_size, directions * hidden_size)
    """
    suffixes = ["", "_reverse"] if lstm.bidirectional else [""]
    last = ""
    for layer in range(lstm.num_layers):

        def stack(name: str, layer: int = layer) -> npt.NDArray[np.float32]:
            """A parameter of every direction, its gates in ONNX's order (i, o, f, c), not torch's (i, f, c, o)."""
            parts = [getattr(lstm, f"{name}_l{layer}{suffix}").detach().float().cpu().numpy() for suffix in suffixes]
            gates = [np.split(part, 4) for part in parts]
            return np.stack([np.concatenate([i, o, f, c]) for i, f, c, o in gates])

        weights = [graph.constant(stack(name), np.float32) for name in ("weight_ih", "weight_hh")]
        bias = graph.constant(np.concatenate([stack("bias_ih"), stack("bias_hh")], axis=1), np.float32)
        y, last = graph.add(
            "LSTM",
            *(x, *weights, bias, lengths),
            outputs=2,
            hidden_size=lstm.hidden_size,
            direction="bidirectional" if lstm.bidirectional else "forward",
        )
        # (length, directions, batch_size, hidden_size)
        x = graph.add("Reshape", graph.add("Transpose", y, perm=[0, 2, 1, 3]), graph.constant([0, 0, -1]))
    return x, graph.add("Reshape", graph.add("Transpose", last, perm=[1, 0, 2]), graph.constant([0, -1]))


def _pool(graph: _Graph, states: str, lengths: str, *, pooling: str) -> str:
    """Maximum or mean over the tokens of each review. *Shape:* (batch_size, directions * hidden_size)."""
    length = graph.add("Gather", graph.add("Shape", states), graph.constant(0))
    steps = graph.add("Cast", graph.add("Range", graph.constant(0), length, graph.constant(1)), to=6)
    real = graph.add("Less", graph.add("Unsqueeze", steps, graph.constant([1])), lengths)  # (length, batch_size)
    real = graph.add("Unsqueeze", real, graph.constant([2]))
    if pooling == "max":
        lowest = graph.constant(np.finfo(np.float32).min, np.float32)
        return str(graph.add("ReduceMax", graph.add("Where", real, states, lowest), axes=[0], keepdims=0))
    real_states = graph.add("Where", real, states, graph.constant(0, np.float32))
    total = graph.add("ReduceSum", real_states, graph.constant([0]), keepdims=0)
    count = graph.add("Cast", graph.add("Max", lengths, graph.constant(1, np.int32)), to=1)
    return str(graph.add("Div", total, graph.add("Unsqueeze", count, graph.constant([1]))))
