import copy
import logging
from functools import partial
from operator import attrgetter

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence, pad_sequence
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification, SentimentLSTMModel
from hf_lstm_sentiment.model import packed_lstm

MODELS = [SentimentLSTMModel, SentimentLSTMForSequenceClassification]
AUTOS = [AutoModel, AutoModelForSequenceClassification]
POOLINGS = ["last", "max", "mean"]
# Padding at the end, at the beginning, in between, and a review of nothing else.
IDS = torch.tensor(
    [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0], [0, 0, 8, 9, 1], [2, 0, 3, 0, 4], [0, 0, 0, 0, 0], [5, 0, 0, 0, 0]]
)
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
equal = partial(torch.testing.assert_close, rtol=0, atol=0)
few = settings(deadline=None, max_examples=100)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def small(**changes):
    return SentimentLSTMConfig(**{"vocab_size": 20, "embedding_size": 4, "hidden_size": 3, **changes})


def made(cls, dtype=torch.float64, **changes):
    return cls(small(**changes)).to(dtype).eval()


classifier, encoder = partial(made, SentimentLSTMForSequenceClassification), partial(made, SentimentLSTMModel)


def table(model):
    return model.get_input_embeddings().weight


def aligned(model):
    """Loaded weights lie in the mapped file, at addresses that can change the last bit of a product; copies do not."""
    return copy.deepcopy(model)


def gradients(module):
    return {name: x.new_zeros(x.shape) if x.grad is None else x.grad for name, x in module.named_parameters()}


def plain_lstm(lstm, layers=None):
    """torch's own LSTM with the same weights, or with those of the first layers."""
    sizes = (lstm.input_size, lstm.hidden_size, layers or lstm.num_layers)
    plain = nn.LSTM(*sizes, batch_first=True, bidirectional=lstm.bidirectional, dtype=lstm.weight_ih_l0.dtype)
    weights = lstm.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    return plain


def packed_reference(plain, vectors, mask, pooling):
    """States and pooled by way of `pack_padded_sequence`; zeros where there is no word."""
    width = plain.hidden_size * (2 if plain.bidirectional else 1)
    states, pooled = vectors.new_zeros(*mask.shape, width), vectors.new_zeros(len(mask), width)
    rows = [row for row in range(len(mask)) if mask[row].any()]
    if not rows:
        return states, pooled
    reviews = pad_sequence([vectors[row][mask[row]] for row in rows], batch_first=True)
    lengths = [int(mask[row].sum()) for row in rows]
    output, (h, _) = plain(pack_padded_sequence(reviews, lengths, batch_first=True, enforce_sorted=False))
    output, _ = pad_packed_sequence(output, batch_first=True)
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        own = output[index, :length]
        states[row, mask[row]] = own
        if pooling == "last":
            pooled[row] = torch.cat([h[-2, index], h[-1, index]]) if plain.bidirectional else h[-1, index]
        else:
            pooled[row] = own.max(dim=0).values if pooling == "max" else own.mean(dim=0)
    return states, pooled


# Batches of any size, an empty one too, with padding on either side, in between, everywhere or nowhere.
masks = st.integers(0, 7).flatmap(
    lambda length: st.lists(st.lists(st.booleans(), min_size=length, max_size=length), max_size=5).map(
        lambda rows: torch.tensor(rows, dtype=torch.bool).reshape(len(rows), length)
    )
)
shapes = st.fixed_dictionaries(
    {"pooling": st.sampled_from(POOLINGS), "num_hidden_layers": st.integers(1, 3), "bidirectional": st.booleans()}
)
seeds = st.integers(0, 2**16)


# Construction


@pytest.mark.parametrize("bidirectional", [False, True])
def test_initial_weights_follow_the_documentation(bidirectional):
    config = SentimentLSTMConfig(
        vocab_size=400, embedding_size=50, hidden_size=64, num_hidden_layers=2, bidirectional=bidirectional
    )
    config.initializer_range = 0.3
    model = SentimentLSTMForSequenceClassification(config)
    words = table(model)
    equal(words[0], torch.zeros(50))
    assert words[1:].std().item() == pytest.approx(0.3, rel=0.05)
    assert words[1:].mean().item() == pytest.approx(0, abs=0.02)
    for weight in model.sentiment_lstm.lstm.parameters():
        bound = 64**-0.5
        assert 0.9 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)
    bound = model.classifier.in_features**-0.5
    assert 0.8 * bound < model.classifier.weight.abs().max() <= bound
    assert 0 < model.classifier.bias.abs() <= bound


