"""Many reviews, fast: from raw texts to labels and scores, in order and in flat memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..data.encoding import pad_batch
from ..model import loading
from ..model.normalization import is_plain, plain_tokenizer
from ..model.packed_lstm import autocast_computes_lstm
from ..model.pretrained_models import FOLDER, held, pretrained
from ..utils.files import local_path
from ..utils.messages import check_count, check_texts, checked_texts
from ..utils.threads import share_out
from .onnx_graph import OnnxNetwork, onnx_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..model.configuration_sentiment_lstm import SentimentLSTMConfig
    from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification

# Reviews that are tokenized and sorted together. Enough of them that a batch holds reviews of one length; few enough
# that they take some tens of megabytes.
WINDOW = 8_192
# What each backend computes in.
_COMPUTED = {("torch", "float32"), ("torch", "bfloat16"), ("onnx", "float32"), ("onnx", "int8")}
# What the answer is called where none is probable enough.
UNSURE = "UNSURE"

Logits = npt.NDArray[np.float32]


def sigmoid(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute the probability of the second of two labels (POSITIVE) from its logits, without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(logits, dtype=np.float64)))


def probabilities(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute those of every label from what `Classifier.logits` returns. *Shape:* (reviews, labels)."""
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim == 1:
        return np.stack([sigmoid(-z), sigmoid(z)], axis=1)
    return np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))


