"""The recipes, and what a recipe is. Those of the package stand in `presets.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ..model.configuration_sentiment_lstm import SentimentLSTMConfig
from ..model.tokenization import Scheme


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One recipe: data, tokenizer, model and optimization. The defaults are the reference experiment's.

    Attributes:
        name: What the command line calls it.
        description: What it is for, in one sentence.
        dataset: Where the reviews come from, as for `load_reviews`.
        scheme: How the tokenizer splits, as for `train_tokenizer`.
        vocab_words: Tokens in the vocabulary; `<pad>` and `<unk>` come on top.
        glove_words: How many of them are chosen by their rank in the word vectors' file, whose first word is the most
            frequent one of its corpus, and not by their frequency in the reviews.
        max_length: Tokens read of each review, the first ones.
        train_max_length: Tokens read of each training review, where that is another number.
        validation_fraction: As for `load_reviews`.
        soft_labels, glove, pretrained, model_name_or_path, freeze_encoder, class_weights: As for :func:`train`; None
            does without.
        extend_vocab: As for :func:`train`; 0 adds no word.
        own_vocabulary: Train the tokenizer on the reviews, with such a model too; words that it knows keep their
            vectors.
        embedding_size, hidden_size, num_hidden_layers, bidirectional, pooling, embedding_dropout, word_dropout,
            classifier_dropout, freeze_embeddings, naive_padding: As in `SentimentLSTMConfig`.
        learning_rate: Of Adam, without weight decay.
        lr_scheduler_type, warmup_steps, max_grad_norm: As in `TrainingArguments`; a norm of 0 clips nothing.
        batch_size: Reviews per training step on each device; with several, a step has as many times more.
        epochs: At most so many passes over the training reviews.
        patience: Stop after so many epochs that were no better.
        metric_for_best_model: What of the validation reviews chooses the best epoch, as in `TrainingArguments`.
        group_by_length: Draw batches of reviews of similar length, which is faster.
        calibrate: Divide the weights of the head by the temperature that fits the validation reviews best.
    """

    name: str
    description: str
    dataset: str = "stanfordnlp/imdb"
    scheme: Scheme = "whitespace"
    vocab_words: int = 25_000
    glove_words: int = 0
    max_length: int = 256
    train_max_length: int | None = None
    validation_fraction: float = 0.2
    soft_labels: str | None = None
    glove: str | None = None
    pretrained: str | None = None
    model_name_or_path: str | None = None
    extend_vocab: int = 0
    own_vocabulary: bool = False
    freeze_encoder: bool = False
    class_weights: str | None = None
    embedding_size: int = 100
    hidden_size: int = 256
    num_hidden_layers: int = 1
    bidirectional: bool = False
    pooling: Literal["last", "max", "mean"] = "last"
    embedding_dropout: float = 0.0
    word_dropout: float = 0.0
    classifier_dropout: float = 0.0
    freeze_embeddings: bool = False
    naive_padding: bool = False
    learning_rate: float = 1e-3
    lr_scheduler_type: str = "constant"
    warmup_steps: int = 0
    max_grad_norm: float = 0.0
    batch_size: int = 64
    epochs: int = 15
    patience: int = 3
    metric_for_best_model: str = "accuracy"
    group_by_length: bool = False
    calibrate: bool = False

    def config(self, **of_reviews: Any) -> SentimentLSTMConfig:
        """Make the model's configuration; what follows from the reviews, such as `vocab_size`, is given."""
        # Preset and configuration share the names of their fields on purpose.
        known = {f.name for f in fields(SentimentLSTMConfig)}
        shape = {name: value for name, value in asdict(self).items() if name in known}
        return SentimentLSTMConfig(**{**shape, "class_weights": None, **of_reviews})


def _read(path: Path) -> dict[str, Preset]:
    """The recipes of a file, by their names; each follows its parent there."""
    found: dict[str, Preset] = {}
    for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
        parent = asdict(found[table.pop("parent")]) if "parent" in table else {}
        changes = {key: None if value == "" else value for key, value in table.items()}
        found[name] = Preset(**{**parent, **changes, "name": name})
    return found


_FOUND = _read(Path(__file__).with_suffix(".toml"))
LANGUAGE_MODEL = _FOUND.pop("language_model")
PRESETS: Mapping[str, Preset] = MappingProxyType(_FOUND)
"""Every recipe of a classifier by its name."""

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {field.name: field.default for field in fields(Preset) if field.default is not MISSING}
)
"""Settings of the reference experiment; also those that a run from before a setting existed was trained with."""


def find_preset(preset: str | Preset) -> Preset:
    """Find the recipe of a name, or refuse the name; a recipe is returned as it is."""
    if isinstance(preset, Preset):
        return preset
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is not known; allowed: {', '.join(PRESETS)}")
    return PRESETS[preset]
