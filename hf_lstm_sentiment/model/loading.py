"""Checkpoints on a disk or on the Hub, whose author may be a stranger: what does not fit together is refused by name.

No code of a checkpoint is run, and no pickle read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..utils.files import read_json
from ..utils.messages import shown
from .packed_lstm import PackedLSTM, Packing, pool
from .pretrained_models import held

if TYPE_CHECKING:
    from .configuration_sentiment_lstm import SentimentLSTMConfig


class Network(nn.Module):
    """The layers of a `SentimentLSTMForSequenceClassification` without transformers' model base class."""

    def __init__(self, config: SentimentLSTMConfig, embedding: nn.Embedding, lstm: PackedLSTM, head: nn.Linear) -> None:
        super().__init__()
        self.config = config
        self.embedding, self.lstm, self.head = embedding, lstm, head

    @classmethod
    def from_checkpoint(cls, config: SentimentLSTMConfig, weights: dict[str, Tensor]) -> Network:
        """Build the layers that a configuration describes, with the weights of a checkpoint."""
        network = cls(
            config,
            # Made of no random numbers: drawing those of the whole table takes time, and on the meta device, which
            # would draw none, torch imports its compiler for it, which takes longer than everything else here.
            nn.Embedding.from_pretrained(torch.empty(config.vocab_size, config.embedding_size)),
            PackedLSTM.from_config(config),
            nn.Linear(config.hidden_size * (2 if config.bidirectional else 1), config.num_logits),
        )
        names = {"sentiment_lstm.word_embeddings": "embedding", "sentiment_lstm.lstm": "lstm", "classifier": "head"}
        renamed = {}
        for name, tensor in weights.items():
            layer, _, parameter = name.rpartition(".")
            renamed[f"{names.get(layer, layer)}.{parameter}"] = tensor.float()
        network.load_state_dict(renamed, assign=True)
        return network

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Compute the logits: of two labels that of label 1, otherwise one for each label.

        *Shape:* (batch_size, seq_len), (batch_size, seq_len) to (batch_size,) or (batch_size, num_labels)
        """
        packing = Packing.from_mask(mask)
        (states,) = self.lstm(self.embedding(packing.gather(ids)), packing)
        pooled = pool(states, packing, self.config)
        return cast(Tensor, self.head(pooled.to(self.head.weight.dtype))).squeeze(-1)


def file_of(name: str, file: str, revision: str | None) -> Path:
    """Find a file of a checkpoint in a directory, or fetch it from a repository of the Hub."""
    if (path := Path(name, file)).is_file():
        return path
    if path.parent.is_dir():
        raise FileNotFoundError(f"the directory {name} holds no {file}; pass a run directory or a Hub repository")
    from transformers.utils.hub import cached_file

    try:
        return Path(cast(str, cached_file(name, file, revision=revision)))
    except OSError as error:
        own = ", ".join(held())
        raise OSError(
            f"model {name} is no directory here, none of the package ({own}), nor was it found on the Hub: {error}"
        ) from error


def _damaged(path: Path, error: BaseException | str) -> ValueError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ValueError(f"{path} is damaged ({reason}); copy or download the checkpoint again")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as error:
        raise _damaged(path, error.__cause__ or error) from error


def read_config(name: str, revision: str | None) -> SentimentLSTMConfig:
    """Read the configuration of a checkpoint; another kind of model, or a value of a wrong type, is a ValueError."""
    from .configuration_sentiment_lstm import SentimentLSTMConfig

    path = file_of(name, "config.json", revision)
    content = _read_object(path)
    if content.get("model_type") != SentimentLSTMConfig.model_type:
        raise ValueError(
            f"model {name} is of type {content.get('model_type')!r}; this package classifies with its own "
            f"{SentimentLSTMConfig.model_type!r} only"
        )
    labels, ids = content.get("id2label"), content.get("label2id")
    if not isinstance(labels, dict | None) or not isinstance(ids, dict | None):
        raise _damaged(path, f"id2label is {shown(labels)} and label2id {shown(ids)}; allowed: objects")
    names = [name for name in (labels or {}).values() if isinstance(name, str)]
    if labels and labels.keys() != {str(index) for index in range(len(set(names)))}:
        raise _damaged(path, f"id2label is {shown(labels)}; allowed: different texts for 0, 1 and so on")
    try:
        return SentimentLSTMConfig.from_pretrained(name, revision=revision or "main")
    except OSError:
        raise
    except Exception as error:  # what a configuration of anything may raise is not known beforehand
        raise _damaged(path, error.__cause__ or error) from error


class ShippedConfig(SimpleNamespace):
    """The configuration of a model that comes with the package, which was checked before it was put there.

    It is read without transformers, and has the entries of `config.json` as attributes.
    """

    @classmethod
    def read(cls, folder: str) -> ShippedConfig:
        """Read it from the model's directory."""
        content = _read_object(Path(folder, "config.json"))
        labels = {int(index): name for index, name in content["id2label"].items()}
        names = [labels[index] for index in range(len(labels))]
        derived = {"id2label": labels, "label_names": names, "num_logits": 1 if len(names) == 2 else len(names)}
        return cls(**content | derived, folder=folder)


