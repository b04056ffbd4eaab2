"""The ONNX graph of a model, in float32 and in int8, and the same in onnxruntime.

The graph is written down here, not traced: ONNX's LSTM takes the length of each review, so that the graph, like the
model, reads no padding in either direction. torch's exporters do not get there from a model whose time steps are
grouped by the lengths of the reviews.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..model.loading import Network
from ..utils.imports import require

if TYPE_CHECKING:
    from onnx import ModelProto

# Understood by runtimes since 2021.
_OPSET, _IR_VERSION = 17, 8


class OnnxNetwork:
    """What :func:`onnx_bytes` makes of a `Network`, called as that is; each call computes in one thread, on the CPU."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.content = content
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Compute the logits. *Shapes:* those of `Network.forward`."""
        (logits,) = self._session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.long().numpy()})
        return torch.from_numpy(logits[:, 1] if logits.shape[1] == 2 else logits)


def onnx_bytes(network: Network, *, int8: bool = False) -> bytes:
    """Serialize the graph of a model, as onnxruntime takes it; its shapes are those of :func:`make_graph`.

    With `int8`, the weights of word vectors and LSTM have 8 bits, the LSTM's with a scale for each gate of each unit;
    its inputs and states are quantized as they come.
    """
    require("onnx", "onnxruntime", extra="onnx")
    graph = make_graph(network)
    if not int8:
        return bytes(graph.SerializeToString())
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path, kinds = Path(folder, "int8.onnx"), ["Gather", "LSTM"]
        # Seven of the eight bits: processors without VNNI add two products in 16 bits, which eight would overflow.
        quantize_dynamic(
            graph, path, op_types_to_quantize=kinds, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
        return path.read_bytes()


# Token ids and mask become `tokens`, with all padding moved to the end, and `lengths`, how many are real.
_LEFT_ALIGNED = """
# A column of padding, so that a batch of empty reviews has a length that an LSTM takes; and to an empty batch a row,
# without which onnxruntime's LSTM ends the process.
batch_size = Shape<end = 1>(input_ids)
missing = Sub(one, batch_size)
row = Max(missing, zero)
added = Concat<axis = 0>(zero, zero, row, one)
ids = Pad(input_ids, added, padding)
mask = Pad(attention_mask, added)
# To bool, to int64: any value but 0 is a real token.
is_real = Cast<to = 9>(mask)
real = Cast<to = 7>(is_real)
# Real tokens weigh more the further to the left they stand, padding nothing.
shape = Shape(ids)
length = Gather(shape, next)
weights = Range(length, nothing, back)
weighed = Mul(real, weights)
width = Unsqueeze(length, zero)
_weight, order = TopK<axis = 1>(weighed, width)
count = ReduceSum<keepdims = 0>(real, one)
lengths = Cast<to = 6>(count)
aligned = GatherElements<axis = 1>(ids, order)
tokens = Transpose<perm = [1, 0]>(aligned)
"""
# From the states after every token, (length, batch_size, width): which of them are of real tokens.
_READ = """
steps = Range(nothing, length, next)
step = Cast<to = 6>(steps)
step_column = Unsqueeze(step, one)
is_read = Less(step_column, lengths)
read = Unsqueeze(is_read, two)
"""
# From them, or from the last ones, to `pooled`, (batch_size, width).
_POOLING = {
    "last": "pooled = Identity(last)",
    "max": f"{_READ} shown = Where(read, states, lowest) pooled = ReduceMax<axes = [0], keepdims = 0>(shown)",
    "mean": f"""{_READ}
