"""The classifier as an ONNX graph, for any batch size and any length.

The graph is written down here, not traced: ONNX's LSTM takes the length of each review, so that the graph, like the
model, reads no padding in either direction. torch's exporters do not get there from a model whose time steps are
grouped by the lengths of the reviews.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

# Understood by runtimes since 2021.
_OPSET, _IR_VERSION = 17, 8


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


def make_graph(model: SentimentLSTMForSequenceClassification) -> ModelProto:
    """Write down the graph of a model.

    Inputs are `input_ids` and `attention_mask`, int64. *Shape:* (batch_size, seq_len) The output is `logits`, as the
    model returns them. *Shape:* (batch_size, 2) A batch has at least one review: onnxruntime's LSTM does not survive
    an empty one. The names of the two labels are in the graph's metadata.

    Args:
        model: The model.

    Raises:
        ValueError: The model reads its padding, which a graph of real words cannot do.
    """
    from onnx import TensorProto, checker, helper

    config = model.config
    if config.naive_padding:
        raise ValueError(
            "naive_padding is on: this model demonstrates a mistake and is not exported; train another preset"
        )
    graph = _Graph()
    ids, lengths = _left_aligned(graph, pad_token_id=config.pad_token_id or 0)
    inner = model.sentiment_lstm
    table = inner.word_embeddings.weight
    vectors = graph.add("Gather", graph.weight(table), graph.add("Transpose", ids, perm=[1, 0]))
    states, summary = _lstm(graph, inner.lstm, vectors, lengths)
    if config.pooling != "last":
        summary = _pool(graph, states, lengths, pooling=config.pooling)
    has_words = graph.add("Unsqueeze", graph.add("Greater", lengths, graph.constant(0, np.int32)), graph.constant([1]))
    summary = graph.add("Where", has_words, summary, graph.constant(0, np.float32))
    head = graph.weight(model.classifier.weight), graph.weight(model.classifier.bias)
    z = graph.add("Gemm", summary, *head, transB=1)  # (batch_size, 1)
    # [z] to [0, z]
    graph.nodes.append(helper.make_node("Pad", [z, graph.constant([0, 1, 0, 0])], ["logits"]))

    tokens = ["batch_size", "seq_len"]
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "sentiment_lstm",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, tokens)
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 2])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="hf_lstm_sentiment",
    )
    names = cast("dict[int, str]", config.id2label)
    helper.set_model_props(proto, {"labels": json.dumps([names[0], names[1]])})
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
    """States after every word and the last ones, both directions side by side.

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
    """Maximum or mean over the words of each review. *Shape:* (batch_size, directions * hidden_size)."""
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