# Outputs


@pytest.mark.parametrize("labels", [2, 3, 1_000])
@pytest.mark.parametrize("weights", [None, [1, 2, 3]])
def test_loss_is_cross_entropy_of_any_number_of_labels(labels, weights):
    weights = weights and [weights[i % 3] for i in range(labels)]
    model = classifier(id2label={i: f"name {i}" for i in range(labels)}, class_weights=weights)
    assert model.classifier.out_features == (1 if labels == 2 else labels)
    wanted = LABELS * (labels - 1)
    output = model(IDS, labels=wanted)
    assert output.logits.shape == (6, labels)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    close(output.loss, F.cross_entropy(output.logits, wanted, weight, reduction="sum") / 6)
    if labels == 2:
        equal(output.logits[:, 0], torch.zeros(6, dtype=torch.float64))
        assert len(output.logits[:, 1].unique()) > 1
        for dtype in (torch.bool, torch.float32, torch.float64, torch.uint8):
            equal(model(IDS, labels=LABELS.to(dtype)).loss, output.loss)


@pytest.mark.parametrize("z", [-1e4, 1e4])
def test_loss_of_a_probability_is_weighted_and_that_of_an_extreme_answer_finite(z):
    soft = torch.full((6,), 0.25, dtype=torch.float64)
    output = classifier(class_weights=[1.0, 3.0])(IDS, labels=soft)
    close(output.loss, 1.5 * F.binary_cross_entropy_with_logits(output.logits[:, 1], soft))
    model = classifier()
    model.classifier.bias.data.fill_(z)
    model.classifier.weight.data.zero_()
    loss = model(IDS, labels=torch.full((6,), float(z < 0))).loss
    loss.backward()
    assert loss.item() == 1e4
    assert abs(model.classifier.bias.grad.item()) == pytest.approx(1)


@pytest.mark.parametrize("wrong", [-1, 2, -100, 1.5, -0.1, float("nan")])
def test_wrong_labels_are_refused(wrong):
    with pytest.raises(ValueError, match=rf"a label is {wrong}.*allowed: 0 \(NEGATIVE\), 1 \(POSITIVE\)"):
        classifier()(IDS, labels=torch.tensor([0, 1, wrong, 0, 1, 0]))
    for shape in ((5,), (6, 1)):
        with pytest.raises(ValueError, match=r"the batch has 6 reviews, so it must be \(6,\)"):
            classifier()(IDS, labels=torch.zeros(shape))


def test_wrong_labels_of_three_are_refused():
    three = classifier(id2label={0: "bad", 1: "fair", 2: "good"})
    for label in (3, -1, 0.5, float("nan")):
        with pytest.raises(ValueError, match=rf"a label is {label}.*a whole number from 0 \(bad\) to 2 \(good\)"):
            three(IDS, labels=torch.tensor([0, 1, label, 2, 1, 0]))
    three.config.id2label = {0: "bad", 1: "good"}
    with pytest.raises(ValueError, match="the head has 3 outputs and the configuration 2 labels"):
        three(IDS)


@pytest.mark.parametrize("make", [encoder, classifier])
def test_tuple_equals_output(make):
    model = make()
    expected = model(IDS)
    assert isinstance(expected, BaseModelOutputWithPooling if make is encoder else SequenceClassifierOutput)
    by_argument = model(IDS, return_dict=False)
    model.config.output_hidden_states = True
    assert len(model(IDS).hidden_states) == 2
    model.config.output_hidden_states = model.config.return_dict = False
    for found in (by_argument, model(IDS)):
        assert type(found) is tuple
        equal(found, expected.to_tuple())


