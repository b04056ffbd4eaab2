"""A trained classifier that another one starts from: its tokens, its weights, its head for the same labels."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from packaging.version import Version
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ..data.glove import GloveVectors
from ..data.reviews import Reviews
from ..inference.classifier import Classifier, find_checkpoint
from ..model.loading import file_of, find_weights
from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from ..utils import run_directory as runs
from ..utils.files import HUB_ID, file_digest, read_json
from ..utils.messages import differences, listed
from .presets import Preset

logger = logging.getLogger(__name__)

# What a recipe takes over, because the weights have it.
_SHAPE = ("embedding_size", "hidden_size", "num_hidden_layers", "bidirectional", "pooling", "naive_padding")


class BaseModel:
    """A trained classifier to start from: one of the package, a run directory, or NAME@REVISION of the Hub."""

    def __init__(self, source: str) -> None:
        name, _, revision = source.rpartition("@")
        is_revision = bool(HUB_ID.fullmatch(name)) and not Path(source).exists()
        self.source, self._revision = source, revision if is_revision else None
        self._name = find_checkpoint(name if is_revision else source)
        try:
            metrics = read_json(file_of(self._name, runs.METRICS, self._revision))
        except OSError:
            metrics = {}
        known, version = runs.versions()["hf_lstm_sentiment"], metrics.get("versions", {}).get("hf_lstm_sentiment")
        if version is not None and Version(version) > Version(known):
            raise ValueError(
                f"base model {source} was trained with hf_lstm_sentiment {version}, and this is {known}; "
                "pip install --upgrade hf_lstm_sentiment"
            )
        self._dataset: Mapping[str, Any] = metrics.get("dataset", {})
        # What else it learned from, by its teachers and the model that it was trained from.
        short = metrics.get("teachers", {}).get("short_texts")
        self._others = [*([short["source"]] if short else []), *metrics.get("base_model", {}).get("may_know", [])]
        self._classifier = Classifier.from_pretrained(self._name, revision=self._revision)
        # The commit that was read, should the branch move.
        self._revision = getattr(self._classifier.config, "_commit_hash", None) or self._revision
        self.vocabulary = self._classifier.tokenizer.get_vocab()
        self.digests = {"base_model": ", ".join(map(file_digest, find_weights(self._name, self._revision)))}

    def check(self, reviews: Reviews) -> None:
        """Warn where reviews that are held out here may be among those that it was trained on."""
        if known := self._may_know(reviews):
            logger.warning(
                f"{self.source} was trained on {listed(known)}: where reviews that are held out here are among them, "
                "their figures flatter"
            )

    def _may_know(self, reviews: Reviews) -> list[str]:
        """Names of what it was trained on and may hold reviews that are held out here."""
        theirs, here = self._dataset.get("digests", {}).get("unlabeled"), reviews.digests.get("unlabeled")
        # Its unlabeled reviews are compared with the held-out ones only where they are read here, too.
        unseen = _is_unseen(self._dataset, reviews) and theirs in (None, here)
        own = [] if unseen else [self._dataset.get("source", "reviews that it does not name")]
        return list(dict.fromkeys([*own, *self._others]))

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Load its tokenizer."""
        tokenizer = PreTrainedTokenizerFast.from_pretrained(self._name, revision=self._revision or "main")
        # transformers would save from where it was read.
        for name in ("is_local", "local_files_only"):
            tokenizer.init_kwargs.pop(name, None)
        return cast(PreTrainedTokenizerFast, tokenizer)

    def fitted(self, recipe: Preset) -> Preset:
        """The recipe with the sizes of this model and, unless it makes its own, the tokenizer's; the log says which."""
        own = {name: getattr(self._classifier.config, name) for name in _SHAPE}
        if not recipe.own_vocabulary:
            splits = self._classifier.tokenizer.pre_tokenizer
            own |= {
                "scheme": "whitespace" if "WhitespaceSplit" in type(splits).__name__ else "words",
                "vocab_words": len(self.vocabulary) - 2 + recipe.extend_vocab,
                "max_length": min(self._classifier.max_length, 2**31),
            }
        expected = replace(recipe, vocab_words=recipe.vocab_words + recipe.extend_vocab)
        if changed := [f"{name} {value}" for name, value in own.items() if getattr(expected, name) != value]:
            logger.info(f"{recipe.name} takes the sizes of {self.source}: {', '.join(changed)}")
        return replace(recipe, **own)

    def load_into(
        self,
        model: SentimentLSTMForSequenceClassification,
        vocabulary: Mapping[str, int],
        vectors: GloveVectors | None,
        generator: torch.Generator,
        reviews: Reviews,
    ) -> dict[str, Any]:
        """Copy the weights into a model of the same sizes, the head too where the labels are the same.

        Words of its vocabulary that this model does not know start from the vectors of GloVe, or at random. Returns
        what `metrics.json` says of it.
        """
        network, names = self._classifier.network, model.config.id2label
        table, counts = self._word_vectors(vocabulary, vectors, generator)
        if (pad := model.config.pad_token_id) is not None:
            table[pad] = 0
        same_labels, same_words = names == self._classifier.config.id2label, vocabulary == self.vocabulary
        with torch.no_grad():
            model.sentiment_lstm.word_embeddings.weight.copy_(table)
            model.sentiment_lstm.lstm.load_state_dict(network.lstm.state_dict())
            if same_labels:
                model.classifier.load_state_dict(network.head.state_dict())
        head = "its head" if same_labels else f"a new head for {len(reviews.label_names)} labels"
        words = "{copied:,} of its word vectors, {glove:,} new ones from GloVe, {random:,} at random".format(**counts)
        logger.info(f"starting from {self.source} with {head}: {words}")
        return {
            "name": self.source,
            **({"revision": self._revision} if self._revision else {}),
            "digest": self.digests["base_model"],
            "kept": [*["tokenizer"] * same_words, "encoder", *["head"] * same_labels],
            **({} if same_words else {"new_words": counts}),
            **({"may_know": known} if (known := self._may_know(reviews)) else {}),
        }

    def _word_vectors(
        self, vocabulary: Mapping[str, int], glove: GloveVectors | None, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, int]]:
        """The table of a vocabulary, and how many of its rows come from where. *Shape:* (rows, embedding_size)."""
        there, table = self.vocabulary, self._classifier.network.embedding.weight.detach()
        words = [row for row in there.values() if row != self._classifier.config.pad_token_id]
        random = torch.randn(1 + max(vocabulary.values()), table.shape[1], generator=generator)
        result = random * table[words].std(dim=0, correction=0)
        known = {row: there[word] for word, row in vocabulary.items() if word in there}
        result[[*known]] = table[[*known.values()]]
        places = {} if glove is None else glove.words
        mapped = {row: places[w] for w, row in vocabulary.items() if w in places and row not in known}
        if glove is not None and mapped:
            result[[*mapped]] = torch.from_numpy(_mapped(glove, there, table.numpy())[[*mapped.values()]])
        counts = {"copied": len(known), "glove": len(mapped)}
        return result, {**counts, "random": len(vocabulary) - len(known) - len(mapped)}


