"""An LSTM that never computes a padded step, and the pooling of its states.

This file travels to the Hub with every checkpoint and runs on the machines of people who load it. It imports nothing
but torch: a program that only classifies needs no transformers, whose import takes half as long as torch's.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.rnn import PackedSequence

if TYPE_CHECKING:
    from .configuration_sentiment_lstm import SentimentLSTMConfig


@dataclass(frozen=True)
class Packing:
    """Where the real tokens of a padded batch lie once the padding is taken out.

    Packed order is that of `torch.nn.utils.rnn.PackedSequence`: reviews sorted by falling length, time-major, so that
    the reviews still running at a step are always the first ones and a run of steps with the same reviews is one
    contiguous block. Reviews without a token do not appear.

    Attributes:
        positions: Index of each packed token in the flattened batch. *Shape:* (tokens,)
        rows: The reviews that hold a token, in packed order, as rows of the batch. *Shape:* (reviews,)
        lengths: Tokens of each of those reviews. *Shape:* (reviews,)
        batch_sizes: Reviews running at each time step, on the CPU. *Shape:* (longest,)
        shape: (batch_size, seq_len) of the padded batch.
    """

    positions: Tensor
    rows: Tensor
    lengths: Tensor
    batch_sizes: Tensor
    shape: tuple[int, int]

    @classmethod
    def from_mask(cls, mask: Tensor) -> Packing:
        """Pack the true positions of a mask, wherever they stand. *Shape:* (batch_size, seq_len)."""
        # torch 2.6 cannot tell whether it is exporting.
        exporting = getattr(torch.compiler, "is_exporting", bool)()
        if exporting or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            raise RuntimeError(
                "this model cannot be traced: a trace would keep the padding of its example batch and answer every "
                "other batch wrongly; use the model itself, or its ONNX export (hf-lstm-sentiment export)"
            )
        batch_size, seq_len = mask.shape
        lengths, order = mask.sum(dim=1).sort(descending=True, stable=True)
        reviews = int(torch.count_nonzero(lengths))
        # Row r of `table` holds the flat positions of the r-th longest review's tokens, moved to the front.
        columns = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
        table = (columns + torch.arange(batch_size, device=mask.device)[:, None] * seq_len)[order]
        running = torch.arange(seq_len, device=mask.device)[:, None] < lengths  # (seq_len, batch_size)
        batch_sizes = running.sum(dim=1)
        return cls(
            positions=table.t()[running],
            rows=order[:reviews],
            lengths=lengths[:reviews],
            batch_sizes=batch_sizes[batch_sizes > 0].cpu(),
            shape=(batch_size, seq_len),
        )

    def split(self, packed: Tensor) -> list[Tensor]:
        """Split packed rows into runs of time steps with the same reviews. *Shape:* each (steps, reviews, width).

        A batch without a token is one step of no reviews: through it every parameter still gets its gradient, zero,
        for which `DistributedDataParallel` would wait in vain.
        """
        runs = [(len(list(run)), size) for size, run in groupby(self.batch_sizes.tolist())] or [(1, 0)]
        parts = packed.split([steps * reviews for steps, reviews in runs])
        return [part.view(*run, packed.size(-1)) for part, run in zip(parts, runs, strict=True)]

    def gather(self, padded: Tensor) -> Tensor:
        """Take the real tokens out of a padded batch. *Shape:* (batch_size, seq_len, ...) to (tokens, ...)."""
        return padded.flatten(0, 1)[self.positions]

    def scatter(self, packed: Tensor) -> Tensor:
        """Put packed rows back where they were, zeros elsewhere. *Shape:* (tokens, w) to (batch_size, seq_len, w)."""
        batch_size, seq_len = self.shape
        flat = packed.new_zeros(batch_size * seq_len, packed.size(-1)).index_copy(0, self.positions, packed)
        return flat.view(batch_size, seq_len, packed.size(-1))


@cache
def autocast_computes_lstm(dtype: torch.dtype) -> bool:
    """Tell whether torch's LSTM runs under autocast to a type on this CPU; oneDNN wants AVX-512 for bfloat16."""
    weights = [torch.zeros(4, *shape, requires_grad=True) for shape in ((1,), (1,), (), ())]
    state = torch.zeros(1, 1, 1)
    try:
        with torch.enable_grad(), torch.autocast("cpu", dtype):
            torch.lstm(state, (state, state), weights, True, 1, 0.0, True, False, False)
    except RuntimeError:
        return False
    return True


