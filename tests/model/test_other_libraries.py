"""What other libraries do with the model: adapters, noise on word vectors, traces, arguments of every other model."""

from __future__ import annotations

import logging

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers.integrations.neftune import activate_neftune

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.tensor([[5, 6, 7, 8], [9, 3, 0, 0], [4, 0, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS != 0).long(), "labels": torch.tensor([0, 1, 1])}
LSTM = ["lstm.weight_ih_l0", "lstm.weight_hh_l0"]


def make(**changes):
    torch.manual_seed(0)
    config = SentimentLSTMConfig(vocab_size=20, embedding_size=8, hidden_size=6, **changes)
    return SentimentLSTMForSequenceClassification(config).eval()


def logits(model):
    with torch.no_grad():
        return model.eval()(**BATCH).logits


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["word_embeddings"], "task_type": "SEQ_CLS"},
        {"target_modules": [], "target_parameters": LSTM},
        {"target_modules": ["word_embeddings", "classifier"], "target_parameters": LSTM},
    ],
)
def test_lora_trains_saves_loads_and_merges(options, tmp_path):
    model = get_peft_model(make(), LoraConfig(r=2, **options))
    trained = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora" in name or "modules_to_save" in name for name in trained)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.train()
    for _ in range(3):
        model(**BATCH).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, before in trained.items():
        assert not torch.equal(model.get_parameter(name), before), name
    assert not torch.allclose(logits(model), logits(make()), atol=1e-3)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(PeftModel.from_pretrained(make(), tmp_path)), logits(model))
    expected = logits(model)
    torch.testing.assert_close(logits(model.merge_and_unload()), expected)


def test_neftune_adds_noise_in_training_that_is_scaled_by_the_padded_length(monkeypatch):
    model, seen = make(), []
    plain = logits(model)
    activate_neftune(model, 5.0)
    torch.testing.assert_close(logits(model), plain)
    table = model.get_input_embeddings()
    table.register_forward_hook(lambda module, inputs, output: seen.append(output - table.weight[inputs[0]]))
    losses = {float(model.train()(**BATCH).loss) for _ in range(3)}
    assert len(losses) == 3
    largest = 5.0 / (IDS.size(1) * 8) ** 0.5
    assert all(noise.shape == (*IDS.shape, 8) for noise in seen)
    assert 0.9 * largest < max(float(noise.abs().max()) for noise in seen) <= largest
    # Without the noise, the path of padded vectors computes what the other one does.
    table.neftune_noise_alpha = 0.0
    torch.testing.assert_close(model(**BATCH).logits, plain)


def test_a_trace_is_refused():
    model = make()
    for trace in (torch.jit.trace, torch.export.export):
        with pytest.raises(RuntimeError, match="cannot be traced: a trace would keep the padding of its example"):
            trace(model, (BATCH["input_ids"], BATCH["attention_mask"]), strict=False)


def test_what_every_other_model_takes_is_ignored(caplog, monkeypatch):
    model, plain = make(), logits(make())
    logger = logging.getLogger("transformers")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.WARNING, logger="hf_lstm_sentiment"), torch.no_grad():
        assert torch.equal(model(**BATCH, token_type_ids=torch.zeros_like(IDS), output_attentions=False).logits, plain)
        assert not caplog.records
        for _ in range(2):
            assert torch.equal(model(**BATCH, output_attentions=True).logits, plain)
    assert [record.message for record in caplog.records] == [
        "output_attentions is ignored: an LSTM has no attention; leave it out"
    ]
