"""The sentiment LSTM: word vectors, an LSTM that never computes a padded step, pooling and a linear head.

This file travels to the Hub with every checkpoint and runs on the machines of people who load it, so it imports
nothing but torch and transformers.
"""

from __future__ import annotations

import os
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.utils import can_return_tuple, logging  # type: ignore[attr-defined]

from .configuration_sentiment_lstm import SentimentLSTMConfig
from .packed_lstm import PackedLSTM, Packing, pool

logger = logging.get_logger(__name__)


class SentimentLSTMPreTrainedModel(PreTrainedModel):
    """What both models share: initialization, the embedding table and its freeze flag."""

    config: SentimentLSTMConfig
    config_class = SentimentLSTMConfig
    base_model_prefix = "sentiment_lstm"
    main_input_name = "input_ids"
    _input_embed_layer = "word_embeddings"
    _no_split_modules = ["PackedLSTM"]  # noqa: RUF012

    def __init__(self, config: SentimentLSTMConfig) -> None:
        super().__init__(config)
        # The keyword arguments of `from_pretrained` and assignments have only had their types checked.
        config.validate()

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
    """Word vectors and LSTM: the hidden state after every word, and one pooled output per review.

    Padding is never computed and never pooled: the result for a review is the same alone, in any batch and with
    padding on any side. The pooled output of a review without a token is the zero vector.

    Args:
        config: Shape and behavior.
    """

    def __init__(self, config: SentimentLSTMConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.lstm = PackedLSTM.from_config(config)
        if config.naive_padding:
            logger.warning_once(
                "naive_padding is on: padding is read as if it were tokens, as the study's v0 does to show the harm; "
                "do not use this model for real work"
            )
        self.post_init()
        self._freeze_embeddings_if_configured()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_last_hidden_state: bool = True,
        token_type_ids: Tensor | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of reviews; with `return_dict=False`, or where the configuration has it, into a plain tuple.

        Args:
            input_ids: Token ids. *Shape:* (batch_size, seq_len)
            attention_mask: 1 at real tokens, 0 at padding. Without it, tokens other than `pad_token_id` are real.
                *Shape:* (batch_size, seq_len)
            inputs_embeds: Word vectors in the place of `input_ids`. *Shape:* (batch_size, seq_len, embedding_size)
            output_hidden_states: Return the word vectors and every layer's states too.
            output_last_hidden_state: False leaves `last_hidden_state` out (None), which saves its memory.
            token_type_ids: Ignored; a review is one segment.
            output_attentions: Ignored, with a warning where true; an LSTM has no attention.

        Returns:
            `last_hidden_state`, zero at padding. *Shape:* (batch_size, seq_len, directions * hidden_size)
            `pooler_output`, the pooled output. *Shape:* (batch_size, directions * hidden_size)
            `hidden_states`, where asked for: the word vectors, then the states of each layer.

        Raises:
            ValueError: Not exactly one of `input_ids` and `inputs_embeds`, a mask of another shape, or a token id
                beyond the table.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("pass either input_ids or inputs_embeds, and not both")
        if output_attentions:
            logger.warning_once("output_attentions is ignored: an LSTM has no attention; leave it out")
        packing = Packing.from_mask(self._real_tokens(input_ids, attention_mask, inputs_embeds))
        if input_ids is not None:
            # What a tokenizer returns for "" is torch.tensor([[]]), and float.
            tokens = packing.gather(input_ids if input_ids.numel() else input_ids.long())
            self._check_token_ids(tokens)
            if self.training and hasattr(self.word_embeddings, "neftune_noise_alpha"):
                # NEFTune's hook on the table takes a padded batch, by whose length it scales its noise.
                padded = input_ids.new_zeros(packing.shape).flatten().index_copy(0, packing.positions, tokens)
                vectors = packing.gather(self.word_embeddings(padded.view(packing.shape)))
            else:
                vectors = self.word_embeddings(tokens)
        else:
            vectors = packing.gather(cast(Tensor, inputs_embeds))
        vectors = self.embedding_dropout(self._drop_words(vectors))  # (tokens, embedding_size)

        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        layers = self.lstm(vectors, packing, all_layers=bool(output_hidden_states))
        return BaseModelOutputWithPooling(
            last_hidden_state=packing.scatter(layers[-1]) if output_last_hidden_state else None,
            pooler_output=pool(layers[-1], packing, self.config),
            hidden_states=tuple(packing.scatter(x) for x in (vectors, *layers)) if output_hidden_states else None,
        )

    def _drop_words(self, vectors: Tensor) -> Tensor:
        """Zero whole word vectors at random in training (Iyyer et al. 2015). *Shape:* (tokens, embedding_size)."""
        if not self.training or self.config.word_dropout == 0:
            return vectors
        # Not scaled up as in dropout: the other vectors keep the length that they have in evaluation.
        return vectors * (torch.rand(len(vectors), 1, device=vectors.device) >= self.config.word_dropout)

    def _real_tokens(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, inputs_embeds: Tensor | None
    ) -> Tensor:
        """Mask of the tokens to read. *Shape:* (batch_size, seq_len)."""
        name, source, dimensions = "input_ids", input_ids, 2
        if source is None:
            name, source, dimensions = "inputs_embeds", cast(Tensor, inputs_embeds), 3
        if source.dim() != dimensions:
            raise ValueError(f"{name} has shape {tuple(source.shape)}; it takes {dimensions} dimensions, batch first")
        shape = source.shape[:2]
        if attention_mask is not None and attention_mask.shape != shape:
            raise ValueError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, the input has {tuple(shape)}; they must agree"
            )
        # Of whole numbers it would be one more wait for the GPU, and nobody adds those.
        if attention_mask is not None and attention_mask.is_floating_point() and (attention_mask < 0).any():
            raise ValueError(
                "attention_mask holds negative numbers, like a mask that is added to scores; pass 1 at real tokens "
                "and 0 at padding"
            )
        if not self.config.naive_padding:
            if attention_mask is not None:
                return attention_mask.to(source.device) != 0
            if input_ids is not None and self.config.pad_token_id is not None:
                return input_ids != self.config.pad_token_id
        return torch.ones(shape, dtype=torch.bool, device=source.device)

    def _check_token_ids(self, tokens: Tensor) -> None:
        if not len(tokens):
            return
        low, high = (int(x) for x in tokens.aminmax())
        # Not `num_embeddings`, which a table with an adapter around it does not have.
        rows = len(self.word_embeddings.weight)
        if low < 0 or high >= rows:
            raise ValueError(
                f"token id {low if low < 0 else high} is outside of the embedding table, which has {rows} rows; "
                "use the tokenizer that was trained with this model, or call resize_token_embeddings"
            )


