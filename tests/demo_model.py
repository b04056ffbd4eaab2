"""A tiny checkpoint that knows good words from bad ones, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification, train_tokenizer
from tests.reviews import BAD, GOOD, make_reviews

MAX_LENGTH = 12


def save_model(path: Path, labels: Sequence[str] = ("NEGATIVE", "POSITIVE")) -> Path:
    """Write it to a new directory; its labels go from the worst to the best, of more than two by a neutral one."""
    texts = [*(text for text, _ in make_reviews(60)), "a film and the plot in an end"]
    words = train_tokenizer(texts, scheme="words", vocab_size=200, max_length=MAX_LENGTH)
    torch.manual_seed(0)
    names = dict(enumerate(labels))
    config = SentimentLSTMConfig(vocab_size=len(words), embedding_size=2, hidden_size=2, pooling="max", id2label=names)
    model = SentimentLSTMForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0)
        # One cell fires at good words and one at bad words, and neither remembers.
        lstm = model.sentiment_lstm.lstm
        for cell, some in enumerate((GOOD, BAD)):
            for word in some:
                model.sentiment_lstm.word_embeddings.weight[words.convert_tokens_to_ids(word), cell] = 2
            for gate in (0, 2, 3):
                lstm.weight_ih_l0[2 * gate + cell, cell] = 2
        sides = torch.linspace(-1, 1, len(labels)) if len(labels) > 2 else torch.ones(1)
        model.classifier.weight.copy_(sides[:, None] * torch.tensor([5.0, -5.0]))
        if len(labels) > 2:
            model.classifier.bias[len(labels) // 2] = 1
    model.save_pretrained(path)
    words.save_pretrained(path)
    return path
