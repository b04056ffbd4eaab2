"""A model in ONNX form, in float32 and in int8, each compared with the model that it came from.

The graph is written down here, not traced: ONNX's LSTM takes the length of each review, so that the graph, like the
model, reads no padding in either direction. torch's exporters do not get there from a model whose time steps are
grouped by the lengths of the reviews.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..model.loading import Network
from ..model.pretrained_models import held, pretrained
from ..utils.files import user_path, write_json
from ..utils.imports import require
from .classifier import Classifier

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

# Where transformers.js looks for them.
FOLDER, MODEL, INT8 = "onnx", "model.onnx", "model_quantized.onnx"
EXAMPLE, REPORT = "classify.py", "export.json"
SHAPES = ((1, 1), (1, 0), (0, 5), (3, 7), (8, 64), (2, 300), (64, 33))
"""Batch sizes and lengths at which an export is compared with torch."""
# Understood by runtimes since 2021.
_OPSET, _IR_VERSION = 17, 8
# Float32 sums in another order; a mistake in the graph makes differences above a tenth.
_TOLERANCE = 1e-4


def export_onnx(
    run: str | os.PathLike[str],
    *,
    output_dir: str | os.PathLike[str] | None = None,
    reviews: str | os.PathLike[str] | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    max_reviews: int | None = None,
) -> dict[str, Any]:
    """Write a model in ONNX form, with all that programs without torch need to classify texts.

    A folder `onnx` then holds `model.onnx` (float32), `model_quantized.onnx` (weights of the word vectors and the LSTM
    in 8 bits), `tokenizer.json` (which here cuts and pads by itself), `classify.py` (an example that runs) and
    `export.json` (what is returned). Beside `config.json` and the tokenizer, as in a run directory, it is also where
    transformers.js looks.

    Args:
        run: A run directory or another directory with a checkpoint and its tokenizer; or a model that comes with the
            package, by its name.
        output_dir: In which directory to make the folder, with copies of the configuration and of the tokenizer; in
            that of the run where None. Files of an earlier export are replaced.
        reviews: Labelled reviews to measure the loss of accuracy on, as for `load_reviews`: their test part.
        text_column: As for `load_reviews`.
        label_column: As for `load_reviews`.
        max_reviews: Measure on a stratified sample of so many of them.

    Returns:
        What was measured: "bytes" by file; "largest_difference" of a logit from torch's over batches of the "shapes";
        with `reviews`, which and how many ("reviews"), "accuracy", "changed_answers" (the share that gets another
        label than from torch) and "mean_probability_difference".

    Raises:
        FileNotFoundError: There is no such directory.
        ModuleNotFoundError: An optional dependency is missing; the message holds the command that installs it.
        RuntimeError: The exported model does not compute what the original does.
        ValueError: A `naive_padding` model, reviews that cannot be used, a checkpoint of another kind, or a model of
            the package without `output_dir`.
    """
    require("onnx", "onnxruntime", extra="onnx")
    from .onnx_classify import OnnxClassifier, probabilities

    source = user_path(run, "the run")
    if not (source / "config.json").is_file():
        if str(run) not in held():
            raise FileNotFoundError(f"{source} holds no model; pass a run directory, such as runs/v2_glove-seed42")
        if output_dir is None:
            raise ValueError(f"{run} comes with the package, which stays as it is; name a directory with output_dir")
        source = Path(pretrained(str(run)))
    classifier = Classifier.from_pretrained(source)
    files = {MODEL: onnx_bytes(classifier.network), INT8: onnx_bytes(classifier.network, int8=True)}
    labelled = None
    if reviews is not None:
        require("datasets", extra="train")
        from ..data.reviews import load_reviews

        labelled = load_reviews(
            reviews, text_column=text_column, label_column=label_column, max_test_samples=max_reviews
        ).test

    target = source if output_dir is None else user_path(output_dir, "the output")
    folder = target / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if target.resolve() != source.resolve():
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(source / name, target / name)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    _save_tokenizer(classifier, folder / "tokenizer.json")
    shutil.copyfile(Path(__file__).with_name("onnx_classify.py"), folder / EXAMPLE)

    differences = {name: _largest_difference(classifier.network, folder / name) for name in files}
    if not differences[MODEL] <= _TOLERANCE:
        raise RuntimeError(
            f"{folder / MODEL} differs from the model by {differences[MODEL]:.1e} in a logit; allowed: "
            f"{_TOLERANCE}. Do not use it"
        )
    sizes = {path.name: path.stat().st_size for path in (source / "model.safetensors", folder / MODEL, folder / INT8)}
    measured: dict[str, Any] = {"bytes": sizes, "largest_difference": differences, "shapes": [*map(list, SHAPES)]}
    if labelled is not None:
        texts = list(labelled["text"])
        expected = probabilities(classifier.logits(texts))
        found = {name: probabilities(OnnxClassifier(folder, model=name).logits(texts)) for name in files}
        answers = {name: scores.argmax(axis=1) for name, scores in {"torch": expected, **found}.items()}
        distances = {name: np.abs(scores - expected).sum(axis=1) / 2 for name, scores in found.items()}
        measured |= {
            "reviews": f"{len(texts):,} test reviews of {reviews}",
            "accuracy": {name: float((own == labelled["label"]).mean()) for name, own in answers.items()},
            "changed_answers": {name: float((answers[name] != answers["torch"]).mean()) for name in found},
            "mean_probability_difference": {name: float(own.mean()) for name, own in distances.items()},
        }
    write_json(measured, folder / REPORT)
    return measured


def summary(export: Mapping[str, Any]) -> str:
    """Say what :func:`export_onnx` measured, for a console."""
    lines = [f"{name:<20} {size:>12,} bytes" for name, size in export["bytes"].items()]
    shapes = ", ".join(f"{batch}x{length}" for batch, length in export["shapes"])
    for name, difference in export["largest_difference"].items():
        lines.append(f"{name}: logits differ from torch by at most {difference:.1e} (batch x length: {shapes})")
    if accuracy := export.get("accuracy"):
        lines.append(f"{export['reviews']}: torch {accuracy['torch']:.2%}")
        for name, changed in export["changed_answers"].items():
            loss = f"{accuracy[name]:.2%} ({accuracy[name] - accuracy['torch']:+.2%})"
            lines.append(f"  {name}: {loss}, {changed:.2%} of the answers changed")
    return "\n".join(lines)


def onnx_bytes(network: Network, *, int8: bool = False) -> bytes:
    """Serialize the graph of a model, as onnxruntime takes it; its shapes are those of :func:`make_graph`.

    Args:
        network: The layers.
        int8: Weights of the word vectors and of the LSTM in 8 bits, the LSTM's with a scale for each gate of each
            unit; its inputs and states are quantized as they come.
    """
    graph = make_graph(network)
    if not int8:
        return cast(bytes, graph.SerializeToString())
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path, kinds = Path(folder, INT8), ["Gather", "LSTM"]
        quantize_dynamic(graph, path, op_types_to_quantize=kinds, weight_type=QuantType.QInt8, per_channel=True)
        return path.read_bytes()


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
        (logits,) = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.long().numpy()})
        found = logits[:, 1] if expected.ndim == 1 else logits
        if found.shape != expected.shape:
            raise RuntimeError(f"{path} answers {batch_size} reviews with an array of shape {logits.shape}")
        # Not max(): it would pass over a logit that is no number.
        largest = float(np.maximum(largest, np.abs(found - expected).max(initial=0)))
    return largest


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

    def output(self, name: str, shape: list[int | str], operator: str, *inputs: str) -> ValueInfoProto:
        from onnx import TensorProto, helper

        self.nodes.append(helper.make_node(operator, list(inputs), [name]))
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def make_graph(network: Network) -> ModelProto:
    """Write down the graph of a model; the names of its labels are in the metadata, and how it pools.

    *Shapes:* `input_ids` and `attention_mask`, int64, (batch_size, seq_len); `logits`, (batch_size, labels), of two
    labels `[0, z]`. Outputs for those who ask for the state after every token: `states`, each review's tokens first
    and then its padding, (seq_len + 1, batch_size, width), and the head's `weight` (logits, width) and `bias`
    (logits,), with one logit for two labels.
    """
    from onnx import TensorProto, checker, helper

    config = network.config
    if config.naive_padding:
        raise ValueError(
            "naive_padding is on: this model demonstrates a mistake and is not exported; train another preset"
        )
    graph = _Graph()
    batch_size = graph.add("Shape", "input_ids", end=1)  # (1,)
    ids, lengths = _left_aligned(graph, batch_size, pad_token_id=config.pad_token_id or 0)
    vectors = graph.add("Gather", graph.weight(network.embedding.weight), graph.add("Transpose", ids, perm=[1, 0]))
    states, pooled = _lstm(graph, network.lstm, vectors, lengths)
    if config.pooling != "last":
        pooled = _pool(graph, states, lengths, pooling=config.pooling)
    filled = graph.add("Unsqueeze", graph.add("Greater", lengths, graph.constant(0, np.int32)), graph.constant([1]))
    pooled = graph.add("Where", filled, pooled, graph.constant(0, np.float32))
    weight, bias = graph.weight(network.head.weight), graph.weight(network.head.bias)
    logits = graph.add("Gemm", pooled, weight, bias, transB=1)
    count, width = network.head.weight.shape
    if count == 1:
        logits = graph.add("Pad", logits, graph.constant([0, 1, 0, 0]))
    labels, zero = cast("dict[int, str]", config.id2label), graph.constant([0])
    outputs = [
        # Without the row that stands in for an empty batch.
        graph.output("logits", ["batch_size", len(labels)], "Slice", logits, zero, batch_size, zero),
        graph.output("states", ["seq_len_and_one", "rows", width], "Identity", states),
        graph.output("weight", [count, width], "Identity", weight),
        graph.output("bias", [count], "Identity", bias),
    ]

    shape = ["batch_size", "seq_len"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "sentiment_lstm", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="hf_lstm_sentiment",
    )
    facts = {"labels": json.dumps([labels[index] for index in range(len(labels))]), "pooling": config.pooling}
    # The last keeps onnxruntime from recommending a preparation that changes nothing here.
    prepared = {"directions": str(1 + config.bidirectional), "onnx.quant.pre_process": "onnxruntime.quant"}
    helper.set_model_props(proto, {**facts, **prepared})
    checker.check_model(proto, full_check=True)
    return proto


def _left_aligned(graph: _Graph, batch_size: str, *, pad_token_id: int) -> tuple[str, str]:
    """Token ids with all padding moved to the end, and how many are real.

    *Shapes:* (rows, seq_len + 1), (rows,)

    One column of padding is added, so that a batch of empty reviews has a length that an LSTM takes, and to an empty
    batch a row, without which onnxruntime's LSTM ends the process.
    """
    row = graph.add("Max", graph.add("Sub", graph.constant([1]), batch_size), graph.constant([0]))
    added = graph.add("Concat", graph.constant([0, 0]), row, graph.constant([1]), axis=0)
    ids = graph.add("Pad", "input_ids", added, graph.constant(pad_token_id))
    given = graph.add("Pad", "attention_mask", added, graph.constant(0))
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