def test_inputs_embeds_equals_input_ids():
    model = classifier(pooling="max")
    vectors = model.get_input_embeddings()(IDS).detach().requires_grad_()
    by_ids = model(IDS, labels=LABELS)
    by_vectors = model(inputs_embeds=vectors, attention_mask=IDS != 0, labels=LABELS)
    equal(by_vectors.logits, by_ids.logits)
    equal(by_vectors.loss, by_ids.loss)
    by_ids.loss.backward()
    by_vectors.loss.backward()
    summed = torch.zeros(20, 4, dtype=torch.float64).index_add(0, IDS.flatten(), vectors.grad.flatten(0, 1))
    close(table(model).grad, summed)
    assert summed.abs().max() > 0


@pytest.mark.parametrize("name", ["embedding_dropout", "word_dropout", "classifier_dropout"])
def test_dropout_acts_in_training_only_and_where_it_says(name):
    model = classifier(**{name: 0.5}, hidden_size=32, embedding_size=32).train()
    ids = torch.randint(1, 20, (20, 50))
    ids[4] = 0
    assert not torch.equal(model(ids).logits, model(ids).logits)
    vectors, full = model(ids, output_hidden_states=True).hidden_states[0], table(model)[ids]
    if name == "classifier_dropout":
        equal(vectors, full)
        # An empty review's pooled output is zero, dropped or not.
        equal(model(ids).logits[4, 1], model.classifier.bias[0])
        return
    kept, scale = (vectors != 0, 2) if name == "embedding_dropout" else (vectors.any(dim=-1), 1)
    assert 0.4 < kept[ids != 0].double().mean() < 0.6
    close(vectors[kept], scale * full[kept])


# Refusals


@pytest.mark.parametrize("make", [encoder, classifier])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either input_ids or inputs_embeds"),
        ({"input_ids": IDS, "inputs_embeds": torch.zeros(6, 5, 4)}, "either input_ids or inputs_embeds"),
        ({"input_ids": torch.ones(5, dtype=torch.long)}, r"input_ids has shape \(5,\); it takes 2"),
        ({"inputs_embeds": torch.ones(5, 4)}, r"inputs_embeds has shape \(5, 4\); it takes 3"),
        ({"input_ids": IDS, "attention_mask": torch.ones(6, 4)}, r"\(6, 4\), the input has \(6, 5\)"),
        ({"input_ids": IDS, "attention_mask": torch.ones(6, 1, 1, 5)}, r"\(6, 1, 1, 5\), the input has \(6, 5\)"),
        ({"input_ids": IDS, "attention_mask": -1e9 * (IDS == 0)}, "negative numbers, like a mask that is added"),
        *(
            (
                {"input_ids": IDS.masked_fill(IDS == 8, wrong)},
                f"id {wrong} is outside of the embedding table, .* 20 rows",
            )
            for wrong in (-1, 20, 25_001)
        ),
    ],
)
def test_wrong_input_is_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(torch.float32)(**arguments)


# Padding


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.float32])
@pytest.mark.parametrize("pad", [0, 7, None])
def test_without_a_mask_the_padding_token_is_padding(dtype, pad):
    model, mask, everything = classifier(pad_token_id=pad), pad != IDS, torch.ones_like(IDS)
    equal(model(IDS).logits, model(IDS, mask.to(dtype) if pad is not None else everything).logits)
    vectors = model.get_input_embeddings()(IDS)
    equal(model(inputs_embeds=vectors).logits, model(inputs_embeds=vectors, attention_mask=everything).logits)
    if pad is not None:
        assert not torch.equal(model(IDS).logits, model(IDS, everything).logits)
        # What stands at padding is not read.
        equal(model(IDS.masked_fill(~mask, -100), mask).logits, model(IDS).logits)


