"""Many reviews, fast: from raw texts to labels and scores, in order and in flat memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from .modeling_sentiment_lstm import SentimentLSTMForSequenceClassification

# Reviews that are tokenized and sorted together. Enough of them that a batch holds reviews of one length; few enough
# that they take some tens of megabytes.
WINDOW = 8_192

Logits = npt.NDArray[np.float32]


class Prediction(NamedTuple):
    """What the classifier says of one review.

    Attributes:
        label: The more probable of the model's two labels.
        score: Its probability, 0.5 to 1.
    """

    label: str
    score: float


class Classifier:
    """A model and its tokenizer, loaded once, for any number of reviews.

    Reviews are cut to the length that the model was trained on, which the stock pipeline does only when told to.

    Args:
        model: The model; put into evaluation mode.
        tokenizer: Its tokenizer, with a `tokenizers` backend and a `model_max_length`.
    """

    def __init__(self, model: SentimentLSTMForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.model.train(False)
        self.max_length = tokenizer.model_max_length
        names = cast("dict[int, str]", model.config.id2label)
        self.labels: tuple[str, str] = (names[0], names[1])
        backend = cast(Any, tokenizer).backend_tokenizer
        # A copy, so that what others do to their tokenizer changes nothing here.
        self._tokenizer = type(backend).from_str(backend.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        rows, words = model.get_input_embeddings().num_embeddings, self._tokenizer.get_vocab_size()
        if words > rows:
            raise ValueError(
                f"the tokenizer has {words} words and the model's embedding table {rows} rows; they do not belong "
                "together: load both from one checkpoint"
            )

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike[str], *, revision: str | None = None, device: str | torch.device = "cpu"
    ) -> Classifier:
        """Load a checkpoint with the classes of this package; no code of the checkpoint is run.

        Args:
            source: A run directory, or a repository of the Hub.
            revision: Branch, tag or commit of a repository.
            device: Where to compute.

        Raises:
            FileNotFoundError: A path that is not there.
            OSError: The Hub has no such repository, or cannot be reached.
            ValueError: The checkpoint holds another kind of model.
        """
        name = os.fspath(source)
        looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
        if looks_like_path and not Path(name).expanduser().is_dir():
            raise FileNotFoundError(f"model {name}: no such directory; pass a run directory or a Hub repository")
        name = str(Path(name).expanduser()) if looks_like_path else name
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            name, revision=revision, trust_remote_code=False
        )
        if not isinstance(model, SentimentLSTMForSequenceClassification):
            raise ValueError(
                f"model {name} is a {type(model).__name__}; this package classifies with its own kind of model only"
            )
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
        module: torch.nn.Module = model
        module.to(device)
        return cls(model, tokenizer)

    def logits(self, texts: Sequence[str], *, batch_size: int = 64) -> Logits:
        """Logit of the second label (POSITIVE) for each text, in order.

        All texts are tokenized and sorted by length at once; for more than some thousands, use :meth:`stream`.

        Args:
            texts: The reviews.
            batch_size: Reviews that are computed together.

        Returns:
            *Shape:* (len(texts),)

        Raises:
            TypeError: A text is not a string; the message tells which.
            ValueError: `batch_size` is below 1.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string; pass a list of strings")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; allowed: a whole number of at least 1")
        for row, text in enumerate(texts):
            _check_text(row, text)
        ids = [
            encoding.ids[: self.max_length] for encoding in self._tokenizer.encode_batch_fast(cast("list[str]", texts))
        ]
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        order = np.argsort(-lengths, kind="stable")
        result = np.empty(len(ids), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            result[rows] = self._forward([ids[row] for row in rows], lengths[rows])
        return result

    def _forward(self, ids: list[list[int]], lengths: npt.NDArray[np.int64]) -> Logits:
        mask = np.arange(max(int(lengths.max()), 1)) < lengths[:, None]
        padded = np.zeros(mask.shape, dtype=np.int64)
        padded[mask] = np.fromiter((token for review in ids for token in review), dtype=np.int64, count=lengths.sum())
        device = self.model.device
        with torch.inference_mode():
            logits = self.model(
                input_ids=torch.from_numpy(padded).to(device), attention_mask=torch.from_numpy(mask).to(device)
            ).logits
        return cast(Logits, (logits[:, 1] - logits[:, 0]).float().cpu().numpy())

    def _predictions(self, logits: Logits) -> list[Prediction]:
        # Of the more probable label, so that no precision is lost where the other one is near 1.
        scores = 1 / (1 + np.exp(-np.abs(logits.astype(np.float64))))
        return [Prediction(self.labels[int(z > 0)], float(score)) for z, score in zip(logits, scores, strict=True)]

    def __call__(self, texts: Sequence[str], *, batch_size: int = 64) -> list[Prediction]:
        """Classify texts.

        Args:
            texts: The reviews.
            batch_size: Reviews that are computed together.

        Returns:
            One prediction per text, in order.

        Raises:
            TypeError, ValueError: As :meth:`logits`.
        """
        return list(self.stream(texts, batch_size=batch_size))

    def stream(self, texts: Iterable[str], *, batch_size: int = 64, window: int = WINDOW) -> Iterator[Prediction]:
        """Classify texts as they come, in memory that does not grow with their number.

        Args:
            texts: The reviews.
            batch_size: Reviews that are computed together.
            window: Reviews that are read ahead and sorted by length.

        Yields:
            One prediction per text, in order.

        Raises:
            TypeError, ValueError: As :meth:`logits`.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string; pass a list of strings")
        if window < 1:
            raise ValueError(f"window is {window}; allowed: a whole number of at least 1")
        iterator = enumerate(texts)
        while chunk := list(islice(iterator, window)):
            for row, text in chunk:
                _check_text(row, text)
            yield from self._predictions(self.logits([text for _, text in chunk], batch_size=batch_size))


def _check_text(row: int, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text {row} is {text!r} ({type(text).__name__}); every text must be a string")


def predict(
    texts: Sequence[str], *, model: str | os.PathLike[str] | Classifier, batch_size: int = 64
) -> list[Prediction]:
    """Classify reviews.

    Args:
        texts: The reviews.
        model: A run directory, a repository of the Hub, or a `Classifier`, which is loaded already.
        batch_size: Reviews that are computed together.

    Returns:
        One (label, score) per text, in order.

    Raises:
        FileNotFoundError, OSError, ValueError: As `Classifier.from_pretrained`.
        TypeError: A text is not a string.
    """
    classifier = model if isinstance(model, Classifier) else Classifier.from_pretrained(model)
    return classifier(texts, batch_size=batch_size)
