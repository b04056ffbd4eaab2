"""The sentiment LSTM: word vectors, an LSTM that never computes a padded step, a summary and one logit.

This file travels to the Hub with every checkpoint and runs on the machines of people who load it, so it imports
nothing but torch and transformers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.utils import logging

from .configuration_sentiment_lstm import SentimentLSTMConfig

logger = logging.get_logger(__name__)


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
        """Pack the true positions of a mask, wherever they stand: padding may be on either side or in between.

        Args:
            mask: True at real tokens. *Shape:* (batch_size, seq_len)
        """
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

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Runs of consecutive time steps with the same reviews, as (steps, reviews).

        A batch without a token is one step of no reviews: through it every parameter still gets its gradient, zero,
        for which `DistributedDataParallel` would wait in vain.
        """
        return [(len(list(run)), size) for size, run in groupby(self.batch_sizes.tolist())] or [(1, 0)]

    def gather(self, padded: Tensor) -> Tensor:
        """Take the real tokens out of a padded batch. *Shape:* (batch_size, seq_len, ...) to (tokens, ...)."""
        return padded.flatten(0, 1)[self.positions]

    def scatter(self, packed: Tensor) -> Tensor:
        """Put packed rows back where they were, zeros elsewhere. *Shape:* (tokens, w) to (batch_size, seq_len, w)."""
        batch_size, seq_len = self.shape
        flat = packed.new_zeros(batch_size * seq_len, packed.size(-1)).index_copy(0, self.positions, packed)
        return flat.view(batch_size, seq_len, packed.size(-1))