def of_lengths(*lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@few
@given(mask=masks, shape=shapes, seed=seeds, training=st.booleans(), states_wanted=st.booleans())
@example(of_lengths(6, 6, 6, 6), {"pooling": "last", "num_hidden_layers": 2, "bidirectional": True}, 0, True, False)
@example(of_lengths(1, 1, 1), {"pooling": "max", "num_hidden_layers": 3, "bidirectional": True}, 1, True, False)
@example(of_lengths(1), {"pooling": "mean", "num_hidden_layers": 1, "bidirectional": False}, 2, True, False)
@example(of_lengths(9, 1, 60, 2, 9), {"pooling": "mean", "num_hidden_layers": 2, "bidirectional": True}, 3, True, True)
def test_outputs_and_every_gradient_are_those_of_the_packed_lstm(mask, shape, seed, training, states_wanted):
    torch.manual_seed(seed)
    model = classifier(**shape).train(training)
    ids = torch.randint(1, 20, mask.shape)
    labels = torch.rand(len(mask), dtype=torch.float64)
    output = model(ids, mask, labels=labels, output_hidden_states=states_wanted)
    output.loss.backward()

    twin, plain = copy.deepcopy(model), plain_lstm(model.sentiment_lstm.lstm)
    twin.zero_grad()
    states, pooled = packed_reference(plain, twin.get_input_embeddings()(ids), mask, shape["pooling"])
    z = twin.classifier(pooled).squeeze(-1)
    loss = F.binary_cross_entropy_with_logits(z, labels) if len(z) else z.sum()
    loss.backward()
    close(model.sentiment_lstm(ids, mask).last_hidden_state, states)
    assert model.sentiment_lstm(ids, mask, output_last_hidden_state=False).last_hidden_state is None
    if states_wanted:
        vectors, *layers = output.hidden_states
        equal(vectors, model.get_input_embeddings()(ids) * mask[..., None])
        for count, found in enumerate(layers, start=1):
            some = plain_lstm(model.sentiment_lstm.lstm, count)
            close(found, packed_reference(some, vectors, mask, "last")[0])
        assert len(layers) == shape["num_hidden_layers"]
    close(output.logits[:, 1], z)
    close(output.loss, loss)
    expected = gradients(twin) | {f"sentiment_lstm.lstm.{name}": x for name, x in gradients(plain).items()}
    for name, gradient in gradients(model).items():
        close(gradient, expected[name], msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("directions", [1, 2])
def test_no_padded_step_is_computed(monkeypatch, pooling, layers, directions):
    model = classifier(pooling=pooling, num_hidden_layers=layers, bidirectional=directions == 2)
    ids = torch.randint(1, 20, (9, 40)).masked_fill(torch.rand(9, 40) < 0.5, 0)
    ids[0] = 0
    tokens, lengths = int((ids != 0).sum()), {int(n) for n in (ids != 0).sum(dim=1)} - {0}
    steps, lstm = [], torch.lstm

    def count(data, state, *arguments):
        # torch's packed LSTM, whose gradient is slow on the CPU, is called otherwise.
        assert isinstance(state, tuple)
        steps.append(data.size(0) * data.size(1))
        return lstm(data, state, *arguments)

    monkeypatch.setattr(torch, "lstm", count)
    for states_wanted in (False, True):
        steps.clear()
        model(ids, labels=torch.ones(9), output_hidden_states=states_wanted).loss.backward()
        assert sum(steps) == tokens * layers * directions
        # A time step at a time would compute as little and be much slower.
        assert len(steps) == len(lengths) * layers * directions


class PretendsToBeOnCuda(torch.Tensor):
    """Takes the model's way for CUDA, where the data are packed and go through `nn.LSTM`."""

    is_cuda = True


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("mask", [IDS != 0, torch.zeros_like(IDS)])
def test_way_for_cuda_agrees(monkeypatch, pooling, bidirectional, mask):
    model = classifier(pooling=pooling, bidirectional=bidirectional, num_hidden_layers=2)
    vectors = torch.randn(6, 5, 4, dtype=torch.float64)
    packed = []
    original = nn.LSTM.forward
    monkeypatch.setattr(nn.LSTM, "forward", lambda self, data: packed.append(type(data)) or original(self, data))
    results = []
    for kind in (torch.Tensor, PretendsToBeOnCuda):
        model.zero_grad()
        own = vectors.clone().as_subclass(kind).requires_grad_()
        output = model(inputs_embeds=own, attention_mask=mask, labels=LABELS)
        output.loss.backward()
        tensors = [output.loss, output.logits, own.grad, *(x.grad for x in model.parameters() if x is not table(model))]
        results.append([x.as_subclass(torch.Tensor) for x in tensors])
    assert packed == ([PackedSequence] if mask.any() else [])
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-10)


# v0: padding read as words


def test_naive_padding_warns_and_is_a_plain_lstm_over_the_padded_batch(caplog):
    logging.Logger.warning_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        packed = encoder(num_hidden_layers=2)
        assert not caplog.records
        naive = encoder(naive_padding=True, num_hidden_layers=2)
    assert "naive_padding is on" in caplog.text
    vectors = naive.word_embeddings(IDS)
    states, _ = plain_lstm(naive.lstm)(vectors)
    for output in (naive(IDS), naive(IDS, IDS != 0), naive(inputs_embeds=vectors, attention_mask=IDS != 0)):
        close(output.last_hidden_state, states)
        close(output.pooler_output, states[:, -1])
    packed.load_state_dict(naive.state_dict())
    assert not torch.isclose(packed(IDS).pooler_output, states[:, -1])[1:].any()


# Reviews without a word

EMPTY = {
    "padding only": {"input_ids": torch.zeros(3, 4, dtype=torch.long)},
    # What a tokenizer returns for "": torch.tensor([[]]) is float32.
    "tokenized": {"input_ids": torch.tensor([[]]), "attention_mask": torch.tensor([[]])},
    "no row": {"input_ids": torch.zeros(0, 4, dtype=torch.long)},
    "vectors, masked": {"inputs_embeds": torch.full((3, 4, 4), float("nan")), "attention_mask": torch.zeros(3, 4)},
}


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("arguments", EMPTY.values(), ids=EMPTY)
def test_batch_without_a_word(arguments, pooling, bidirectional):
    model = classifier(torch.float32, pooling=pooling, bidirectional=bidirectional, num_hidden_layers=2)
    batch_size, seq_len = next(iter(arguments.values())).shape[:2]
    output = model(**arguments, labels=torch.ones(batch_size), output_hidden_states=True)
    bias = model.classifier.bias
    equal(output.logits, torch.stack([torch.zeros(batch_size), bias.expand(batch_size)], dim=-1))
    assert [tuple(x.shape[:2]) for x in output.hidden_states] == [(batch_size, seq_len)] * 3
    expected = F.binary_cross_entropy_with_logits(bias, torch.ones(1)) if batch_size else torch.tensor(0.0)
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    for name, parameter in model.named_parameters():
        if "inputs_embeds" not in arguments or "word_embeddings" not in name:
            # DistributedDataParallel waits for the gradient of every parameter.
            assert torch.isfinite(parameter.grad).all(), name


# The freeze flag


def frozen_models(folder):
    """Every way to a model of a frozen checkpoint or configuration."""
    config = small(freeze_embeddings=True)
    model = SentimentLSTMForSequenceClassification(config)
    model.save_pretrained(folder)
    yield copy.deepcopy(model)
    for auto, cls in zip(AUTOS, MODELS, strict=True):
        yield from (cls(config), auto.from_config(config))
        with torch.device("meta"):
            yield cls(config)
        for load in (auto.from_pretrained, cls.from_pretrained):
            yield load(folder, output_loading_info=True)[0]
            yield load(folder, dtype=torch.bfloat16, device_map="auto")
    for size in (30, 10):
        resized = SentimentLSTMForSequenceClassification.from_pretrained(folder)
        resized.resize_token_embeddings(size)
        yield resized
    for part in ("set_input_embeddings", "base_model.set_input_embeddings"):
        replaced = SentimentLSTMForSequenceClassification.from_pretrained(folder)
        attrgetter(part)(replaced)(nn.Embedding(20, 4, padding_idx=0))
        yield replaced


def test_frozen_table_stays_out_of_training_however_the_model_came_about(tmp_path):
    for place, model in enumerate(frozen_models(tmp_path)):
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == ("word_embeddings" not in name), (place, name)
    assert table(AutoModel.from_pretrained(tmp_path, freeze_embeddings=False)).requires_grad


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("size", [20, 30, 12])
@pytest.mark.parametrize("mean_resizing", [True, False])
def test_padding_row_stays_zero(make, size, mean_resizing):
    model = classifier()
    model.resize_token_embeddings(size, mean_resizing=mean_resizing)
    before = table(model).detach().clone()
    model.train()
    optimizer = make(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        # A literal "<pad>" in a review is a token with this id that the mask does not hide.
        model(IDS, torch.ones_like(IDS), labels=LABELS).loss.backward()
        optimizer.step()
    equal(table(model)[0], torch.zeros_like(before[0]))
    assert (table(model)[1:10] != before[1:10]).all()


# The Trainer


def test_gradient_accumulation_equals_one_large_batch(tmp_path):
    rows = zip(IDS.repeat(4, 1), LABELS.repeat(4), strict=True)
    reviews = [{"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": label} for ids, label in rows]
    before = classifier()
    trained = []
    for size, steps in ((8, 1), (2, 4)):
        model = copy.deepcopy(before)
        arguments = TrainingArguments(
            tmp_path,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            max_steps=3,
            **{"optim": "sgd", "learning_rate": 0.5, "lr_scheduler_type": "constant", "max_grad_norm": 0.0},
            **{"save_strategy": "no", "report_to": [], "use_cpu": True},
        )
        Trainer(model, arguments, data_collator=default_data_collator, train_dataset=reviews).train()
        trained.append(model)
    for one, other, old in zip(*(model.parameters() for model in (*trained, before)), strict=True):
        close(one, other)
        assert not torch.equal(one, old)


# Number formats


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-5), (torch.float32, 1e-6), (torch.float16, 4e-3), (torch.bfloat16, 4e-2)],
)
def test_number_formats(tmp_path, pooling, dtype, tolerance):
    torch.manual_seed(0)
    exact = classifier(torch.float32, hidden_size=16, pooling=pooling, bidirectional=True)
    exact.save_pretrained(tmp_path)
    model = SentimentLSTMForSequenceClassification.from_pretrained(tmp_path, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    output = model(IDS, labels=LABELS)
    assert output.logits.dtype == dtype
    assert output.loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(output.logits.float(), exact(IDS).logits, rtol=0, atol=tolerance)
    model.train()
    model(IDS, labels=LABELS).loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    if dtype == torch.bfloat16:
        with torch.autocast("cpu", dtype):
            output = exact(IDS, labels=LABELS)
        torch.testing.assert_close(output.logits.float(), exact(IDS).logits, rtol=0, atol=tolerance)
        output.loss.backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in exact.parameters())