def read_settings(path: Path) -> dict[str, Any]:
    """Read a `tokenizer_config.json`; `model_max_length` and `unk_token` are checked."""
    settings = _read_object(path)
    length = settings.get("model_max_length", sys.maxsize)
    # Tokenizers without a length say so by a huge number, 1e30 as transformers writes it.
    if not isinstance(length, int | float) or not length >= 1:
        raise _damaged(path, f"model_max_length is {length!r}; allowed: a whole number of at least 1")
    unknown = settings.get("unk_token")
    # Some releases of transformers write how a token is to be matched, too.
    unknown = unknown.get("content") if isinstance(unknown, dict) else unknown
    if not isinstance(unknown, str | None):
        raise _damaged(path, f"unk_token is {shown(unknown)}; allowed: a text")
    return {**settings, "unk_token": unknown}


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`, and try the tokenizer on known and unknown words."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
        highest_id(tokenizer)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # tokenizers raises nothing more special, and where it panics not even an Exception.
        raise _damaged(path, error) from error
    return tokenizer


def highest_id(tokenizer: Tokenizer) -> int:
    """Find the highest id that a tokenizer gives to known words, to unknown ones and around a text."""
    # One by one: a batch would start threads, of which tokenizers warns when the process is forked later.
    tried = [tokenizer.encode(text).ids for text in ("", "a \U0010fffd")]
    return max(chain(tokenizer.get_vocab().values(), *tried), default=-1)


def find_weights(name: str, revision: str | None, variant: str | None = None) -> list[Path]:
    """Find the safetensors file of a checkpoint, or the shards of which its index tells."""
    part = f".{variant}" if variant else ""
    try:
        return [file_of(name, f"model{part}.safetensors", revision)]
    except OSError as error:
        try:
            index = file_of(name, f"model.safetensors.index{part}.json", revision)
        except OSError:
            raise error from None
    shards = _read_object(index).get("weight_map")
    files = list(shards.values()) if isinstance(shards, dict) else []
    if not files or not all(isinstance(file, str) and re.fullmatch(r"[\w.-]+\.safetensors", file) for file in files):
        raise _damaged(index, f"weight_map is {shown(shards)}; allowed: names of safetensors files beside it")
    return [file_of(name, file, revision) for file in sorted(set(files))]


def read_weights(config: SentimentLSTMConfig, paths: Sequence[Path]) -> Network:
    """Read safetensors files into the layers that a configuration describes; what does not fit is a ValueError."""
    weights: dict[str, Tensor] = {}
    for path in paths:
        try:
            weights |= load_file(path)
        except SafetensorError as error:
            raise _damaged(path, error) from error
    path = paths[0] if len(paths) == 1 else paths[0].parent
    problem = f"{path} does not hold the weights that its config.json describes"
    # Before layers of a size are made that only the configuration claims.
    directions = 2 if config.bidirectional else 1
    shapes = {
        "sentiment_lstm.word_embeddings.weight": (config.vocab_size, config.embedding_size),
        "sentiment_lstm.lstm.weight_hh_l0": (4 * config.hidden_size, config.hidden_size),
        "classifier.weight": (config.num_logits, config.hidden_size * directions),
    }
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name, shape in shapes.items():
        if found.get(name) != shape:
            raise ValueError(f"{problem}: {name} is {found.get(name, 'missing')}, expected {shape}")
    if len(weights) != (expected := 4 * config.num_hidden_layers * directions + 3):
        raise ValueError(f"{problem}: it has {len(weights)} tensors, expected {expected}")
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{problem}: {name} holds {tensor.dtype}, expected floating-point numbers")
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} holds numbers that are not finite; the training diverged")
    try:
        return Network.from_checkpoint(config, weights)
    except RuntimeError as error:
        raise ValueError(f"{problem}: {error}") from error
