"""Pretraining: word vectors and LSTM learn to foretell the next word of reviews that nobody has labelled.

Dai and Le 2015, "Semi-supervised Sequence Learning": a classifier that starts from a language model's weights needs
fewer labels. Only training and unlabeled reviews are read; what is learnt from is their text, never a label.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Trainer, set_seed
from transformers.modeling_outputs import CausalLMOutput

from ..data.encoding import PaddingCollator, encode_reviews, longest_first
from ..data.glove import check_glove_source, start_from_glove
from ..data.reviews import Reviews, check_reviews_source, load_reviews
from ..model.configuration_sentiment_lstm import SentimentLSTMConfig
from ..model.modeling_sentiment_lstm import SentimentLSTMModel, SentimentLSTMPreTrainedModel
from ..model.tokenization import train_tokenizer
from ..utils import run_directory as runs
from ..utils.files import json_ready, read_json, user_path, write_json
from ..utils.imports import require
from .arguments import check_arguments, check_processes, make_arguments, optimisation, use_cpu_threads
from .interrupt import SafeTrainer, StopAtSignal, telling_of_a_full_disk
from .presets import LANGUAGE_MODEL, Preset
from .trainer import Clock, exact_batches, prepare_run, train_to_the_best, training_facts

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

# Words whose scores are computed at once against the whole vocabulary: 100 MB of them for 25,000 words.
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
    """A language model around the encoder of the classifier: P(next word | words so far).

    The score of word w after state h is `e_w · (W h + a) + b_w`, with the word vectors e of the input (Press and Wolf
    2017). Outside of training the softmax runs over the whole vocabulary. In training, what the other words add to its
    denominator is estimated from a sample of them, shared by the batch, each score lowered by the logarithm of how
    often that word is expected in the sample (importance sampling: Bengio and Senécal 2008, Jean et al. 2015).

    Args:
        config: Shape and behaviour; one direction only.
        frequencies: How often each word is drawn into the sample; they need not sum to 1. *Shape:* (vocab_size,)
        sampled_words: Size of the sample.

    Raises:
        ValueError: Two directions: one of them would have read what it is to foretell.
    """

    # The loss is a mean over the words of a batch; Trainer must not divide it again.
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
        """How surprising the words are.

        Args:
            input_ids: Token ids, padded on the right. *Shape:* (batch_size, seq_len)
            attention_mask: 1 at real tokens, 0 at padding. *Shape:* (batch_size, seq_len)
            return_loss: There is nothing else to return; Trainer looks for this argument.

        Returns:
            `loss`: mean negative log-likelihood (natural logarithm) of every word but the first ones.
        """
        states = self.sentiment_lstm(input_ids, attention_mask, return_dict=True).last_hidden_state
        follows = attention_mask[:, 1:] != 0
        words = input_ids[:, 1:][follows]  # (words,)
        outputs = self.projection(self.output_dropout(states[:, :-1][follows]))  # (words, embedding_size)
        losses = self._sampled_losses if self.training else self._losses
        # A batch of single words still gives every parameter its gradient, zero.
        loss = losses(outputs, words).sum() / max(len(words), 1)
        return CausalLMOutput(loss=loss)

    def _sampled_losses(self, outputs: Tensor, words: Tensor) -> Tensor:
        """Of each word against the sample. *Shape:* (words, embedding_size), (words,) to (words,)."""
        frequencies = cast(Tensor, self.frequencies)
        table = self.sentiment_lstm.word_embeddings.weight
        sample = torch.multinomial(frequencies, self.sampled_words, replacement=True)
        expected = (frequencies * self.sampled_words).clamp_min(torch.finfo(torch.float32).tiny).log()
        right = (outputs * F.embedding(words, table)).sum(-1).float() + self.bias[words]
        others = F.linear(outputs, F.embedding(sample, table)).float() + (self.bias[sample] - expected[sample])
        # Where the sample holds the right word, it is no other word.
        others = others.masked_fill(words[:, None] == sample, -math.inf)
        return torch.logaddexp(right, others.logsumexp(-1)) - right

    def _losses(self, outputs: Tensor, words: Tensor) -> Tensor:
        """Of each word against the whole vocabulary. *Shape:* (words, embedding_size), (words,) to (words,)."""
        table = self.sentiment_lstm.word_embeddings.weight
        parts = [
            F.cross_entropy(F.linear(part, table, self.bias.to(part)).float(), target, reduction="none")
            for part, target in zip(outputs.split(_CHUNK), words.split(_CHUNK), strict=True)
        ]
        return torch.cat(parts)


@dataclass(frozen=True)
class _TextCollator(PaddingCollator):
    """As `PaddingCollator`, without labels."""

    def __call__(self, reviews: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch = super().__call__([{**review, "label": 0} for review in reviews])
        del batch["labels"]
        return batch


def pretrain(
    *,
    dataset: str | os.PathLike[str] | None = None,
    glove: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    seed: int = 42,
    text_column: str | None = None,
    label_column: str | None = None,
    split_seed: int = 42,
    max_train_samples: int | None = None,
    max_validation_samples: int | None = None,
    resume: bool = False,
    num_threads: int | None = None,
    recipe: Preset = LANGUAGE_MODEL,
    **training_arguments: Any,
) -> Pretraining:
    """Train the language model that presets with `pretrained` start from.

    Args:
        dataset: Reviews with an unlabeled split, as for `load_reviews`; the recipe's source where None.
        glove: Where the word vectors come from, as for `load_glove`; the recipe's source where None.
        output_dir: Where to write; `runs/language_model` where None.
        seed: Seed of the initial weights, of dropout, of the samples and of the order of the reviews.
        text_column: As for `load_reviews`.
        label_column: As for `load_reviews`.
        split_seed: As for `load_reviews`; must be the classifier's, whose validation reviews are not read.
        max_train_samples: As for `load_reviews`.
        max_validation_samples: As for `load_reviews`.
        resume: Continue from the newest whole checkpoint; start if there is none; return the results if finished.
        num_threads: CPU threads of each process; its share of the machine's cores where None.
        recipe: Shape of the model, tokenizer and optimisation. Its `classifier_dropout` is that of the output.
        training_arguments: Fields of `transformers.TrainingArguments` that differ from the recipe.

    Returns:
        Where the directory is and what was measured.

    Raises:
        FileExistsError: The directory is in use, and `resume` is false.
        ModuleNotFoundError: An optional dependency is missing; the message holds the command that installs it.
        ValueError: Data, vectors or arguments that cannot be used, or a directory that another recipe started.
        OSError: A checkpoint or the results could not be written.
        TrainingStopped: SIGINT or SIGTERM came while it trained. It waits for the step to end and for a checkpoint.
    """
    require("accelerate", "datasets", "psutil", "sklearn", extra="train")
    if dataset is not None:
        recipe = replace(recipe, dataset=os.fspath(dataset))
    if glove is not None:
        recipe = replace(recipe, glove=os.fspath(glove))
    check_reviews_source(recipe.dataset)
    if recipe.glove is not None:
        check_glove_source(recipe.glove, dimension=recipe.embedding_size)
    run = user_path(f"runs/{recipe.name}" if output_dir is None else output_dir, "the output").resolve()
    check_arguments(training_arguments)
    sampling: dict[str, Any] = {
        "text_column": text_column,
        "label_column": label_column,
        "split_seed": split_seed,
        "max_train_samples": max_train_samples,
        "max_validation_samples": max_validation_samples,
    }
    options = json_ready({**{k: v for k, v in sampling.items() if v is not None}, **training_arguments})
    arguments = make_arguments(
        recipe,
        run,
        seed=seed,
        given={
            **training_arguments,
            "metric_for_best_model": "loss",
            "greater_is_better": False,
            "prediction_loss_only": True,
        },
    )
    check_processes(arguments)
    threads = use_cpu_threads(num_threads, arguments)
    finished = resume and runs.is_finished(run)
    prepare_run(run, recipe, arguments, options=options, resume=resume)
    if finished:
        logger.info(f"{run} is finished; nothing is left to train")
        return Pretraining(run, read_json(run / runs.METRICS))

    with arguments.main_process_first(desc="reading the reviews"):
        reviews = load_reviews(
            recipe.dataset, validation_fraction=recipe.validation_fraction, unlabeled=True, **sampling
        )
        tokenizer = train_tokenizer(
            reviews.vocabulary_texts(),
            scheme=recipe.scheme,
            vocab_size=recipe.vocab_words,
            max_length=recipe.max_length,
        )
        encoded = {
            "train": encode_reviews(_all_texts(reviews), tokenizer, max_length=recipe.max_length),
            "validation": longest_first(encode_reviews(reviews.validation, tokenizer, max_length=recipe.max_length)),
        }
    set_seed(seed)
    config = recipe.config(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    model = SentimentLSTMForCausalLM(config, _frequencies(encoded["train"], len(tokenizer)))
    covered: dict[str, Any] = {}
    if recipe.glove is not None:
        covered["glove"] = start_from_glove(model, tokenizer, recipe.glove, dimension=recipe.embedding_size, seed=seed)
    stop = StopAtSignal()
    trainer = SafeTrainer(
        model=model,
        args=arguments,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        data_collator=_TextCollator(pad_token_id=tokenizer.pad_token_id),
        processing_class=tokenizer,
        callbacks=[Clock(), stop],
    )
    logger.info(
        f"pretraining on {arguments.device}: {len(encoded['train']):,} reviews of {reviews.source}, "
        f"{model.num_parameters():,} parameters, {len(tokenizer):,} words"
    )
    with stop.listening():
        train_to_the_best(trainer, run, resume=resume)
    metrics = {
        "preset": recipe.name,
        "seed": seed,
        "dataset": reviews.summary(),
        "parameters": model.num_parameters(),
        **covered,
        "perplexity": _perplexity(trainer, encoded["validation"]),
        **training_facts(trainer),
        "training": optimisation(arguments),
        "options": options,
        "device": str(arguments.device),
        "processes": arguments.world_size,
        "threads": threads,
        "versions": runs.versions("torch", "transformers", "tokenizers", "datasets", "accelerate"),
    }
    if trainer.is_world_process_zero():
        with telling_of_a_full_disk(run):
            trainer.accelerator.unwrap_model(trainer.model).save_pretrained(run)
            tokenizer.save_pretrained(run)
            # Last: it marks the run as finished.
            write_json(metrics, run / runs.METRICS)
    trainer.accelerator.wait_for_everyone()
    return Pretraining(run, metrics)


def _all_texts(reviews: Reviews) -> Dataset:
    """Training and unlabeled reviews, without labels."""
    from datasets import concatenate_datasets

    assert reviews.unlabeled is not None
    labelled = reviews.train.remove_columns("label")
    return concatenate_datasets([labelled, reviews.unlabeled.cast(labelled.features)])


def _frequencies(reviews: Dataset, vocab_size: int) -> Tensor:
    """How often each word is drawn: its count to the power of 3/4 (Mikolov et al. 2013). *Shape:* (vocab_size,)."""
    counts = np.zeros(vocab_size)
    for batch in reviews.iter(1_000):
        counts += np.bincount(np.concatenate(batch["input_ids"]).astype(np.int64), minlength=vocab_size)
    return torch.from_numpy(counts**0.75).float()


def _perplexity(trainer: Trainer, reviews: Dataset) -> float:
    """Exponential of the mean surprise of a word, over the whole vocabulary and in float32."""
    surprise = words = 0.0
    for model, batch in exact_batches(trainer, reviews):
        count = int(batch["attention_mask"][:, 1:].sum())
        with torch.inference_mode():
            surprise += float(model(**batch).loss) * count
        words += count
    return math.exp(surprise / max(words, 1))


def load_pretrained(
    model: SentimentLSTMPreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: str | os.PathLike[str]
) -> None:
    """Let a classifier start from a language model's word vectors and LSTM.

    Args:
        model: The classifier; its head stays as it is.
        tokenizer: The classifier's.
        directory: From :func:`pretrain`.

    Raises:
        FileNotFoundError: There is no finished pretraining.
        ValueError: It has other words, or another shape.
    """
    run = check_pretrained(directory)
    there, here = read_json(run / "tokenizer.json")["model"]["vocab"], tokenizer.get_vocab()
    if there != here:
        raise ValueError(
            f"{run} was pretrained on other words: {len(set(there) - set(here)):,} of its {len(there):,} are not among "
            f"the {len(here):,} of this training; run scripts/pretrain.py on this data, split and preset"
        )
    weights = {
        name.removeprefix("sentiment_lstm."): tensor
        for name, tensor in load_file(run / runs.WEIGHTS).items()
        if name.startswith("sentiment_lstm.")
    }
    encoder = model.base_model
    own = encoder.state_dict()
    for name in sorted({*weights, *own}):
        theirs, ours = (tuple(t[name].shape) if name in t else None for t in (weights, own))
        if theirs != ours:
            raise ValueError(
                f"{run}: {name} has the shape {theirs} there and {ours} here; pretrain with the sizes of this preset"
            )
    encoder.load_state_dict(weights)


def check_pretrained(directory: str | os.PathLike[str]) -> Path:
    """Find a finished pretraining.

    Args:
        directory: From :func:`pretrain`.

    Raises:
        FileNotFoundError: There is none.
    """
    run = user_path(directory)
    if not runs.is_finished(run):
        raise FileNotFoundError(
            f"{run} holds no finished language model; make it with scripts/pretrain.py --output_dir {directory}, or "
            "pass --pretrained DIRECTORY"
        )
    return run


def describe_pretrained(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What `metrics.json` of a classifier says of the language model that it started from.

    Args:
        directory: From :func:`pretrain`.
    """
    metrics = read_json(check_pretrained(directory) / runs.METRICS)
    return {key: metrics[key] for key in ("seed", "perplexity", "epochs", "train_seconds", "glove") if key in metrics}