def decisions(logits: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Find the id of the most probable label of each review from what `Classifier.logits` returns."""
    z = np.asarray(logits)
    return (z > 0).astype(np.int64) if z.ndim == 1 else z.argmax(axis=1)


class Prediction(NamedTuple("_Prediction", [("label", str), ("score", float)])):
    """What the classifier says of one review: a pair, `label, score = prediction`, that also knows more.

    Args:
        label: The most probable of the model's labels, or the name of the answer that is not probable enough.
        score: The probability of the most probable label; of two labels, 0.5 to 1.
        known: Share of the tokens read that are in the vocabulary, 0 for a review without a token: near 0, the model
            cannot judge the text, whatever the score. NaN where it was not counted. No part of the pair: neither
            unpacked nor compared.
        scores: The probability of every label by its name, where asked for by `all_scores`; no part of the pair either.
    """

    # Of those that are made without: by `_replace`, say.
    known: float = math.nan
    scores: Mapping[str, float] | None = None

    def __new__(
        cls, label: str, score: float, known: float = math.nan, scores: Mapping[str, float] | None = None
    ) -> Self:
        """Make the pair and remember what is beside it."""
        prediction = super().__new__(cls, label, score)
        prediction.known, prediction.scores = known, scores
        return prediction

    def __repr__(self) -> str:
        scores = "" if self.scores is None else f", scores={self.scores!r}"
        return f"Prediction(label={self.label!r}, score={self.score!r}, known={self.known!r}{scores})"


class Classifier:
    """A model and its tokenizer, loaded once, for any number of reviews.

    Reviews are cut to the length that the model was trained on, which the stock pipeline does only when told to. A
    `naive_padding` model gets the padding that it was trained on, too.

    Args:
        model: The model; put into evaluation mode. Its layers are used as they are, not copied.
        tokenizer: Its tokenizer, with a `tokenizers` backend and a `model_max_length`.

    Attributes:
        network: Its layers.
        compute: What computes its logits: the layers, or their graph in onnxruntime.
        tokenizer: What cuts texts into tokens; a copy that neither truncates nor pads.
        max_length: Tokens that are read of a review.
        labels: Names of the labels, in the order of their ids; of two, the negative one is the first.
        unk_token_id: Id of unknown tokens; None where the tokenizer has none.
    """

    def __init__(self, model: SentimentLSTMForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> None:
        model.train(False)
        inner = model.sentiment_lstm
        network = loading.Network(model.config, inner.word_embeddings, inner.lstm, model.classifier)
        # A copy, so that what others do to their tokenizer changes nothing here.
        own = Tokenizer.from_str(cast(Any, tokenizer).backend_tokenizer.to_str())
        self._set_up(network, own, tokenizer.model_max_length, cast("str | None", tokenizer.unk_token))

    def _set_up(self, network: loading.Network, tokenizer: Tokenizer, max_length: int, unknown: str | None) -> None:
        self.network = network.train(False)
        self.compute: Callable[[Tensor, Tensor], Tensor] = self.network
        self.max_length = int(max_length)
        self.labels = tuple(network.config.label_names)
        self.tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        self.unk_token_id: int | None = None if unknown is None else tokenizer.token_to_id(unknown)
        if network.config.naive_padding and self.max_length > 1_000_000:
            raise ValueError(
                f"the tokenizer's model_max_length is {self.max_length}; a naive_padding model needs the length "
                "that it was trained with"
            )
        if (highest := loading.highest_id(tokenizer)) >= (rows := network.embedding.num_embeddings):
            raise ValueError(
                f"the tokenizer gives ids up to {highest} and the model's embedding table has {rows} rows; they do not "
                "belong together: load both from one checkpoint"
            )

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        variant: str | None = None,
        device: str | torch.device = "cpu",
        backend: str = "torch",
        dtype: str | torch.dtype = "float32",
    ) -> Classifier:
        """Load a checkpoint with the classes of this package; no code of the checkpoint is run.

        Args:
            source: A run directory, or a repository of the Hub; the model that comes with the package where None or
                "reviews", its name, unless a run directory of that name is there.
            revision: Branch, tag or commit of a repository.
            variant: Which weights, where there are several: "fp16" for `model.fp16.safetensors`.
            device: Where to compute; the backend "onnx" knows the CPU only.
            backend: "torch", or "onnx": the same model in onnxruntime, converted now, in a fifth of a second.
            dtype: What to compute word vectors and LSTM in: "float32", and with torch also "bfloat16", with onnx
                "int8". bfloat16 is twice as fast on processors with instructions for it (AVX-512 BF16, AMX), and
                several times slower, with a warning, on others. Either moves scores in the third digit (int8 also with
                what is computed together), and the labels of a few reviews in a thousand.

        Raises:
            FileNotFoundError, OSError: There is no such directory, repository or file, or the Hub cannot be reached.
            ModuleNotFoundError: onnxruntime is missing; the message holds the command that installs it.
            ValueError: The checkpoint holds another kind of model, or files that do not belong together; or the
                backend does not compute in this dtype, or on this device.
        """
        dtype, device = str(dtype).removeprefix("torch."), torch.device(device)
        if (backend, dtype) not in _COMPUTED or (backend == "onnx" and device.type != "cpu"):
            raise ValueError(
                f"backend is {backend!r}, dtype {dtype!r}, device {str(device)!r}; allowed: 'torch' with 'float32' or "
                "'bfloat16', and 'onnx' with 'float32' or 'int8' on the 'cpu'"
            )
        if device.type == "cpu" and dtype == "bfloat16" and not autocast_computes_lstm(torch.bfloat16):
            warnings.warn(
                "this processor has no instructions for bfloat16, in which the model is several times slower here; "
                "float32, the default, is fast and exact",
                stacklevel=2,
            )
        name = find_checkpoint(source)
        if Path(name).parent == FOLDER and Path(name).name in held():
            config = cast("SentimentLSTMConfig", loading.ShippedConfig.read(name))
        else:
            config = loading.read_config(name, revision)
        # All files of one commit, even if the branch moves meanwhile.
        revision = getattr(config, "_commit_hash", None) or revision
        network = loading.read_weights(config, loading.find_weights(name, revision, variant))
        if dtype == "bfloat16":
            for layers in (network.embedding, network.lstm):
                layers.to(torch.bfloat16)
        settings = loading.read_settings(loading.file_of(name, "tokenizer_config.json", revision))
        tokenizer = loading.read_tokenizer(loading.file_of(name, "tokenizer.json", revision))
        classifier = cls.__new__(cls)
        classifier._set_up(
            network.to(device), tokenizer, settings.get("model_max_length", sys.maxsize), settings.get("unk_token")
        )
        if backend == "onnx":
            classifier.compute = OnnxNetwork(onnx_bytes(network, int8=dtype == "int8"))
        return classifier

    @cached_property
    def config(self) -> SentimentLSTMConfig:
        """The model's configuration."""
        config = self.network.config
        # Where transformers is wanted after all.
        return loading.read_config(config.folder, None) if isinstance(config, loading.ShippedConfig) else config

    @property
    def parameters(self) -> int:
        """Number of its parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def fingerprint(self) -> str:
        """Digest all that decides the scores: weights, configuration, tokenizer, labels and length."""
        own = ("_name_or_path", "transformers_version", "dtype", "architectures", "auto_map")
        settings = {key: value for key, value in self.config.to_dict().items() if key not in own}
        rest = (settings, self.labels, self.max_length, self.tokenizer.to_str())
        digest = hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode())
        if isinstance(self.compute, OnnxNetwork):
            digest.update(self.compute.content)
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy())
        return f"sha256:{digest.hexdigest()}"

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize texts: the ids of all tokens of each, those beyond `max_length` too."""
        plain, found = self._plain_tokenizer, dict[int, list[int]]()
        for tokenizer, chosen in ((plain or self.tokenizer, True), (self.tokenizer, False)):
            rows = [row for row, text in enumerate(texts) if is_plain(text) is chosen]
            encodings = tokenizer.encode_batch_fast([texts[row] for row in rows])
            found |= {row: encoding.ids for row, encoding in zip(rows, encodings, strict=True)}
        return [found[row] for row in range(len(texts))]

    @cached_property
    def _plain_tokenizer(self) -> Tokenizer | None:
        return plain_tokenizer(self.tokenizer)

    def logits(self, texts: Iterable[str], *, batch_size: int = 64) -> Logits:
        """Compute the logits of each text, in order: of two labels that of the second one (POSITIVE) alone.

        All texts are tokenized and sorted by length at once; for more than some thousands, use :meth:`stream`.

        Args:
            texts: As for :meth:`stream`, and so are the errors.
            batch_size: Reviews that are computed together.

        Returns:
            *Shape:* (len(texts),) of two labels, (len(texts), labels) of more.
        """
        check_count("batch_size", batch_size)
        return self.logits_of_ids(self.token_ids(list(checked_texts(texts))), batch_size=batch_size)

    def logits_of_ids(self, reviews: Sequence[Sequence[int]], *, batch_size: int = 64) -> Logits:
        """Compute the logits of reviews given as token ids, of which the first `max_length` are read."""
        ids = [review[: self.max_length] for review in reviews]
        config, device = self.network.config, self.network.head.weight.device
        order = np.argsort([-len(review) for review in ids], kind="stable")
        result = np.empty((len(ids), len(self.labels))[: 1 if len(self.labels) == 2 else 2], dtype=np.float32)

        def compute(rows: npt.NDArray[np.int64]) -> None:
            width = self.max_length if config.naive_padding else 1
            padded, mask = pad_batch([ids[row] for row in rows], config.pad_token_id or 0, width=width)
            with torch.inference_mode():
                logits = self.compute(padded.to(device), (mask | config.naive_padding).to(device))
            result[rows] = logits.float().cpu().numpy()

        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        share_out(compute, batches, alone=device.type != "cpu")
        return result

    def __call__(self, texts: Iterable[str], **options: Any) -> list[Prediction]:
        """Classify texts as :meth:`stream` does, all at once."""
        return list(self.stream(texts, **options))

    def stream(
        self,
        texts: Iterable[str],
        *,
        batch_size: int = 64,
        all_scores: bool = False,
        unsure_below: float | None = None,
        unsure_label: str = UNSURE,
    ) -> Iterator[Prediction]:
        """Classify texts as they come, in memory that does not grow with their number.

        Args:
            texts: The reviews: a list, a column of a table, or anything else that yields strings.
            batch_size: Reviews that are computed together.
            all_scores: Give each prediction `scores`, too, the probability of every label.
            unsure_below: Probability below which the answer is `unsure_label` instead; the score stays.
            unsure_label: Name of that answer.

        Yields:
            One (label, score) per text, in order, each with the attributes `known` and `scores`.

        Raises:
            TypeError: The texts are no list or the like, or one is not a string; the message tells which.
            ValueError: A size is no whole number of at least 1; `unsure_below` is nothing that the probability of the
                most probable label could be below; or `unsure_label` is one of the model's labels.
        """
        check_count("batch_size", batch_size)
        check_unsure(unsure_below, unsure_label, self.labels)
        checked = checked_texts(texts)
        while window := list(islice(checked, WINDOW)):
            reviews = [ids[: self.max_length] for ids in self.token_ids(window)]
            logits = self.logits_of_ids(reviews, batch_size=batch_size)
            for ids, best, every in zip(reviews, decisions(logits), probabilities(logits), strict=True):
                known = 1 - ids.count(cast(int, self.unk_token_id)) / len(ids) if ids else 0.0
                score = float(every[best])
                label = self.labels[best] if unsure_below is None or score >= unsure_below else unsure_label
                scores = dict(zip(self.labels, every.tolist(), strict=True)) if all_scores else None
                yield Prediction(label, score, known, scores)


def find_checkpoint(source: str | os.PathLike[str] | None) -> str:
    """Return the directory or the repository that a name of a checkpoint stands for."""
    source = pretrained() if source is None else source
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"model is {source!r}; pass a run directory or a Hub repository")
    name, allowed = os.fspath(source), "a run directory or a Hub repository"
    # A directory of data may well have the name, too.
    if name in held() and not Path(name, "config.json").is_file():
        return pretrained(name)
    path = local_path(name, "the model", allowed=allowed)
    if path is not None and not path.is_dir():
        raise FileNotFoundError(f"model {name} is a file; pass {allowed}")
    return name if path is None else str(path)


