from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from hf_lstm_sentiment import PRESETS, SentimentLSTMConfig, pretrain
from hf_lstm_sentiment.training.presets import LANGUAGE_MODEL
from hf_lstm_sentiment.training.pretrain import SentimentLSTMForCausalLM
from hf_lstm_sentiment.utils.files import read_json
from tests.reviews import refused

SIZES = {"vocab_words": 80, "embedding_size": 8, "hidden_size": 16, "max_length": 64, "validation_fraction": 0.2}
MODEL = replace(LANGUAGE_MODEL, glove=None, learning_rate=2e-2, warmup_steps=0, batch_size=16, epochs=3, **SIZES)
CLASSIFIER = replace(PRESETS["imdb_teacher"], learning_rate=2e-2, warmup_steps=0, batch_size=16, epochs=2, **SIZES)


@pytest.fixture(scope="module")
def pretrained(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "language_model"
    return pretrain(dataset=source, output_dir=folder, recipe=MODEL, disable_tqdm=True)


def language_model(words=30, **config):
    torch.manual_seed(0)
    config = SentimentLSTMConfig(vocab_size=words, pad_token_id=0, embedding_size=8, hidden_size=16, **config)
    return SentimentLSTMForCausalLM(config, torch.rand(words), sampled_words=200_000)


IDS = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0], [9, 0, 0, 0]])
MASK = (IDS != 0).long()


def test_the_loss_is_the_cross_entropy_of_every_word_but_the_first():
    model = language_model().eval()
    states = model.sentiment_lstm(IDS, MASK).last_hidden_state
    scores = model.projection(states) @ model.sentiment_lstm.word_embeddings.weight.T + model.bias
    steps = ((0, 1), (0, 2), (0, 3), (1, 1))
    expected = [-scores[row, step - 1].log_softmax(-1)[IDS[row, step]] for row, step in steps]
    torch.testing.assert_close(model(IDS, MASK).loss, torch.stack(expected).mean())


def test_a_large_sample_tells_the_loss_of_the_whole_vocabulary():
    model = language_model()
    torch.nn.init.normal_(model.bias)
    with torch.no_grad():
        whole, sampled = model.eval()(IDS, MASK).loss, model.train()(IDS, MASK).loss
    assert float(sampled) == pytest.approx(float(whole), rel=0.01)
    assert float(sampled) != float(whole)


def test_single_words_give_a_zero_gradient_and_two_directions_are_refused():
    model = language_model().train()
    model(IDS[:, :1], MASK[:, :1]).loss.backward()
    assert all(not p.grad.any() for p in model.parameters())
    refused(
        lambda: language_model(bidirectional=True), "bidirectional is True; a language model reads in one direction"
    )


def test_it_learns(pretrained):
    metrics = read_json(pretrained.run_directory / "metrics.json")
    losses = [entry["validation_loss"] for entry in metrics["history"]]
    assert losses[-1] < losses[0] < math.log(80)
    # By batches there, by words here.
    assert math.log(metrics["perplexity"]) == pytest.approx(min(losses), rel=0.05)
    assert f"perplexity  {metrics['perplexity']:,.1f}  (40 validation reviews)" in pretrained.summary()


def test_the_classifier_starts_from_it(fit, source, pretrained):
    still = replace(CLASSIFIER, learning_rate=1e-12)
    result = fit(still, dataset=source, pretrained=pretrained.run_directory)
    before, after = (load_file(run.run_directory / "model.safetensors") for run in (pretrained, result))
    for name, tensor in before.items():
        if name.startswith("sentiment_lstm."):
            torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)
    assert result.metrics["pretraining"]["perplexity"] == pretrained.metrics["perplexity"]
    # The unlabeled reviews are in the vocabulary and not trained on.
    assert result.metrics["dataset"]["unlabeled"] == 150
    assert "language model" in (result.run_directory / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 12}, r"does not fit: .*lstm.*\[64\].*\[48\].*pretrain with the sizes of this preset"),
        ({"vocab_words": 60}, r"was pretrained on other tokens: \d+ of its \d+ are not among the 62 of this training"),
        # Another split gives the same vocabulary, but other reviews are held out.
        ({}, r"split_seed was 42 and is 7\) and may know the validation"),
    ],
)
def test_one_that_does_not_fit_or_may_know_validation_reviews_is_refused(fit, change, message, source, pretrained):
    given = {"dataset": source, "pretrained": pretrained.run_directory, "split_seed": 42 if change else 7}
    refused(lambda: fit(replace(CLASSIFIER, **change), **given), message)


def test_a_language_model_is_not_pushed(source, tmp_path):
    push = {"dataset": source, "output_dir": tmp_path / "model", "recipe": MODEL, "push_to_hub": True}
    refused(lambda: pretrain(**push), "a language model is not published")
