"""A tiny checkpoint that knows good words from bad ones, without training."""

from __future__ import annotations

from pathlib import Path

import torch

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification, train_tokenizer
from tests.reviews import BAD, GOOD, make_reviews

MAX_LENGTH = 12


def save_model(path: Path) -> Path:
    """Write it to a new directory."""
    texts = [*(text for text, _ in make_reviews(60)), "a film and the plot in an end"]
    words = train_tokenizer(texts, scheme="words", vocab_size=200, max_length=MAX_LENGTH)
    torch.manual_seed(0)
    config = SentimentLSTMConfig(vocab_size=len(words), embedding_size=2, hidden_size=2, pooling="max")
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
        model.classifier.weight.copy_(torch.tensor([[5.0, -5.0]]))
    model.save_pretrained(path)
    words.save_pretrained(path)
    return path