class PackedLSTM(nn.LSTM):
    """`nn.LSTM` over packed tokens: the same parameters and results, no padded step, no slow CPU gradient.

    On CUDA this is cuDNN's packed LSTM. Elsewhere, the gradient of torch's packed LSTM writes a tensor as large as
    the whole batch at every time step, so each block of a :class:`Packing` runs as a dense LSTM and hands its state
    to the next, which has fewer reviews (in the backward direction: more). Equations: Hochreiter and Schmidhuber
    1997 with the forget gate of Gers et al. 2000, as in the documentation of `torch.nn.LSTM`.

    Under autocast on a CPU whose LSTM cannot compute in that type, it runs in that of its weights, and warns.
    """

    @classmethod
    def from_config(cls, config: SentimentLSTMConfig) -> PackedLSTM:
        """Build the LSTM that a configuration describes."""
        sizes = (config.embedding_size, config.hidden_size, config.num_hidden_layers)
        return cls(*sizes, bidirectional=config.bidirectional)

    def forward(  # type: ignore[override]
        self, data: Tensor, packing: Packing, *, all_layers: bool = False
    ) -> tuple[Tensor, ...]:
        """Compute the packed hidden states of the last layer, or of all layers.

        *Shape:* (tokens, input_size) to (tokens, directions * hidden_size) for each layer.
        """
        # cuDNN's call reads the weights from a list that adapters on them (LoRA) do not reach.
        if data.is_cuda and len(data) and not all_layers and not is_parametrized(self):
            output, _ = super().forward(PackedSequence(data, packing.batch_sizes))
            return (output.data,)
        asked, own = torch.get_autocast_dtype("cpu"), next(self.parameters()).dtype
        if data.is_cpu and torch.is_autocast_enabled("cpu") and not autocast_computes_lstm(asked):
            warnings.warn(
                f"this processor cannot run the LSTM in {asked}: it runs in {own}, and nothing is gained by mixed "
                "precision; leave it out",
                stacklevel=2,
            )
            with torch.autocast("cpu", enabled=False):
                return self._run(data.to(own), packing, all_layers=all_layers)
        return self._run(data, packing, all_layers=all_layers)

    def _run(self, data: Tensor, packing: Packing, *, all_layers: bool) -> tuple[Tensor, ...]:
        outputs = []
        directions = (False, True) if self.bidirectional else (False,)
        for layer in range(self.num_layers):
            data = torch.cat([self._run_direction(data, packing, layer, backward=b) for b in directions], dim=-1)
            outputs.append(data)
        return tuple(outputs) if all_layers else (data,)

    def _run_direction(self, data: Tensor, packing: Packing, layer: int, *, backward: bool) -> Tensor:
        suffix = f"l{layer}_reverse" if backward else f"l{layer}"
        weights = [getattr(self, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        blocks = packing.split(data)[:: -1 if backward else 1]
        h = c = data.new_zeros(1, blocks[0].size(1), self.hidden_size)
        outputs: list[Tensor] = []
        for x in blocks:
            reviews = x.size(1)
            if backward:
                x = x.flip(0)
                # Reviews that end here start from the zero state.
                h, c = (F.pad(state, (0, 0, 0, reviews - state.size(1))) for state in (h, c))
            else:
                h, c = h[:, :reviews], c[:, :reviews]
            y, h, c = torch.lstm(
                x, (h.contiguous(), c.contiguous()), weights, True, 1, 0.0, self.training, False, False
            )
            outputs.append((y.flip(0) if backward else y).flatten(0, 1))
        return torch.cat(outputs[::-1] if backward else outputs)


def pool(states: Tensor, packing: Packing, config: SentimentLSTMConfig) -> Tensor:
    """Make one vector of the states of each review; zeros for a review without a token.

    "last" takes the forward direction's state after the last token and the backward direction's after the first;
    "max" and "mean" run over all states of a review.
    *Shape:* (tokens, directions * hidden_size) to (batch_size, directions * hidden_size)
    """
    last = config.pooling == "last"
    pooled = _last_states(states, packing, config.bidirectional) if last else _reduce(states, packing, config.pooling)
    return pooled.new_zeros(packing.shape[0], pooled.size(-1)).index_copy(0, packing.rows, pooled)


def _last_states(states: Tensor, packing: Packing, bidirectional: bool) -> Tensor:
    ranks = torch.arange(len(packing.rows), device=states.device)
    starts = (packing.batch_sizes.cumsum(0) - packing.batch_sizes).to(states.device)
    ends = states[starts[packing.lengths - 1] + ranks]
    if not bidirectional:
        return ends
    width = states.size(-1) // 2
    return torch.cat([ends[:, :width], states[ranks, width:]], dim=-1)


def _reduce(states: Tensor, packing: Packing, pooling: str) -> Tensor:
    """Take the maximum or mean over the tokens of each review. *Shape:* (tokens, width) to (reviews, width)."""
    pooled: Tensor | None = None
    for block in reversed(packing.split(states)):
        part = block.max(dim=0).values if pooling == "max" else block.sum(dim=0)
        if pooled is not None:
            # The reviews seen so far are the longest ones, so they are the first here.
            merge = torch.maximum if pooling == "max" else torch.add
            part = torch.cat([merge(part[: len(pooled)], pooled), part[len(pooled) :]])
        pooled = part
    assert pooled is not None
    return pooled if pooling == "max" else pooled / packing.lengths[:, None]


__all__ = ["PackedLSTM", "Packing", "pool"]
