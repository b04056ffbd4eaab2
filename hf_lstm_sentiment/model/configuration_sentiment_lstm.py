"""Configuration of the sentiment LSTM.

This file travels to the Hub with every checkpoint and runs on the machines of people who load it, so it imports
nothing but torch and transformers. It does without `from __future__ import annotations`, which would hide the types
of the fields from `strict`.
"""

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

# `strict` is the decorator of transformers' own configurations; importing it from there keeps the promise above.
from transformers.configuration_utils import PreTrainedConfig, strict  # type: ignore[attr-defined]

NEGATIVE, POSITIVE = "NEGATIVE", "POSITIVE"
# Where the Auto classes find the code that is saved beside a checkpoint.
AUTO_MAP = {
    "AutoConfig": "configuration_sentiment_lstm.SentimentLSTMConfig",
    "AutoModel": "modeling_sentiment_lstm.SentimentLSTMModel",
    "AutoModelForSequenceClassification": "modeling_sentiment_lstm.SentimentLSTMForSequenceClassification",
}


@strict
class SentimentLSTMConfig(PreTrainedConfig):
    """Shape and behavior of a sentiment LSTM; the defaults are those of the reference experiment.

    All arguments are keywords. Types are checked on construction and on assignment, everything else on construction,
    on saving and when a model is built.

    Args:
        vocab_size: Rows of the embedding table, `<pad>` and `<unk>` included.
        embedding_size: Width of a word vector.
        hidden_size: Width of the LSTM's hidden state, per direction.
        num_hidden_layers: Stacked LSTM layers.
        bidirectional: Read each review from both ends; the pooled output is then twice as wide.
        pooling: What is pooled of a review: "last" is the hidden state after the last word (of a backward direction:
            after the first word), "max" and "mean" run over the states after every word.
        embedding_dropout: Probability of zeroing an element of a word vector in training.
        word_dropout: Probability of zeroing a whole word vector in training.
        classifier_dropout: Probability of zeroing an element of the pooled output in training.
        freeze_embeddings: Keep the embedding table out of training.
        naive_padding: Treat padding as tokens, as the study's v0 does. For that study only: the result for a review
            then depends on the amount of padding after it.
        initializer_range: Standard deviation of the initial word vectors; the LSTM and the head start uniform in
            +-1/sqrt(width), PyTorch's default, where width is `hidden_size`, for the head that of the pooled output.
        pad_token_id: Id of padding. Its row of the table is zero and stays zero. Where no attention mask is given,
            tokens with this id are padding; None means that there is no padding.
        class_weights: What a review counts in the loss, by its label, in training and in evaluation; every review
            counts 1 where None.
        kwargs: Everything that `PreTrainedConfig` takes, such as `id2label`, the names of the labels.

    Raises:
        huggingface_hub.errors.StrictDataclassError: A value has the wrong type or lies outside of its range; the
            message names the field, the value and what is allowed.
    """

    model_type: ClassVar[str] = "sentiment_lstm"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["hidden_states"]

    vocab_size: int = 25_002
    embedding_size: int = 100
    hidden_size: int = 256
    num_hidden_layers: int = 1
    bidirectional: bool = False
    pooling: Literal["last", "max", "mean"] = "last"
    embedding_dropout: float | int = 0.0
    word_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    freeze_embeddings: bool = False
    naive_padding: bool = False
    initializer_range: float | int = 1.0
    pad_token_id: int | None = 0
    class_weights: list[float | int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Name the two labels unless the caller did; where names were changed alone, their numbers follow."""
        if self.id2label is None and self.label2id is not None:
            self.id2label = {int(index): name for name, index in self.label2id.items()}
        if self.id2label is None and kwargs.get("num_labels") in (None, 2):
            self.id2label = {0: NEGATIVE, 1: POSITIVE}
        if self.id2label is not None:
            given, self.label2id = self.label2id, {name: int(index) for index, name in self.id2label.items()}
            if given and given != self.label2id and given.keys() == self.label2id.keys():
                raise ValueError(f"label2id is {given} and id2label is {self.id2label}; leave out the wrong one")
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a configuration of a dictionary and changes of it; labels that are renamed keep no old names."""
        if "id2label" in kwargs:
            config_dict = {**config_dict, "label2id": kwargs.pop("label2id", None), "id2label": kwargs.pop("id2label")}
        return super().from_dict(config_dict, **kwargs)

    def validate_ranges(self) -> None:
        """Refuse values with which no model can be built."""
        for name in ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {value}; allowed: a whole number of at least 1")
        for name in ("embedding_dropout", "word_dropout", "classifier_dropout"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {value}; allowed: 0 <= {name} < 1")
        if not 0 < self.initializer_range < float("inf"):
            raise ValueError(f"initializer_range is {self.initializer_range}; allowed: a finite number above 0")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"pad_token_id is {self.pad_token_id}; allowed: 0 to {self.vocab_size - 1} (vocab_size - 1), or None"
            )
        if self.naive_padding and (self.pooling != "last" or self.bidirectional):
            raise ValueError(
                f"naive_padding with pooling {self.pooling!r} and bidirectional {self.bidirectional}; it is the "
                "study's v0 and goes only with pooling 'last' and one direction; leave naive_padding at False"
            )

    @property
    def label_names(self) -> list[str]:
        """Names of the labels, in the order of their ids."""
        names = cast("dict[int, str]", self.id2label)
        return [names[index] for index in sorted(names)]

    @property
    def num_logits(self) -> int:
        """Logits that the head computes: one for two labels, otherwise one for each label."""
        count = len(self.label_names)
        return 1 if count == 2 else count

    def validate_problem(self) -> None:
        """Refuse fewer than two labels, weights of other labels, and other problems than one label of several."""
        remedy = {
            "regression": "name the values that it may answer, such as stars from 1 to 5, as labels",
            "multi_label_classification": "train one model of two labels, yes and no, for each label",
        }
        if self.problem_type not in (None, "single_label_classification"):
            raise ValueError(
                f"problem_type is {self.problem_type!r}; this model does 'single_label_classification' only; "
                f"{remedy.get(str(self.problem_type), 'leave it out')}"
            )
        count = len(self.label_names)
        if count < 2:
            raise ValueError(
                f"the configuration has {count} label(s); allowed: at least 2; leave num_labels and id2label "
                f"out for two sentiments; to predict a number, {remedy['regression']}"
            )
        if self.class_weights is not None:
            check_class_weights(self.class_weights, self.label_names)

    def save_pretrained(self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        """Save as `PreTrainedConfig` does, with an entry for every Auto class whose code is saved beside it.

        transformers registers only the class that is being saved, and leaves entries of a pulled checkpoint pointing
        at the repository that it came from.
        """
        self.label2id = {name: int(index) for index, name in (self.id2label or {}).items()}
        self.auto_map = dict(AUTO_MAP)
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)


def check_class_weights(weights: Sequence[float], names: Sequence[str]) -> None:
    """Refuse weights that are not one for each label, at least 0, finite, and above 0 for at least two labels."""
    good = len(weights) == len(names) and all(0 <= weight < float("inf") for weight in weights)
    if not good or sum(weight > 0 for weight in weights) < 2:
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise ValueError(
            f"class_weights are {weights}; allowed: {len(names)} finite numbers of at least 0, two or more of them "
            f"above 0, in the order of the labels ({listed})"
        )


SentimentLSTMConfig.register_for_auto_class()

__all__ = ["SentimentLSTMConfig", "check_class_weights"]
