"""Pretraining: word vectors and LSTM learn to predict the next token of reviews that nobody has labeled.

Dai and Le 2015, "Semi-supervised Sequence Learning": a classifier that starts from a language model's weights needs
fewer labels. Only training and unlabeled reviews are read; what is learned from is their text, never a label.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import Trainer
from transformers.modeling_outputs import CausalLMOutput

from ..model.configuration_sentiment_lstm import SentimentLSTMConfig
from ..model.modeling_sentiment_lstm import SentimentLSTMModel, SentimentLSTMPreTrainedModel
from ..utils.files import user_path
from ..utils.imports import require
from .inputs import Inputs
from .presets import LANGUAGE_MODEL, Preset
from .trainer import Body, exact_batches, run_recipe

if TYPE_CHECKING:
    from datasets import Dataset

# Tokens whose scores are computed at once against the whole vocabulary: 100 MB of them for 25,000 of it.
_CHUNK = 1_024


@dataclass(frozen=True)
class Pretraining:
    """What a pretraining left behind.

    Attributes:
        run_directory: Weights, tokenizer and `metrics.json`.
        metrics: The content of `metrics.json`.
    """

    run_directory: Path
    metrics: Mapping[str, Any]

    def summary(self) -> str:
        """What was measured, for a console."""
        metrics = self.metrics
        return (
            f"\nlanguage model, seed {metrics['seed']}: {metrics['epochs']} epochs, {metrics['train_seconds']:,.0f} s "
            f"of training\n  perplexity  {metrics['perplexity']:,.1f}  ({metrics['dataset']['validation']:,} "
            f"validation reviews)\n{os.path.relpath(self.run_directory)}"
        )


class SentimentLSTMForCausalLM(SentimentLSTMPreTrainedModel):
    """A language model around the encoder of the classifier: P(next token | tokens so far).

    The score of token w after state h is `e_w · (W h + a) + b_w`, with the word vectors e of the input (Press and Wolf
    2017). Outside of training the softmax runs over the whole vocabulary. In training, what the other tokens add to its
    denominator is estimated from a sample of them, drawn by `frequencies` and shared by the batch, each score lowered
    by the logarithm of how often that token is expected in the sample (importance sampling: Bengio and Senécal 2008,
    Jean et al. 2015).
    """

    # The loss is a mean over the tokens of a batch; Trainer must not divide it again.
    accepts_loss_kwargs = False

    def __init__(self, config: SentimentLSTMConfig, frequencies: Tensor, *, sampled_words: int = 512) -> None:
        if config.bidirectional:
            raise ValueError("bidirectional is True; a language model reads in one direction, pass False")
        super().__init__(config)
        self.sampled_words = sampled_words
        self.sentiment_lstm = SentimentLSTMModel(config)
        self.output_dropout = nn.Dropout(config.classifier_dropout)
        self.projection = nn.Linear(config.hidden_size, config.embedding_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.register_buffer("frequencies", frequencies / frequencies.sum(), persistent=False)
        self.post_init()  # type: ignore[no-untyped-call]
        self._freeze_embeddings_if_configured()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, return_loss: bool = True) -> CausalLMOutput:
        """Take the mean negative log-likelihood (natural logarithm) of every token but the first ones as the loss.

        *Shapes:* (batch_size, seq_len). Trainer looks for the argument `return_loss`.
        """
        states = self.sentiment_lstm(input_ids, attention_mask, return_dict=True).last_hidden_state
        follows = attention_mask[:, 1:] != 0
        targets = input_ids[:, 1:][follows]  # (targets,)
        outputs = self.projection(self.output_dropout(states[:, :-1][follows]))  # (targets, embedding_size)
        losses = self._sampled_losses if self.training else self._losses
        # A batch of single tokens still gives every parameter its gradient, zero.
        loss = losses(outputs, targets).sum() / max(len(targets), 1)
        return CausalLMOutput(loss=loss)

    def _sampled_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of each target against the sample. *Shape:* (targets, embedding_size), (targets,) to (targets,)."""
        frequencies = cast(Tensor, self.frequencies)
        table = self.sentiment_lstm.word_embeddings.weight
        sample = torch.multinomial(frequencies, self.sampled_words, replacement=True)
        expected = (frequencies * self.sampled_words).clamp_min(torch.finfo(torch.float32).tiny).log()
        right = (outputs * F.embedding(targets, table)).sum(-1).float() + self.bias[targets]
        others = F.linear(outputs, F.embedding(sample, table)).float() + (self.bias[sample] - expected[sample])
        # Where the sample holds the target, it is no other token.
        others = others.masked_fill(targets[:, None] == sample, -math.inf)
        return torch.logaddexp(right, others.logsumexp(-1)) - right

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of each target against the whole vocabulary. *Shape:* (targets, embedding_size), (targets,) to (targets,)."""
        table = self.sentiment_lstm.word_embeddings.weight
        parts = [
            F.cross_entropy(F.linear(part, table, self.bias.to(part)).float(), target, reduction="none")
            for part, target in zip(outputs.split(_CHUNK), targets.split(_CHUNK), strict=True)
        ]
        return torch.cat(parts)


def pretrain(
    *,
    dataset: str | os.PathLike[str] | None = None,
    glove: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    recipe: Preset = LANGUAGE_MODEL,
    **options: Any,
) -> Pretraining:
    """Train the language model that presets with `pretrained` start from.

    Args:
        dataset: Reviews with an unlabeled split, as for `load_reviews`; the recipe's source where None.
        glove: Where the word vectors come from, as for `load_glove`; the recipe's source where None.
        output_dir: Where to write; `runs/language_model` where None.
        recipe: Shape of the model, tokenizer and optimization. Its `classifier_dropout` is that of the output.
        options: As for :func:`train`: `seed`, `resume`, `num_threads`, how the reviews are read and split, and fields
            of `TrainingArguments`. `split_seed` must be the classifier's, whose validation reviews are not read.

    Returns:
        Where the directory is and what was measured.

    Raises:
        Exception: As :func:`train`.
    """
    require("accelerate", "datasets", "evaluate", "psutil", "sklearn", extra="train")
    given: Any = {"dataset": dataset, "glove": glove}
    recipe = replace(recipe, **{name: os.fspath(source) for name, source in given.items() if source is not None})
    run = user_path(f"runs/{recipe.name}" if output_dir is None else output_dir, "the output").resolve()
    metrics, _ = run_recipe(_LanguageModeling(), recipe, run, **options)
    return Pretraining(run, metrics)


class _LanguageModeling(Body):
    fixed: ClassVar = {"metric_for_best_model": "loss", "greater_is_better": False, "prediction_loss_only": True}
    classifies = False

    def parts(self, inputs: Inputs) -> dict[str, Dataset]:
        from datasets import concatenate_datasets

        reviews = inputs.reviews
        assert reviews.unlabeled is not None
        train, validation = (part.remove_columns("label") for part in (reviews.train, reviews.validation))
        unlabeled = reviews.unlabeled.cast(train.features)
        return {"train": concatenate_datasets([train, unlabeled]), "validation": validation}

    def make_model(self, inputs: Inputs, encoded: Mapping[str, Dataset]) -> SentimentLSTMForCausalLM:
        counts = np.zeros(len(inputs.tokenizer))
        for batch in encoded["train"].iter(1_000):
            counts += np.bincount(np.concatenate(batch["input_ids"]).astype(np.int64), minlength=len(counts))
        # How often a token is drawn: its count to the power of 3/4 (Mikolov et al. 2013).
        return SentimentLSTMForCausalLM(inputs.config(), torch.from_numpy(counts**0.75).float())

    def measure(self, trainer: Trainer, inputs: Inputs, encoded: Mapping[str, Dataset]) -> dict[str, Any]:
        surprise = tokens = 0.0
        for model, batch in exact_batches(trainer, encoded["validation"]):
            count = int(batch["attention_mask"][:, 1:].sum())
            with torch.inference_mode():
                surprise += float(model(**batch).loss) * count
            tokens += count
        return {"perplexity": math.exp(surprise / max(tokens, 1))}
