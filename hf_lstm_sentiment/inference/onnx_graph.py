"""The ONNX graph of a model, in float32 and in int8, and the same in onnxruntime.

The graph is written down here, not traced: ONNX's LSTM takes the length of each review, so that the graph, like the
model, reads no padding in either direction. torch's exporters do not get there from a model whose time steps are
grouped by the lengths of the reviews.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..model.loading import Network
from ..utils.imports import require

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

# Understood by runtimes since 2021.
_OPSET, _IR_VERSION = 17, 8


class OnnxNetwork:
    """The graph of a `Network` in onnxruntime, called as that is; each call computes in one thread, on the CPU."""

    def __init__(self, network: Network, *, int8: bool) -> None:
        require("onnx", "onnxruntime", extra="onnx")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.content = onnx_bytes(network, int8=int8)
        self._session = onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Compute the logits. *Shapes:* those of `Network.forward`."""
        (logits,) = self._session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.long().numpy()})
        return torch.from_numpy(logits[:, 1] if logits.shape[1] == 2 else logits)


def onnx_bytes(network: Network, *, int8: bool = False) -> bytes:
    """Serialize the graph of a model, as onnxruntime takes it; its shapes are those of :func:`make_graph`.

    With `int8`, the weights of word vectors and LSTM have 8 bits, the LSTM's with a scale for each gate of each unit;
    its inputs and states are quantized as they come.
    """
    graph = make_graph(network)
    if not int8:
        return cast(bytes, graph.SerializeToString())
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path, kinds = Path(folder, "int8.onnx"), ["Gather", "LSTM"]
        # Seven of the eight bits: processors without VNNI add two products in 16 bits, which eight would overflow.
        quantize_dynamic(
            graph, path, op_types_to_quantize=kinds, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
        return path.read_bytes()


def _numbers(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()


class _Graph:
    """Nodes and constants, in the order in which they were added."""

    def __init__(self, int8_weights: bool) -> None:
        self._int8 = int8_weights
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: npt.ArrayLike, dtype: type[np.generic] = np.int64) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype, order="C"), name))
        return name

    def rows(self, value: npt.NDArray[np.float32], ids: str = "") -> str:
        """A weight, or its rows of some ids; kept in 8 bits, with a scale for each row, where the graph is made so."""

        def kept(values: npt.ArrayLike, dtype: type[np.generic]) -> str:
            name = self.constant(values, dtype)
            return str(self.add("Gather", name, ids)) if ids else name

        if not self._int8:
            return kept(value, np.float32)
        scale = np.abs(value).max(axis=-1, keepdims=True).clip(np.finfo(np.float32).tiny) / 127
        levels = self.add("Cast", kept(np.rint(value / scale), np.int8), to=1)
        return str(self.add("Mul", levels, kept(scale, np.float32)))

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


def make_graph(network: Network, *, int8_weights: bool = False) -> ModelProto:
    """Write down the graph of a model; the names of its labels are in the metadata, and how it pools.

    With `int8_weights`, word vectors and the LSTM's weights have 8 bits, with a scale for each row, and are computed
    with in float32: a small file of the same answers on every processor, to the rounding of floats. What `onnx_bytes`
    makes with `int8` is faster, and may differ in the third digit from one to the next.

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
    graph = _Graph(int8_weights)
    batch_size = graph.add("Shape", "input_ids", end=1)  # (1,)
    ids, lengths = _left_aligned(graph, batch_size, pad_token_id=config.pad_token_id or 0)
    vectors = graph.rows(_numbers(network.embedding.weight), graph.add("Transpose", ids, perm=[1, 0]))
    states, pooled = _lstm(graph, network.lstm, vectors, lengths)
    if config.pooling != "last":
        pooled = _pool(graph, states, lengths, pooling=config.pooling)
    filled = graph.add("Unsqueeze", graph.add("Greater", lengths, graph.constant(0, np.int32)), graph.constant([1]))
    pooled = graph.add("Where", filled, pooled, graph.constant(0, np.float32))
    weight, bias = (graph.constant(_numbers(part), np.float32) for part in (network.head.weight, network.head.bias))
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
    weighed = graph.add("Mul", mask, weights)
    _, order = graph.add("TopK", weighed, graph.add("Unsqueeze", length, graph.constant([0])), outputs=2, axis=1)
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
            gates = [np.split(_numbers(getattr(lstm, f"{name}_l{layer}{suffix}")), 4) for suffix in suffixes]
            return np.stack([np.concatenate([i, o, f, c]) for i, f, c, o in gates])

        weights = [graph.rows(stack(name)) for name in ("weight_ih", "weight_hh")]
        bias = graph.constant(np.concatenate([stack("bias_ih"), stack("bias_hh")], axis=1), np.float32)
        direction = "bidirectional" if lstm.bidirectional else "forward"
        settings: dict[str, Any] = {"hidden_size": lstm.hidden_size, "direction": direction}
        y, last = graph.add("LSTM", x, *weights, bias, lengths, outputs=2, **settings)
        # From (length, directions, batch_size, hidden_size).
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