class SentimentLSTMForSequenceClassification(SentimentLSTMPreTrainedModel):
    """The classifier: of two labels one logit z, with P(label 1) = sigmoid(z); of K > 2 labels K logits.

    Of two labels the logits returned are `[0, z]`: their softmax is sigmoid(z) and their cross-entropy is the binary
    cross-entropy on z, so that pipelines, evaluators and argmax metrics work for any number of labels. Leave out a
    pipeline's `function_to_apply="sigmoid"`: it takes each logit alone, so that label 0's score is always 0.5.

    Args:
        config: Shape and behavior; `id2label` names the labels, NEGATIVE and POSITIVE by default.

    Raises:
        ValueError: The configuration has fewer than two labels, or asks for another kind of problem.
    """

    # The loss is a mean over the batch; without this Trainer would skip its division for gradient accumulation.
    accepts_loss_kwargs = False

    def __init__(self, config: SentimentLSTMConfig) -> None:
        super().__init__(config)
        self.sentiment_lstm = SentimentLSTMModel(config)
        self.classifier_dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size * (2 if config.bidirectional else 1), config.num_logits)
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:
        """Classify a batch of reviews; with `return_dict=False`, or where the configuration has it, into a plain tuple.

        Args:
            input_ids: Token ids. *Shape:* (batch_size, seq_len)
            attention_mask: 1 at real tokens, 0 at padding. Without it, tokens other than `pad_token_id` are real.
                *Shape:* (batch_size, seq_len)
            inputs_embeds: Word vectors in the place of `input_ids`. *Shape:* (batch_size, seq_len, embedding_size)
            labels: Whole numbers from 0 to `num_labels` - 1; of two labels also the probability of label 1.
                *Shape:* (batch_size,)
            options: `output_hidden_states`, `token_type_ids` and `output_attentions`, as :class:`SentimentLSTMModel`.

        Returns:
            `loss`, where labels are given: mean cross-entropy (natural logarithm) over the reviews, each multiplied
            with the weight of its label where the configuration has `class_weights`; zero for an empty batch.
            `logits`; of two labels `[0, z]`. *Shape:* (batch_size, num_labels)
            `hidden_states`, where asked for, as in :class:`SentimentLSTMModel`.

        Raises:
            ValueError: As :class:`SentimentLSTMModel`; labels of another shape or that are none; a problem type that
                this model does not do.
        """
        self.config.validate_problem()
        if labels is not None:
            self._check_labels(labels, input_ids if input_ids is not None else inputs_embeds)
        encoded = self.sentiment_lstm(
            input_ids, attention_mask, inputs_embeds, output_last_hidden_state=False, return_dict=True, **options
        )
        logits = self.classifier(self.classifier_dropout(encoded.pooler_output))  # (batch_size, num_logits)
        if logits.size(-1) != self.config.num_logits:
            raise ValueError(
                f"the head has {logits.size(-1)} outputs and the configuration {len(self.config.label_names)} labels; "
                "give the configuration its labels before the model is built"
            )
        # Half precision would lose the small losses of confident answers.
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return SequenceClassifierOutput(
            loss=None if labels is None else self._loss(wide, labels),
            logits=torch.cat([torch.zeros_like(logits), logits], dim=-1) if self.config.num_logits == 1 else logits,
            hidden_states=encoded.hidden_states,
        )

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean cross-entropy. *Shapes:* (batch_size, num_logits), (batch_size,)."""
        weights = self.config.class_weights
        weight = None if weights is None else logits.new_tensor(weights)
        if self.config.num_logits > 1:
            return F.cross_entropy(logits, labels.long(), weight, reduction="sum") / max(len(logits), 1)
        soft = labels.to(logits)
        # A probability between the labels counts as much as its share of each.
        each = None if weight is None else torch.lerp(weight[0], weight[1], soft)
        losses = F.binary_cross_entropy_with_logits(logits.squeeze(-1), soft, each, reduction="sum")
        return losses / max(len(logits), 1)

    def _check_labels(self, labels: Tensor, source: Tensor | None) -> None:
        if source is not None and labels.shape != source.shape[:1]:
            raise ValueError(
                f"labels has shape {tuple(labels.shape)}; the batch has {len(source)} reviews, so it must be "
                f"({len(source)},)"
            )
        names = self.config.label_names
        known = (labels >= 0) & (labels <= len(names) - 1)
        allowed = f"0 ({names[0]}), 1 ({names[1]}) or a probability between them"
        if len(names) > 2:
            known &= labels == labels.long()
            allowed = f"a whole number from 0 ({names[0]}) to {len(names) - 1} ({names[-1]})"
        wrong = labels[~known]
        if len(wrong):
            raise ValueError(f"a label is {wrong[0].item()}; allowed: {allowed}")


SentimentLSTMModel.register_for_auto_class("AutoModel")
SentimentLSTMForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")

__all__ = ["SentimentLSTMForSequenceClassification", "SentimentLSTMModel", "SentimentLSTMPreTrainedModel"]
