"""Small reviews that the tests make: a few words tell the label, the rest is noise."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from hf_lstm_sentiment.data.reviews import Reviews
from hf_lstm_sentiment.training.presets import PRESETS

GOOD = ["wonderful", "great", "funny", "moving", "superb"]
BAD = ["terrible", "boring", "awful", "dull", "stupid"]
MIDDLING = ["mediocre", "average"]
NOISE = [f"word{i}" for i in range(40)]
TINY = replace(
    PRESETS["v1"],
    name="tiny",
    description="A model of a test.",
    vocab_words=60,
    embedding_size=8,
    hidden_size=16,
    pooling="max",
    learning_rate=2e-2,
    batch_size=16,
    epochs=6,
)
# What an error of somebody else looks like when it reaches a user.
FOREIGN = re.compile(r"Traceback|object (has no|is not)|NoneType|unpack|^'\w+'$|pyarrow\.lib|state_dict")


def refused(call: Callable[[], object], message: str) -> str:
    """The call fails with an error that is meant for a reader; its message."""
    with pytest.raises((ValueError, TypeError, OSError, ImportError)) as caught:
        call()
    said = str(caught.value)
    assert re.search(message, said, re.DOTALL), said
    assert len(said) < 1_500
    return said


def make_reviews(count: int, *, seed: int = 0) -> list[tuple[str, int]]:
    """Texts of 4 to 12 words with their labels, as many negative as positive ones, all different."""
    generator = random.Random(seed)
    reviews = []
    for i in range(count):
        words = [*generator.choices(NOISE, k=generator.randint(3, 10)), f"nr{seed}x{i}"]
        words.insert(generator.randrange(len(words)), generator.choice(GOOD if i % 2 else BAD))
        reviews.append((" ".join(words), i % 2))
    return reviews


def rows_of(reviews: Reviews) -> list[tuple[str, int]]:
    """Text and label of every review that was split off one source, in its order."""
    parts = (reviews.train, reviews.validation, reviews.test)
    rows = sorted(row for part in parts for row in zip(part["row"], part["text"], part["label"], strict=True))
    return [(text, label) for _, text, label in rows]


def same_weights(run: Path, other: Path) -> bool:
    """Whether two runs or checkpoints hold the same weights, bit for bit."""
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (run, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def word_vectors(run: Path) -> dict[str, torch.Tensor]:
    """Each token of a run with its vector."""
    table = load_file(run / "model.safetensors")["sentiment_lstm.word_embeddings.weight"]
    vocabulary = json.loads((run / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return {word: table[row] for word, row in vocabulary.items()}


def write_csv(path: Path, reviews: list[tuple[str, object]], header: tuple[str, str] = ("text", "label")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *reviews])
    return path


def write_glove(path: Path, words: list[str], dimension: int) -> Path:
    generator = random.Random(1)
    lines = [" ".join([word, *(f"{generator.uniform(-1, 1):.5f}" for _ in range(dimension))]) for word in words]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def save_parts(folder: Path, **parts: list[tuple[str, object]]) -> Path:
    """Texts and labels of each split as a data set on disk."""
    import datasets

    lists = {name: [{"text": text, "label": label} for text, label in rows] for name, rows in parts.items()}
    datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in lists.items()}).save_to_disk(folder)
    return folder


def save_with_unlabeled(folder: Path) -> Path:
    """200 labelled training, 60 test and 150 unlabeled reviews as a data set on disk."""
    unlabeled = [(text, -1) for text, _ in make_reviews(150, seed=2)]
    return save_parts(folder, train=make_reviews(200), test=make_reviews(60, seed=1), unsupervised=unlabeled)


def make_rated(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Reviews of three labels by turns: those of `make_reviews`, in which a middling word takes the place of others."""
    names = ("negative", "positive", "neutral")
    rated = []
    for i, (text, label) in enumerate(make_reviews(count, seed=seed)):
        label = 2 if i % 3 == 2 else label
        words = [MIDDLING[i % 2] if label == 2 and word in GOOD + BAD else word for word in text.split()]
        rated.append((" ".join(words), names[label]))
    return rated


def save_encoder(folder, labels=None):
    """Write a tiny BERT that knows the words of these reviews: an encoder, or a classifier of so many labels."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *NOISE]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(
        vocab_size=len(words), hidden_dropout_prob=0.0, **sizes, **({"num_labels": labels} if labels else {})
    )
    (BertForSequenceClassification if labels else BertModel)(config).save_pretrained(folder)
    return folder