class PackedLSTM(nn.LSTM):
    """`nn.LSTM` over packed tokens: the same parameters and results, no padded step, no slow CPU gradient.

    On CUDA this is cuDNN's packed LSTM. Elsewhere, the gradient of torch's packed LSTM writes a tensor as large as
    the whole batch at every time step, so each block of a :class:`Packing` runs as a dense LSTM and hands its state
    to the next, which has fewer reviews (in the backward direction: more). Equations: Hochreiter and Schmidhuber
    1997 with the forget gate of Gers et al. 2000, as in the documentation of `torch.nn.LSTM`.
    """

    def forward(  # type: ignore[override]
        self, data: Tensor, packing: Packing, *, all_layers: bool = False
    ) -> tuple[Tensor, ...]:
        """Run every layer and direction.

        Args:
            data: Packed inputs. *Shape:* (tokens, input_size)
            packing: Layout of `data`.
            all_layers: Return the outputs of every layer and not of the last one only.

        Returns:
            Packed hidden states per layer. *Shape:* each (tokens, directions * hidden_size)
        """
        if data.is_cuda and len(data) and not all_layers:
            output, _ = super().forward(PackedSequence(data, packing.batch_sizes))
            return (output.data,)
        blocks = packing.blocks
        outputs = []
        for layer in range(self.num_layers):
            data = torch.cat(
                [
                    self._run_direction(data, blocks, layer, backward=direction == 1)
                    for direction in range(2 if self.bidirectional else 1)
                ],
                dim=-1,
            )
            outputs.append(data)
        return tuple(outputs) if all_layers else (data,)

    def _run_direction(self, data: Tensor, blocks: list[tuple[int, int]], layer: int, *, backward: bool) -> Tensor:
        suffix = f"l{layer}_reverse" if backward else f"l{layer}"
        weights = [getattr(self, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        inputs = data.split([steps * reviews for steps, reviews in blocks])
        h = c = data.new_zeros(1, blocks[-1][1] if backward else blocks[0][1], self.hidden_size)
        outputs: list[Tensor] = []
        for (steps, reviews), block in zip(
            reversed(blocks) if backward else blocks, reversed(inputs) if backward else inputs, strict=True
        ):
            x = block.view(steps, reviews, block.size(-1))
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


class SentimentLSTMPreTrainedModel(PreTrainedModel):
    """What both models share: initialisation, the embedding table and its freeze flag."""

    config: SentimentLSTMConfig
    config_class = SentimentLSTMConfig
    base_model_prefix = "sentiment_lstm"
    main_input_name = "input_ids"
    _input_embed_layer = "word_embeddings"
    _no_split_modules = ["PackedLSTM"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.LSTM | nn.Linear):
            width = module.hidden_size if isinstance(module, nn.LSTM) else module.in_features
            for parameter in module.parameters():
                init.uniform_(parameter, -(width**-0.5), width**-0.5)

    def _freeze_embeddings_if_configured(self) -> None:
        if self.config.freeze_embeddings:
            self.get_input_embeddings().weight.requires_grad_(False)

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding table; a configured freeze holds for the new one too."""
        super().set_input_embeddings(value)
        self._freeze_embeddings_if_configured()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """Load as `PreTrainedModel.from_pretrained` does, then freeze again what the configuration freezes."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        # With `output_loading_info` it is a pair of model and report.
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model._freeze_embeddings_if_configured()
        return loaded


class SentimentLSTMModel(SentimentLSTMPreTrainedModel):
    """Word vectors and LSTM: the hidden state after every word, and one summary per review.

    Padding is never computed and never reaches the summary: the result for a review is the same alone, in any batch
    and with padding on any side. A review without a word has the zero vector for its summary.

    Args:
        config: Shape and behaviour.
    """

    def __init__(self, config: SentimentLSTMConfig) -> None:
        super().__init__(config)
        # The keyword arguments of `from_pretrained` and assignments have only had their types checked.
        config.validate_ranges()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.lstm = PackedLSTM(
            config.embedding_size,
            config.hidden_size,
            num_layers=config.num_hidden_layers,
            bidirectional=config.bidirectional,
        )
        if config.naive_padding:
            logger.warning_once(
                "naive_padding is on: padding is read as if it were words, as the study's v0 does to show the harm; "
                "do not use this model for real work"
            )
        self.post_init()
        self._freeze_embeddings_if_configured()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_last_hidden_state: bool = True,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode a batch of reviews.

        Args:
            input_ids: Token ids. *Shape:* (batch_size, seq_len)
            attention_mask: 1 at real tokens, 0 at padding. Without it, tokens other than `pad_token_id` are real.
                *Shape:* (batch_size, seq_len)
            inputs_embeds: Word vectors in the place of `input_ids`. *Shape:* (batch_size, seq_len, embedding_size)
            output_hidden_states: Return the word vectors and every layer's states too.
            output_last_hidden_state: False leaves `last_hidden_state` out (None), which saves its memory.
            return_dict: False for a plain tuple; the configuration's value by default.

        Returns:
            `last_hidden_state`, zero at padding. *Shape:* (batch_size, seq_len, directions * hidden_size)
            `pooler_output`, the summary. *Shape:* (batch_size, directions * hidden_size)
            `hidden_states`, where asked for: the word vectors, then the states of each layer.

        Raises:
            ValueError: Not exactly one of `input_ids` and `inputs_embeds`, a mask of another shape, or a token id
                beyond the table.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("pass either input_ids or inputs_embeds, and not both")
        packing = Packing.from_mask(self._real_tokens(input_ids, attention_mask, inputs_embeds))
        if input_ids is not None:
            # What a tokenizer returns for "" is torch.tensor([[]]), and float.
            tokens = packing.gather(input_ids if input_ids.numel() else input_ids.long())
            self._check_token_ids(tokens)
            vectors = self.word_embeddings(tokens)
        else:
            vectors = packing.gather(cast(Tensor, inputs_embeds))
        vectors = self.embedding_dropout(vectors)  # (tokens, embedding_size)

        output_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        layers = self.lstm(vectors, packing, all_layers=bool(output_hidden_states))
        summary = self._summarise(layers[-1], packing)
        output = BaseModelOutputWithPooling(
            last_hidden_state=packing.scatter(layers[-1]) if output_last_hidden_state else None,
            pooler_output=summary.new_zeros(packing.shape[0], summary.size(-1)).index_copy(0, packing.rows, summary),
            hidden_states=tuple(packing.scatter(x) for x in (vectors, *layers)) if output_hidden_states else None,
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def _real_tokens(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, inputs_embeds: Tensor | None
    ) -> Tensor:
        """Mask of the tokens to read. *Shape:* (batch_size, seq_len)."""
        source = cast(Tensor, input_ids if input_ids is not None else inputs_embeds)
        expected = 2 if input_ids is not None else 3
        if source.dim() != expected:
            name = "input_ids" if input_ids is not None else "inputs_embeds"
            raise ValueError(f"{name} has shape {tuple(source.shape)}; it takes {expected} dimensions, batch first")
        shape = source.shape[:2]
        if attention_mask is not None and attention_mask.shape != shape:
            raise ValueError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, the input has {tuple(shape)}; they must agree"
            )
        if self.config.naive_padding:
            return torch.ones(shape, dtype=torch.bool, device=source.device)
        if attention_mask is not None:
            return attention_mask.to(source.device) != 0
        if input_ids is not None and self.config.pad_token_id is not None:
            return input_ids != self.config.pad_token_id
        return torch.ones(shape, dtype=torch.bool, device=source.device)

    def _check_token_ids(self, tokens: Tensor) -> None:
        if not len(tokens):
            return
        low, high = (int(x) for x in tokens.aminmax())
        rows = self.word_embeddings.num_embeddings
        if low < 0 or high >= rows:
            raise ValueError(
                f"token id {low if low < 0 else high} is outside of the embedding table, which has {rows} rows; "
                "use the tokenizer that was trained with this model, or call resize_token_embeddings"
            )

    def _summarise(self, states: Tensor, packing: Packing) -> Tensor:
        """One vector per review. *Shape:* (tokens, width) to (reviews, width)."""
        if self.config.pooling == "last":
            return self._last_states(states, packing)
        pooled: Tensor | None = None
        blocks = packing.blocks
        for (steps, reviews), block in zip(
            reversed(blocks), reversed(states.split([steps * reviews for steps, reviews in blocks])), strict=True
        ):
            block = block.view(steps, reviews, block.size(-1))
            part = block.max(dim=0).values if self.config.pooling == "max" else block.sum(dim=0)
            if pooled is not None:
                # The reviews seen so far are the longest ones, so they are the first here.
                merge = torch.maximum if self.config.pooling == "max" else torch.add
                part = torch.cat([merge(part[: len(pooled)], pooled), part[len(pooled) :]])
            pooled = part
        pooled = cast(Tensor, pooled)
        return pooled if self.config.pooling == "max" else pooled / packing.lengths[:, None]

    def _last_states(self, states: Tensor, packing: Packing) -> Tensor:
        """The forward direction's state after the last word and the backward one's after the first."""
        ranks = torch.arange(len(packing.rows), device=states.device)
        starts = (packing.batch_sizes.cumsum(0) - packing.batch_sizes).to(states.device)
        forward = states[starts[packing.lengths - 1] + ranks, : self.config.hidden_size]
        if not self.config.bidirectional:
            return forward
        return torch.cat([forward, states[ranks, self.config.hidden_size :]], dim=-1)


class SentimentLSTMForSequenceClassification(SentimentLSTMPreTrainedModel):
    """The sentiment classifier: one logit z, with P(POSITIVE) = sigmoid(z).

    The logits returned are `[0, z]` for (NEGATIVE, POSITIVE): their softmax is sigmoid(z) and their cross-entropy is
    the binary cross-entropy on z, so that pipelines, evaluators and argmax metrics work unchanged.

    Args:
        config: Shape and behaviour.

    Raises:
        ValueError: The configuration asks for other than two labels or for another kind of problem.
    """

    # The loss is a mean over the batch; without this Trainer would skip its division for gradient accumulation.
    accepts_loss_kwargs = False

    def __init__(self, config: SentimentLSTMConfig) -> None:
        super().__init__(config)
        self._check_problem()
        self.sentiment_lstm = SentimentLSTMModel(config)
        self.classifier_dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size * (2 if config.bidirectional else 1), 1)
        self.post_init()
        self._freeze_embeddings_if_configured()

    def _check_problem(self) -> None:
        if self.config.num_labels != 2:
            raise ValueError(
                f"the configuration has {self.config.num_labels} labels; this model has one logit and tells exactly "
                "2 apart; leave num_labels and id2label out or give two"
            )
        if self.config.problem_type not in (None, "single_label_classification"):
            raise ValueError(
                f"problem_type is {self.config.problem_type!r}; this model does 'single_label_classification' only"
            )

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Classify a batch of reviews.

        Args:
            input_ids: Token ids. *Shape:* (batch_size, seq_len)
            attention_mask: 1 at real tokens, 0 at padding. Without it, tokens other than `pad_token_id` are real.
                *Shape:* (batch_size, seq_len)
            inputs_embeds: Word vectors in the place of `input_ids`. *Shape:* (batch_size, seq_len, embedding_size)
            labels: 0 for NEGATIVE, 1 for POSITIVE, or the probability of POSITIVE. *Shape:* (batch_size,)
            output_hidden_states: Return the word vectors and every layer's states too.
            return_dict: False for a plain tuple; the configuration's value by default.

        Returns:
            `loss`, where labels are given: mean binary cross-entropy (natural logarithm), zero for an empty batch.
            `logits`, `[0, z]`. *Shape:* (batch_size, 2)
            `hidden_states`, where asked for, as in :class:`SentimentLSTMModel`.

        Raises:
            ValueError: As :class:`SentimentLSTMModel`; labels of another shape or outside of 0 to 1; a problem type
                that this model does not do.
        """
        self._check_problem()
        if labels is not None:
            self._check_labels(labels, input_ids if input_ids is not None else inputs_embeds)
        encoded = self.sentiment_lstm(
            input_ids,
            attention_mask,
            inputs_embeds,
            output_hidden_states=output_hidden_states,
            output_last_hidden_state=False,
            return_dict=True,
        )
        z = self.classifier(self.classifier_dropout(encoded.pooler_output)).squeeze(-1)  # (batch_size,)
        loss = None
        if labels is not None:
            # Half precision would lose the small losses of confident answers.
            wide = z.to(torch.promote_types(z.dtype, torch.float32))
            losses = F.binary_cross_entropy_with_logits(wide, labels.to(wide), reduction="sum")
            loss = losses / max(len(z), 1)
        output = SequenceClassifierOutput(
            loss=loss,
            logits=torch.stack([torch.zeros_like(z), z], dim=-1),
            hidden_states=encoded.hidden_states,
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    @staticmethod
    def _check_labels(labels: Tensor, source: Tensor | None) -> None:
        if source is not None and labels.shape != source.shape[:1]:
            raise ValueError(
                f"labels has shape {tuple(labels.shape)}; the batch has {len(source)} reviews, so it must be "
                f"({len(source)},)"
            )
        wrong = labels[~((labels >= 0) & (labels <= 1))]
        if len(wrong):
            raise ValueError(
                f"a label is {wrong[0].item()}; allowed: 0 (NEGATIVE), 1 (POSITIVE) or a probability between them"
            )


SentimentLSTMModel.register_for_auto_class("AutoModel")
SentimentLSTMForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")

__all__ = ["SentimentLSTMForSequenceClassification", "SentimentLSTMModel", "SentimentLSTMPreTrainedModel"]