def test_autocast_where_the_processor_cannot_run_the_lstm_in_its_format(monkeypatch):
    model = classifier(torch.float32, bidirectional=True)
    monkeypatch.setattr(packed_lstm, "autocast_computes_lstm", lambda dtype: False)
    expected = model.sentiment_lstm(IDS).last_hidden_state
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.warns(UserWarning, match="cannot run the LSTM in torch.bfloat16: it runs in torch.float32"):
            found = model.sentiment_lstm(IDS).last_hidden_state
        model(IDS, labels=LABELS).loss.backward()
    equal(found, expected)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_said_of_the_processor_is_so(dtype):
    lstm = nn.LSTM(2, 3)
    with torch.autocast("cpu", dtype):
        try:
            lstm(torch.zeros(4, 1, 2))[0].sum().backward()
            able = True
        except RuntimeError:
            able = False
    assert packed_lstm.autocast_computes_lstm(dtype) == able


# Saving and loading


@pytest.mark.parametrize(("cls", "auto"), list(zip(MODELS, AUTOS, strict=True)))
def test_saved_and_loaded_models_agree_bit_for_bit(tmp_path, cls, auto):
    model = made(cls, torch.float32, num_hidden_layers=2, bidirectional=True, pooling="max")
    model.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == model.state_dict().keys()
    for loader, changes in ((cls, {"device_map": "auto"}), (auto, {})):
        loaded, info = loader.from_pretrained(tmp_path, output_loading_info=True, **changes)
        assert type(loaded) is cls
        assert not any(info.values())
        equal(aligned(loaded)(IDS).to_tuple(), model(IDS).to_tuple())
    # The one loads into the other; a head that was not saved is a new one.
    other, info = MODELS[cls is MODELS[0]].from_pretrained(tmp_path, output_loading_info=True)
    differs = "missing_keys" if cls is MODELS[0] else "unexpected_keys"
    assert {key: set(names) for key, names in info.items() if names} == {
        differs: {"classifier.weight", "classifier.bias"}
    }
    equal(aligned(other).base_model(IDS).pooler_output, model.base_model(IDS).pooler_output)
    if cls is MODELS[0]:
        assert 0 < other.classifier.weight.abs().max() <= other.classifier.in_features**-0.5