shown = Where(read, states, none)
total = ReduceSum<keepdims = 0>(shown, zero)
number = Cast<to = 1>(lengths)
at_least_one = Max(number, unit)
divisor = Unsqueeze(at_least_one, one)
pooled = Div(total, divisor)
""",
}


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
    from onnx import checker, helper, numpy_helper, parser

    config, lstm, head = network.config, network.lstm, network.head
    if config.naive_padding:
        raise ValueError(
            "naive_padding is on: this model demonstrates a mistake and is not exported; train another preset"
        )
    integers = {"zero": [0], "one": [1], "two": [2], "nothing": 0, "next": 1, "back": -1, "before": [0, 1, 0, 0]}
    integers |= {"padding": config.pad_token_id or 0, "by_step": [0, 0, -1], "by_review": [0, -1]}
    constants: dict[str, npt.NDArray[Any]] = {name: np.array(value, np.int64) for name, value in integers.items()}
    numbers = {"none": 0, "unit": 1, "lowest": np.finfo(np.float32).min}
    constants |= {name: np.array(value, np.float32) for name, value in numbers.items()}
    constants |= {"head_weight": _numbers(head.weight), "head_bias": _numbers(head.bias)}
    lines = [_LEFT_ALIGNED]

    def hold(name: str, value: npt.NDArray[np.float32], ids: str = "") -> None:
        """Name a weight, or its rows of some ids: in 8 bits, with a scale for each row, where asked for."""
        parts: dict[str, npt.NDArray[Any]] = {name: value}
        if int8_weights:
            scale = np.abs(value).max(axis=-1, keepdims=True).clip(np.finfo(np.float32).tiny) / 127
            parts = {f"{name}_levels": np.rint(value / scale).astype(np.int8), f"{name}_scale": scale}
        for part, content in parts.items():
            constants[f"{part}_table" if ids else part] = content
            if ids:
                lines.append(f"{part} = Gather({part}_table, {ids})")
        if int8_weights:
            lines.append(f"{name}_float = Cast<to = 1>({name}_levels) {name} = Mul({name}_float, {name}_scale)")

    hold("x0", _numbers(network.embedding.weight), "tokens")
    sides, direction = (["", "_reverse"], "bidirectional") if lstm.bidirectional else ([""], "forward")
    for layer in range(lstm.num_layers):
        # Of every direction, with the gates in ONNX's order (i, o, f, c), not torch's (i, f, c, o).
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        of_gates = [[getattr(lstm, f"{name}_l{layer}{side}").chunk(4) for side in sides] for name in names]
        w, r, *biases = (np.stack([_numbers(torch.cat([i, o, f, c])) for i, f, c, o in own]) for own in of_gates)
        hold(f"w{layer}", w)
        hold(f"r{layer}", r)
        constants[f"b{layer}"] = np.concatenate(biases, axis=1)
        settings = f'hidden_size = {lstm.hidden_size}, direction = "{direction}"'
        lines.append(f"y{layer}, end{layer} = LSTM<{settings}>(x{layer}, w{layer}, r{layer}, b{layer}, lengths)")
        # From (length, directions, batch_size, hidden_size).
        lines.append(f"sides{layer} = Transpose<perm = [0, 2, 1, 3]>(y{layer})")
        lines.append(f"x{layer + 1} = Reshape(sides{layer}, by_step)")
    count, width = head.weight.shape
    # Of two labels, that of the first is 0; and without the row that stands in for an empty batch.
    lines.append(f"""
states = Identity(x{lstm.num_layers})
ends = Transpose<perm = [1, 0, 2]>(end{lstm.num_layers - 1})
last = Reshape(ends, by_review)
{_POOLING[config.pooling]}
is_filled = Cast<to = 9>(lengths)
filled = Unsqueeze(is_filled, one)
kept = Where(filled, pooled, none)
weight = Identity(head_weight)
bias = Identity(head_bias)
scores = Gemm<transB = 1>(kept, weight, bias)
all_scores = {"Pad(scores, before)" if count == 1 else "Identity(scores)"}
logits = Slice(all_scores, zero, batch_size, zero)
""")
    inputs = ", ".join(f"int64[batch_size, seq_len] {name}" for name in ("input_ids", "attention_mask"))
    outputs = f"float[batch_size, {len(config.label_names)}] logits, float[seq_len_and_one, rows, {width}] states"
    outputs += f", float[{count}, {width}] weight, float[{count}] bias"
    graph = parser.parse_graph(f"sentiment_lstm ({inputs}) => ({outputs}) {{" + "\n".join(lines) + "}")
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(numpy_helper.from_array(constants[name], name) for name in constants if name in used)
    opset = helper.make_opsetid("", _OPSET)
    proto = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="hf_lstm_sentiment")
    # The last keeps onnxruntime from recommending a preparation that changes nothing here.
    facts = {"labels": json.dumps(list(config.label_names)), "pooling": config.pooling, "directions": str(len(sides))}
    helper.set_model_props(proto, {**facts, "onnx.quant.pre_process": "onnxruntime.quant"})
    checker.check_model(proto, full_check=True)
    return proto


def _numbers(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()