def refuse_if_seen(dataset: Mapping[str, Any], reviews: Reviews, who: str, script: str) -> None:
    """Refuse a model whose `metrics.json`, of which this is the data set, admits that it may know held-out reviews."""
    if not _is_unseen(dataset, reviews):
        keys = ("split_seed", "train", "validation", "unlabeled")
        changed = differences(*({key: said.get(key) for key in keys} for said in (dataset, reviews.summary())))
        raise ValueError(
            f"{who} was fitted on other training reviews ({changed or 'other texts, labels or order'}) and may know "
            f"the validation or test reviews of here; run {script} on these reviews, with this split"
        )


def _is_unseen(dataset: Mapping[str, Any], reviews: Reviews) -> bool:
    """Whether a model was trained on the training reviews of here, or has the held-out reviews of here."""
    theirs = dataset.get("digests", {})
    return any(all(theirs.get(p) == reviews.digests[p] for p in parts) for parts in (["train"], ["validation", "test"]))


def _mapped(glove: GloveVectors, vocabulary: Mapping[str, int], table: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """GloVe vectors where the table would have them: the linear map that fits the shared words best (least squares).

    *Shape:* (words, embedding_size).
    """
    shared = [word for word in vocabulary if word in glove.words]
    if not shared:
        raise ValueError(f"{glove.source} holds no word of the base model; pass other word vectors, or none")
    source = np.column_stack([glove.vectors, np.ones(len(glove.vectors))])
    target = table[[vocabulary[word] for word in shared]].astype(np.float64)
    fitted, *_ = np.linalg.lstsq(source[[glove.words[word] for word in shared]], target, rcond=None)
    return np.asarray(source @ fitted, dtype=np.float32)