def open_classifier(
    model: str | os.PathLike[str] | Classifier | None, backend: str, dtype: str | torch.dtype
) -> Classifier:
    """Load the classifier that a name stands for; one that is loaded already stays as it is."""
    if not isinstance(model, Classifier):
        return Classifier.from_pretrained(model, backend=backend, dtype=dtype)
    if (backend, str(dtype).removeprefix("torch.")) != ("torch", "float32"):
        raise ValueError(
            f"backend is {backend!r}, dtype is {dtype!r}, and model is a Classifier, which is loaded already; pass "
            "them to Classifier.from_pretrained"
        )
    return model


def check_unsure(below: float | None, name: str, labels: Sequence[str]) -> None:
    """Refuse a bound that no probability can have, or that every answer has, and a name that is no other label."""
    if below is not None and (not isinstance(below, int | float) or not 1 / len(labels) < below <= 1):
        why = f"of {len(labels)} labels, the most probable one is never less so"
        raise ValueError(f"unsure_below is {below!r}; allowed: above {1 / len(labels):.4g} ({why}), to 1")
    if below is not None and (not isinstance(name, str) or not name.strip() or name in labels):
        raise ValueError(f"unsure_label is {name!r}; allowed: a text that is none of the model's labels")


def predict(
    texts: Iterable[str],
    *,
    model: str | os.PathLike[str] | Classifier | None = None,
    backend: str = "torch",
    dtype: str | torch.dtype = "float32",
    **options: Any,
) -> list[Prediction]:
    """Classify reviews.

    Of a DataFrame: `frame.join(pd.DataFrame(predict(frame["text"]), index=frame.index))` has two more columns.

    Args:
        texts: The reviews: a list, a column of a table, or anything else that yields strings.
        model: As `source` of `Classifier.from_pretrained`, or a `Classifier`, which is loaded already.
        backend: As for `Classifier.from_pretrained`, and so is `dtype`.
        dtype: See there.
        options: `batch_size`, `all_scores`, `unsure_below` and `unsure_label`, as for `Classifier.stream`.

    Returns:
        One (label, score) per text, in order, each with the attributes `known` and `scores`.

    Raises:
        ModuleNotFoundError, OSError, TypeError, ValueError: As those two.
    """
    # Before a model is loaded.
    check_texts(texts)
    return open_classifier(model, backend, dtype)(texts, **options)
