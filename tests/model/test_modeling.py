import copy
import logging
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
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
from hf_lstm_sentiment.model.packed_lstm import Packing

MODELS = [SentimentLSTMModel, SentimentLSTMForSequenceClassification]
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


def classifier(dtype=torch.float64, **changes):
    return SentimentLSTMForSequenceClassification(small(**changes)).to(dtype).eval()


def encoder(dtype=torch.float64, **changes):
    return SentimentLSTMModel(small(**changes)).to(dtype).eval()


def table(model):
    return model.get_input_embeddings().weight


def aligned(model):
    """Loaded weights lie in the mapped file, at addresses that can change the last bit of a product; copies do not."""
    return copy.deepcopy(model)


def gradients(module):
    return {name: x.new_zeros(x.shape) if x.grad is None else x.grad for name, x in module.named_parameters()}


def train_steps(model, optimizer, batches):
    model.train()
    for ids, labels in batches:
        optimizer.zero_grad()
        model(ids, labels=labels).loss.backward()
        optimizer.step()
    return model


def plain_lstm(lstm, layers=None):
    """torch's own LSTM with the same weights, or with those of the first layers."""
    plain = nn.LSTM(
        lstm.input_size, lstm.hidden_size, layers or lstm.num_layers, batch_first=True, bidirectional=lstm.bidirectional
    ).to(lstm.weight_ih_l0.dtype)
    weights = lstm.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    return plain


def packed_reference(plain, vectors, mask, pooling):
    """States and summaries by way of `pack_padded_sequence`; zeros where there is no word."""
    width = plain.hidden_size * (2 if plain.bidirectional else 1)
    states, summaries = vectors.new_zeros(*mask.shape, width), vectors.new_zeros(len(mask), width)
    rows = [row for row in range(len(mask)) if mask[row].any()]
    if not rows:
        return states, summaries
    reviews = pad_sequence([vectors[row][mask[row]] for row in rows], batch_first=True)
    lengths = [int(mask[row].sum()) for row in rows]
    output, (h, _) = plain(pack_padded_sequence(reviews, lengths, batch_first=True, enforce_sorted=False))
    output, _ = pad_packed_sequence(output, batch_first=True)
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        own = output[index, :length]
        states[row, mask[row]] = own
        if pooling == "last":
            summaries[row] = torch.cat([h[-2, index], h[-1, index]]) if plain.bidirectional else h[-1, index]
        else:
            summaries[row] = own.max(dim=0).values if pooling == "max" else own.mean(dim=0)
    return states, summaries


@st.composite
def masks(draw):
    """Batches of any size, an empty one too, with padding on either side, in between, everywhere or nowhere."""
    batch_size, seq_len = draw(st.integers(0, 5)), draw(st.integers(0, 7))
    rows = []
    for _ in range(batch_size):
        kind = draw(st.sampled_from(["right", "left", "holes"]))
        if kind == "holes":
            row = draw(st.lists(st.booleans(), min_size=seq_len, max_size=seq_len))
        else:
            row = [i < draw(st.shared(st.integers(0, seq_len), key=f"length {len(rows)}")) for i in range(seq_len)]
        rows.append(row[::-1] if kind == "left" else row)
    return torch.tensor(rows, dtype=torch.bool).reshape(batch_size, seq_len)


shapes = st.fixed_dictionaries(
    {"pooling": st.sampled_from(POOLINGS), "num_hidden_layers": st.integers(1, 3), "bidirectional": st.booleans()}
)
seeds = st.integers(0, 2**16)


# Construction


def test_reference_model_has_the_published_number_of_parameters():
    model = SentimentLSTMForSequenceClassification(SentimentLSTMConfig())
    assert model.num_parameters() == 25_002 * 100 + 4 * 256 * (100 + 256) + 2 * 4 * 256 + 257 == 2_867_049
    assert model.num_parameters(only_trainable=True) == 2_867_049


def test_reference_model_gives_the_same_logits_alone_and_in_a_batch():
    model = SentimentLSTMForSequenceClassification(SentimentLSTMConfig()).eval()
    ids = torch.randint(2, 25_002, (4, 60))
    lengths = [60, 1, 0, 37]
    mask = torch.arange(60) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        together = model(ids, mask).logits
        for row, length in enumerate(lengths):
            alone = model(ids[row : row + 1, :length]).logits
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("auto", "cls"),
    [(AutoModel, SentimentLSTMModel), (AutoModelForSequenceClassification, SentimentLSTMForSequenceClassification)],
)
def test_auto_classes(tmp_path, auto, cls):
    model = auto.from_config(small())
    assert type(model) is cls
    model.save_pretrained(tmp_path)
    loaded = auto.from_pretrained(tmp_path)
    assert type(loaded) is cls
    assert not loaded.training
    for name, value in model.state_dict().items():
        equal(loaded.state_dict()[name], value)


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


@pytest.mark.parametrize("cls", MODELS)
def test_built_on_the_meta_device(cls):
    with torch.device("meta"):
        model = cls(small(freeze_embeddings=True, bidirectional=True))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert not table(model).requires_grad


@pytest.mark.parametrize(
    "changes",
    [{"num_labels": 1}, {"num_labels": 3}, {"id2label": {0: "a", 1: "b", 2: "c"}}],
)
def test_other_than_two_labels_are_refused(tmp_path, changes):
    with pytest.raises(ValueError, match=r"has \d labels.*exactly 2"):
        SentimentLSTMForSequenceClassification(small(**changes))
    classifier().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has \d labels.*exactly 2"):
        SentimentLSTMForSequenceClassification.from_pretrained(tmp_path, **changes)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_other_problems_are_refused(problem):
    with pytest.raises(ValueError, match=problem):
        SentimentLSTMForSequenceClassification(small(problem_type=problem))


def test_change_of_the_problem_after_construction_is_refused():
    model = classifier(problem_type="single_label_classification")
    model(IDS)
    model.config.problem_type = "multi_label_classification"
    with pytest.raises(ValueError, match="multi_label_classification"):
        model(IDS)
    model = classifier()
    model.config.num_labels = 3
    with pytest.raises(ValueError, match="3 labels"):
        model(IDS)


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"naive_padding": True}, "bidirectional True"),
        ({"embedding_dropout": 1.0}, "embedding_dropout is 1.0; allowed"),
        ({"word_dropout": -0.1}, "word_dropout is -0.1; allowed"),
        ({"pad_token_id": 20}, "pad_token_id is 20; allowed"),
    ],
)
def test_ranges_hold_for_keywords_of_from_pretrained_and_assignments(tmp_path, cls, changes, message):
    cls(small(bidirectional=True)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        cls.from_pretrained(tmp_path, **changes)
    config = small(bidirectional=True)
    for name, value in changes.items():
        setattr(config, name, value)
    with pytest.raises(ValueError, match=message):
        cls(config)


# Outputs


@pytest.mark.parametrize("bidirectional", [False, True])
def test_types_and_shapes(bidirectional):
    width = 6 if bidirectional else 3
    encoded = encoder(bidirectional=bidirectional, num_hidden_layers=2)(IDS)
    assert isinstance(encoded, BaseModelOutputWithPooling)
    assert encoded.keys() == {"last_hidden_state", "pooler_output"}
    assert encoded.last_hidden_state.shape == (6, 5, width)
    assert encoded.pooler_output.shape == (6, width)
    output = classifier(bidirectional=bidirectional)(IDS, labels=LABELS)
    assert isinstance(output, SequenceClassifierOutput)
    assert output.keys() == {"loss", "logits"}
    assert output.logits.shape == (6, 2)
    assert output.loss.shape == ()
    assert classifier()(IDS).keys() == {"logits"}


def test_logits_are_zero_and_z():
    model = classifier()
    z = model.classifier(model.sentiment_lstm(IDS).pooler_output).squeeze(-1)
    logits = model(IDS).logits
    equal(logits, torch.stack([torch.zeros_like(z), z], dim=-1))
    assert len(z.unique()) > 1
    close(logits.softmax(dim=-1)[:, 1], z.sigmoid())


@pytest.mark.parametrize("labels", [LABELS, LABELS.bool(), LABELS.float(), LABELS.double(), LABELS.to(torch.uint8)])
def test_loss_is_binary_cross_entropy(labels):
    output = classifier()(IDS, labels=labels)
    close(output.loss, F.binary_cross_entropy_with_logits(output.logits[:, 1], LABELS.double()))
    close(output.loss, F.cross_entropy(output.logits, LABELS))


def test_soft_labels():
    labels = torch.rand(6, dtype=torch.float64)
    output = classifier()(IDS, labels=labels)
    close(output.loss, F.binary_cross_entropy_with_logits(output.logits[:, 1], labels))
    close(output.loss, F.cross_entropy(output.logits, torch.stack([1 - labels, labels], dim=-1)))


@pytest.mark.parametrize("z", [-1e4, 1e4])
def test_loss_of_an_extreme_answer_is_finite(z):
    model = classifier()
    model.classifier.bias.data.fill_(z)
    model.classifier.weight.data.zero_()
    loss = model(IDS, labels=torch.full((6,), float(z < 0))).loss
    loss.backward()
    assert loss.item() == 1e4
    assert abs(model.classifier.bias.grad.item()) == pytest.approx(1)


@pytest.mark.parametrize("wrong", [-1, 2, -100, 1.5, -0.1, float("nan")])
def test_label_outside_of_the_range_is_refused(wrong):
    labels = torch.tensor([0, 1, wrong, 0, 1, 0])
    with pytest.raises(ValueError, match=rf"a label is {wrong}.*allowed: 0 \(NEGATIVE\), 1 \(POSITIVE\)"):
        classifier()(IDS, labels=labels)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (6, 1), (6, 2)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"the batch has 6 reviews, so it must be \(6,\)"):
        classifier()(IDS, labels=torch.zeros(shape))


@pytest.mark.parametrize("make", [encoder, classifier])
def test_tuple_equals_output(make):
    model = make()
    arguments = {"labels": LABELS} if make is classifier else {}
    expected = model(IDS, output_hidden_states=True, **arguments)
    by_argument = model(IDS, output_hidden_states=True, return_dict=False, **arguments)
    model.config.return_dict = False
    by_config = model(IDS, output_hidden_states=True, **arguments)
    assert type(by_argument) is type(by_config) is tuple
    assert isinstance(model(IDS, return_dict=True), dict)
    torch.testing.assert_close(by_argument, expected.to_tuple(), rtol=0, atol=0)
    torch.testing.assert_close(by_config, expected.to_tuple(), rtol=0, atol=0)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_hidden_states_are_word_vectors_and_every_layer(bidirectional):
    model = encoder(num_hidden_layers=3, bidirectional=bidirectional)
    output = model(IDS, output_hidden_states=True)
    mask = IDS != 0
    assert len(output.hidden_states) == 4
    vectors = model.word_embeddings(IDS)
    equal(output.hidden_states[0], vectors)
    for layers in (1, 2, 3):
        states, _ = packed_reference(plain_lstm(model.lstm, layers), vectors, mask, "last")
        close(output.hidden_states[layers], states)
    equal(output.hidden_states[-1], output.last_hidden_state)
    equal(output.pooler_output, model(IDS).pooler_output)


@pytest.mark.parametrize("make", [encoder, classifier])
def test_hidden_states_are_asked_for_by_the_configuration_too(make):
    model = make(num_hidden_layers=2)
    assert model(IDS).hidden_states is None
    model.config.output_hidden_states = True
    assert len(model(IDS).hidden_states) == 3
    assert model(IDS, output_hidden_states=False).hidden_states is None


def test_last_hidden_state_can_be_left_out():
    model = encoder()
    output = model(IDS, output_last_hidden_state=False)
    assert output.last_hidden_state is None
    equal(output.pooler_output, model(IDS).pooler_output)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_inputs_embeds_equals_input_ids(pooling):
    model = classifier(pooling=pooling)
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


def test_evaluation_is_deterministic_and_without_dropout():
    model = classifier(embedding_dropout=0.5, classifier_dropout=0.5)
    undropped = classifier()
    undropped.load_state_dict(model.state_dict())
    equal(model(IDS).logits, model(IDS).logits)
    equal(model(IDS).logits, undropped(IDS).logits)


@pytest.mark.parametrize("name", ["embedding_dropout", "word_dropout", "classifier_dropout"])
def test_dropout_acts_in_training_only_and_where_it_says(name):
    torch.manual_seed(0)
    model = classifier(**{name: 0.5}, hidden_size=32, embedding_size=32).train()
    assert not torch.equal(model(IDS).logits, model(IDS).logits)
    vectors = model(IDS, output_hidden_states=True).hidden_states[0][IDS != 0]
    full = table(model)[IDS[IDS != 0]]
    if name == "embedding_dropout":
        kept = vectors != 0
        assert 0.4 < kept.double().mean() < 0.6
        close(vectors[kept], 2 * full[kept])
    elif name == "word_dropout":
        torch.manual_seed(0)
        ids = torch.randint(1, len(table(model)), (20, 50))
        vectors, full = model(ids, output_hidden_states=True).hidden_states[0], table(model)[ids]
        kept = vectors.any(dim=-1)
        assert 0.4 < kept.double().mean() < 0.6
        equal(vectors[kept], full[kept])
        equal(vectors[~kept], torch.zeros_like(full[~kept]))
    else:
        equal(vectors, full)
        # An empty review's summary is zero, dropped or not.
        equal(model(IDS).logits[4, 1], model.classifier.bias[0])


# Refusals


@pytest.mark.parametrize("make", [encoder, classifier])
def test_both_or_neither_input_is_refused(make):
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        make()()
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        make()(input_ids=IDS, inputs_embeds=torch.zeros(6, 5, 4, dtype=torch.float64))


@pytest.mark.parametrize("make", [encoder, classifier])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": torch.ones(5, dtype=torch.long)}, r"input_ids has shape \(5,\); it takes 2"),
        ({"input_ids": torch.ones(2, 5, 1, dtype=torch.long)}, r"input_ids has shape \(2, 5, 1\); it takes 2"),
        ({"inputs_embeds": torch.ones(5, 4)}, r"inputs_embeds has shape \(5, 4\); it takes 3"),
        ({"input_ids": IDS, "attention_mask": torch.ones(6, 4)}, r"\(6, 4\), the input has \(6, 5\)"),
        ({"input_ids": IDS, "attention_mask": torch.ones(5)}, r"\(5,\), the input has \(6, 5\)"),
        ({"input_ids": IDS, "attention_mask": torch.ones(6, 1, 1, 5)}, r"\(6, 1, 1, 5\), the input has \(6, 5\)"),
        (
            {"inputs_embeds": torch.ones(2, 5, 4), "attention_mask": torch.ones(2, 4)},
            r"\(2, 4\), the input has \(2, 5\)",
        ),
    ],
)
def test_input_of_a_wrong_shape_is_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(torch.float32)(**arguments)


def test_naive_model_refuses_a_mask_of_another_shape_too():
    with pytest.raises(ValueError, match=r"\(6, 4\), the input has \(6, 5\)"):
        encoder(naive_padding=True)(IDS, torch.ones(6, 4))


@pytest.mark.parametrize("make", [encoder, classifier])
@pytest.mark.parametrize("wrong", [-1, 20, 25_001])
def test_token_id_outside_of_the_table_is_refused(make, wrong):
    ids = IDS.clone()
    ids[3, 2] = wrong
    with pytest.raises(ValueError, match=rf"token id {wrong} is outside of the embedding table, which has 20 rows"):
        make()(ids)


def test_token_id_at_padding_is_not_read():
    model = classifier()
    ids = IDS.masked_fill(IDS == 0, -100)
    equal(model(ids, IDS != 0).logits, model(IDS).logits)


# Padding


@few
@given(mask=masks())
def test_packing_has_the_layout_of_torch(mask):
    packing = Packing.from_mask(mask)
    flat = torch.arange(mask.numel()).reshape(mask.shape)
    reviews = [flat[row][mask[row]] for row in range(len(mask)) if mask[row].any()]
    assert packing.shape == tuple(mask.shape)
    if not reviews:
        assert packing.positions.numel() == packing.rows.numel() == packing.batch_sizes.numel() == 0
        return
    lengths = [len(review) for review in reviews]
    expected = pack_padded_sequence(pad_sequence(reviews), lengths, enforce_sorted=False)
    assert packing.batch_sizes.tolist() == expected.batch_sizes.tolist()
    assert packing.lengths.tolist() == sorted(lengths, reverse=True)
    assert sum(steps * running for steps, running in packing.blocks) == int(mask.sum())
    # torch sorts equal lengths in an order of its own, so columns are compared as sets of whole reviews.
    starts = (packing.batch_sizes.cumsum(0) - packing.batch_sizes).tolist()
    for rank, (row, length) in enumerate(zip(packing.rows.tolist(), packing.lengths.tolist(), strict=True)):
        own = [int(packing.positions[start + rank]) for start in starts[:length]]
        assert own == flat[row][mask[row]].tolist()
    packed = torch.rand(len(packing.positions), 2)
    scattered = packing.scatter(packed)
    equal(packing.gather(scattered), packed)
    equal(scattered[~mask], torch.zeros(int((~mask).sum()), 2))


def of_lengths(*lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@few
@given(mask=masks(), shape=shapes, seed=seeds, training=st.booleans(), states_wanted=st.booleans())
@example(of_lengths(6, 6, 6, 6), {"pooling": "last", "num_hidden_layers": 2, "bidirectional": True}, 0, True, False)
@example(of_lengths(1, 1, 1), {"pooling": "max", "num_hidden_layers": 3, "bidirectional": True}, 1, True, False)
@example(of_lengths(1), {"pooling": "mean", "num_hidden_layers": 1, "bidirectional": False}, 2, True, False)
@example(
    of_lengths(60, 1, 33, 2, 33), {"pooling": "mean", "num_hidden_layers": 2, "bidirectional": True}, 3, True, True
)
def test_outputs_and_every_gradient_are_those_of_the_packed_lstm(mask, shape, seed, training, states_wanted):
    torch.manual_seed(seed)
    model = classifier(**shape).train(training)
    ids = torch.randint(1, 20, mask.shape)
    labels = torch.rand(len(mask), dtype=torch.float64)
    output = model(ids, mask, labels=labels, output_hidden_states=states_wanted)
    output.loss.backward()

    twin, plain = copy.deepcopy(model), plain_lstm(model.sentiment_lstm.lstm)
    twin.zero_grad()
    _, summaries = packed_reference(plain, twin.get_input_embeddings()(ids), mask, shape["pooling"])
    z = twin.classifier(summaries).squeeze(-1)
    loss = F.binary_cross_entropy_with_logits(z, labels) if len(z) else z.sum()
    loss.backward()
    close(output.logits[:, 1], z)
    close(output.loss, loss)
    expected = gradients(twin) | {f"sentiment_lstm.lstm.{name}": x for name, x in gradients(plain).items()}
    for name, gradient in gradients(model).items():
        close(gradient, expected[name], msg=lambda text, name=name: f"{name}: {text}")


@few
@given(mask=masks(), shape=shapes, seed=seeds)
def test_states_and_their_gradients_are_those_of_the_packed_lstm(mask, shape, seed):
    torch.manual_seed(seed)
    model = encoder(**shape)
    plain = plain_lstm(model.lstm)
    vectors = torch.randn(*mask.shape, 4, dtype=torch.float64, requires_grad=True)
    twins = vectors.detach().clone().requires_grad_()
    output = model(inputs_embeds=vectors, attention_mask=mask)
    states, summaries = packed_reference(plain, twins, mask, shape["pooling"])
    close(output.last_hidden_state, states)
    close(output.pooler_output, summaries)

    weights = torch.randn_like(states)
    ((output.last_hidden_state * weights).sum() + output.pooler_output.sum()).backward()
    # The last term keeps a graph where there is no word.
    ((states * weights).sum() + summaries.sum() + 0 * twins.sum()).backward()
    close(vectors.grad, twins.grad)
    expected = gradients(plain)
    for name, gradient in gradients(model.lstm).items():
        close(gradient, expected[name], msg=lambda text, name=name: f"{name}: {text}")


@few
@given(mask=masks(), shape=shapes, seed=seeds)
def test_a_review_is_the_same_alone_and_in_any_batch(mask, shape, seed):
    torch.manual_seed(seed)
    model = encoder(**shape)
    ids = torch.randint(1, 20, mask.shape)
    together = model(ids, mask)
    for row in range(len(mask)):
        alone = model(ids[row][mask[row]][None])
        close(together.pooler_output[row], alone.pooler_output[0])
        close(together.last_hidden_state[row][mask[row]], alone.last_hidden_state[0])
        equal(
            together.last_hidden_state[row][~mask[row]], torch.zeros_like(together.last_hidden_state[row][~mask[row]])
        )


@few
@given(
    mask=masks(),
    shape=shapes,
    seed=seeds,
    poison=st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e300]),
)
def test_vectors_at_padding_reach_neither_output_nor_gradients(mask, shape, seed, poison):
    torch.manual_seed(seed)
    model = classifier(**shape)
    clean = torch.randn(*mask.shape, 4, dtype=torch.float64)
    poisoned = clean.masked_fill(~mask[..., None], poison)
    results = []
    for vectors in (clean, poisoned):
        vectors = vectors.clone().requires_grad_()
        model.zero_grad()
        output = model(inputs_embeds=vectors, attention_mask=mask)
        output.logits[:, 1].sum().backward()
        results.append([output.logits, vectors.grad, *gradients(model).values()])
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    equal(results[1][1][~mask], torch.zeros(int((~mask).sum()), 4, dtype=torch.float64))
    assert all(torch.isfinite(x).all() for x in results[1])


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int32, torch.uint8, torch.float32])
def test_mask_of_any_type(dtype):
    model = classifier()
    equal(model(IDS, (IDS != 0).to(dtype)).logits, model(IDS).logits)


@pytest.mark.parametrize("pad", [0, 7])
def test_without_a_mask_the_padding_token_is_padding(pad):
    model = classifier(pad_token_id=pad)
    equal(model(IDS).logits, model(IDS, pad != IDS).logits)
    assert not torch.equal(model(IDS).logits, model(IDS, torch.ones_like(IDS)).logits)


def test_without_a_padding_token_or_for_vectors_everything_is_read():
    model = classifier(pad_token_id=None)
    everything = torch.ones_like(IDS)
    equal(model(IDS).logits, model(IDS, everything).logits)
    assert not torch.equal(model(IDS).logits, model(IDS, IDS != 0).logits)
    model = classifier()
    vectors = torch.randn(6, 5, 4, dtype=torch.float64)
    equal(model(inputs_embeds=vectors).logits, model(inputs_embeds=vectors, attention_mask=everything).logits)


def test_a_mask_wins_over_the_padding_token():
    model = encoder()
    read = model(IDS, torch.ones_like(IDS))
    assert (read.last_hidden_state != 0).all()
    states, summaries = packed_reference(plain_lstm(model.lstm), model.word_embeddings(IDS), IDS >= 0, "last")
    close(read.last_hidden_state, states)
    close(read.pooler_output, summaries)


class Work:
    """Counts what `torch.lstm` is given, and refuses torch's packed and modular LSTM."""

    def __init__(self, monkeypatch):
        self.rows_times_steps = 0
        self.calls = 0
        self.lstm = torch.lstm
        monkeypatch.setattr(torch, "lstm", self.count)
        monkeypatch.setattr(torch._VF, "lstm", self.refuse, raising=False)
        for name in ("pack_padded_sequence", "pack_sequence", "pad_packed_sequence"):
            monkeypatch.setattr(torch.nn.utils.rnn, name, self.refuse)

    def count(self, data, state, *arguments):
        assert isinstance(state, tuple), "this is the packed LSTM"
        self.rows_times_steps += data.size(0) * data.size(1)
        self.calls += 1
        return self.lstm(data, state, *arguments)

    def refuse(self, *_, **__):
        raise AssertionError("its gradient is slow on the CPU")


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_no_padded_step_is_computed(monkeypatch, pooling, layers, bidirectional):
    model = classifier(pooling=pooling, num_hidden_layers=layers, bidirectional=bidirectional)
    ids = torch.randint(1, 20, (9, 40)).masked_fill(torch.rand(9, 40) < 0.5, 0)
    ids[0] = 0
    tokens, lengths = int((ids != 0).sum()), {int(n) for n in (ids != 0).sum(dim=1)} - {0}
    for states_wanted in (False, True):
        with monkeypatch.context() as patch:
            work = Work(patch)
            model(ids, labels=torch.ones(9), output_hidden_states=states_wanted).loss.backward()
        assert work.rows_times_steps == tokens * layers * (2 if bidirectional else 1)
        # A time step at a time would compute as little and be much slower.
        assert work.calls == len(lengths) * layers * (2 if bidirectional else 1)


def test_reviews_of_one_length_run_at_once(monkeypatch):
    work = Work(monkeypatch)
    classifier()(torch.ones(8, 50, dtype=torch.long))
    assert (work.calls, work.rows_times_steps) == (1, 400)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[40, 1, 17, 17, 2, 1, 33], [9, 9, 9, 9], [1, 1, 1], [1]])
def test_every_product_is_of_a_real_token(lengths, bidirectional, layers, pooling):
    # In double precision torch's LSTM is made of products that can be counted; single precision runs as one kernel.
    model = classifier(pooling=pooling, num_hidden_layers=layers, bidirectional=bidirectional)
    config, tokens, reviews = model.config, sum(lengths), len(lengths)
    hidden, directions = config.hidden_size, 2 if bidirectional else 1
    mask = of_lengths(*lengths)
    ids = torch.randint(1, 20, mask.shape)
    widths = [config.embedding_size, *[directions * hidden] * (layers - 1)]
    useful = sum(2 * 4 * hidden * (width + hidden) * tokens * directions for width in widths)
    head = 2 * directions * hidden * reviews

    with FlopCounterMode(display=False) as forward:
        loss = model(ids, mask, labels=torch.ones(reviews)).loss
    assert forward.get_total_flops() == useful + head
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    # The state before the first token needs no gradient.
    spared = 2 * 4 * hidden * hidden * reviews * directions * layers
    assert 2 * (useful + head) - spared <= backward.get_total_flops() <= 2 * (useful + head)


class Allocations(TorchDispatchMode):
    """Counts the values of all tensors that operators make, gradients included."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        known = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        self.values += sum(
            x.numel()
            for x in tree_leaves(result)
            if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() not in known
        )
        return result


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_step_of_twice_the_length_allocates_twice_as_much(pooling):
    def growth(step):
        counts = []
        for longest in (64, 128, 256):
            mask = of_lengths(*torch.linspace(1, longest, 16).int().tolist())
            with Allocations() as allocations:
                step(mask)
            counts.append(allocations.values)
        return (counts[2] - counts[1]) / (counts[1] - counts[0])

    model = classifier(torch.float32, pooling=pooling)
    plain = plain_lstm(model.sentiment_lstm.lstm)

    def ours(mask):
        model(mask.long(), mask, labels=torch.ones(16)).loss.backward()

    def packed(mask):
        vectors = torch.randn(*mask.shape, plain.input_size, requires_grad=True)
        packed_reference(plain, vectors, mask, pooling)[1].sum().backward()

    assert 1.7 < growth(ours) < 2.5
    # What is avoided, so that the measure is known to tell.
    assert growth(packed) > 3.3


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_cuda_agrees_with_the_cpu(pooling, bidirectional):
    model = classifier(pooling=pooling, bidirectional=bidirectional, num_hidden_layers=2).train()
    on_cuda = copy.deepcopy(model).cuda()
    for ids in (IDS, torch.zeros_like(IDS)):
        for states_wanted in (False, True):
            model.zero_grad()
            on_cuda.zero_grad()
            expected = model(ids, labels=LABELS, output_hidden_states=states_wanted)
            output = on_cuda(ids.cuda(), labels=LABELS.cuda(), output_hidden_states=states_wanted)
            expected.loss.backward()
            output.loss.backward()
            close(output.logits.cpu(), expected.logits)
            for one, other in zip(on_cuda.parameters(), model.parameters(), strict=True):
                close(one.grad.cpu(), other.grad)


# v0: padding read as words


def test_naive_padding_is_a_plain_lstm_over_the_padded_batch():
    model = encoder(naive_padding=True, num_hidden_layers=2)
    vectors = model.word_embeddings(IDS)
    states, _ = plain_lstm(model.lstm)(vectors)
    for output in (model(IDS), model(IDS, IDS != 0), model(inputs_embeds=vectors, attention_mask=IDS != 0)):
        close(output.last_hidden_state, states)
        close(output.pooler_output, states[:, -1])


def test_naive_padding_does_what_it_warns_of():
    naive, packed = classifier(naive_padding=True), classifier()
    packed.load_state_dict(naive.state_dict())
    review = torch.tensor([[3, 4, 5]])
    more = [F.pad(review, (0, padding)) for padding in (0, 1, 5)]
    logits = [naive(ids, ids != 0).logits[0, 1].item() for ids in more]
    assert len({round(z, 8) for z in logits}) == 3
    for ids in more:
        close(packed(ids, ids != 0).logits, naive(review).logits)


def test_naive_padding_warns(caplog):
    logging.Logger.warning_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        encoder()
        assert not caplog.records
        encoder(naive_padding=True)
    assert "naive_padding is on" in caplog.text


# Reviews without a word

EMPTY = {
    "padding only": {"input_ids": torch.zeros(3, 4, dtype=torch.long)},
    "masked": {"input_ids": torch.ones(3, 4, dtype=torch.long), "attention_mask": torch.zeros(3, 4)},
    "no column": {"input_ids": torch.zeros(3, 0, dtype=torch.long)},
    "no column, with mask": {"input_ids": torch.zeros(3, 0, dtype=torch.long), "attention_mask": torch.zeros(3, 0)},
    # What a tokenizer returns for "": torch.tensor([[]]) is float32.
    "tokenized": {"input_ids": torch.tensor([[]]), "attention_mask": torch.tensor([[]])},
    "no row": {"input_ids": torch.zeros(0, 4, dtype=torch.long)},
    "nothing": {"input_ids": torch.zeros(0, 0, dtype=torch.long)},
    "vectors, masked": {"inputs_embeds": torch.full((3, 4, 4), float("nan")), "attention_mask": torch.zeros(3, 4)},
    "vectors, no column": {"inputs_embeds": torch.zeros(3, 0, 4)},
    "vectors, no row": {"inputs_embeds": torch.zeros(0, 4, 4)},
}


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("arguments", EMPTY.values(), ids=EMPTY)
def test_batch_without_a_word(arguments, pooling, bidirectional):
    model = classifier(torch.float32, pooling=pooling, bidirectional=bidirectional, num_hidden_layers=2)
    batch_size, seq_len = next(iter(arguments.values())).shape[:2]
    labels = torch.ones(batch_size)
    output = model(**arguments, labels=labels, output_hidden_states=True)
    bias = model.classifier.bias
    equal(output.logits, torch.stack([torch.zeros(batch_size), bias.expand(batch_size)], dim=-1))
    assert [tuple(x.shape[:2]) for x in output.hidden_states] == [(batch_size, seq_len)] * 3
    expected = F.binary_cross_entropy_with_logits(bias, torch.ones(1)) if batch_size else torch.tensor(0.0)
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    unread = {"sentiment_lstm.word_embeddings.weight"} if "inputs_embeds" in arguments else set()
    for name, parameter in model.named_parameters():
        if name not in unread:
            # DistributedDataParallel waits for the gradient of every parameter.
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name

    encoded = model.sentiment_lstm(**arguments)
    width = 6 if bidirectional else 3
    equal(encoded.last_hidden_state, torch.zeros(batch_size, seq_len, width))
    equal(encoded.pooler_output, torch.zeros(batch_size, width))
    encoded.pooler_output.sum().backward()


@pytest.mark.parametrize("shape", [(3, 0), (0, 4), (0, 0)])
def test_naive_batch_without_a_word(shape):
    model = classifier(naive_padding=True)
    output = model(torch.zeros(shape, dtype=torch.long), labels=torch.ones(shape[0]))
    equal(output.logits[:, 1], model.classifier.bias.expand(shape[0]))
    output.loss.backward()


def test_empty_review_among_others():
    model = classifier()
    logits = model(IDS).logits
    equal(logits[4, 1], model.classifier.bias[0])
    others = [0, 1, 2, 3, 5]
    close(model(IDS[others]).logits, logits[others])


# The freeze flag


def frozen_models(folder):
    """Every way to a model of a frozen checkpoint or configuration."""
    model = SentimentLSTMForSequenceClassification(small(freeze_embeddings=True))
    model.save_pretrained(folder)
    yield "constructor", model
    yield "base constructor", SentimentLSTMModel(small(freeze_embeddings=True))
    for cls in (*MODELS, AutoModel, AutoModelForSequenceClassification):
        yield f"{cls.__name__}.from_pretrained", cls.from_pretrained(folder)
        loaded, _ = cls.from_pretrained(folder, output_loading_info=True)
        yield f"{cls.__name__} with loading info", loaded
        yield f"{cls.__name__} in bfloat16", cls.from_pretrained(folder, dtype=torch.bfloat16)
        yield f"{cls.__name__} by device map", cls.from_pretrained(folder, device_map="auto")
    for auto in (AutoModel, AutoModelForSequenceClassification):
        yield f"{auto.__name__}.from_config", auto.from_config(small(freeze_embeddings=True))
    yield "copy", copy.deepcopy(model)
    for size in (30, 10):
        resized = SentimentLSTMForSequenceClassification.from_pretrained(folder)
        resized.resize_token_embeddings(size)
        yield f"resized to {size}", resized
    for part in ("self", "base_model"):
        replaced = SentimentLSTMForSequenceClassification.from_pretrained(folder)
        owner = replaced if part == "self" else replaced.base_model
        owner.set_input_embeddings(nn.Embedding(20, 4, padding_idx=0))
        yield f"table replaced in {part}", replaced


def test_frozen_table_stays_out_of_training_however_the_model_came_about(tmp_path):
    for way, model in frozen_models(tmp_path):
        trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        everything = {name for name, _ in model.named_parameters()}
        assert {name for name in everything if "word_embeddings" in name} == everything - trainable, way


def test_freezing_and_thawing_on_load(tmp_path):
    classifier().save_pretrained(tmp_path / "free")
    classifier(freeze_embeddings=True).save_pretrained(tmp_path / "frozen")
    load = SentimentLSTMForSequenceClassification.from_pretrained
    assert table(load(tmp_path / "free")).requires_grad
    assert not table(load(tmp_path / "free", freeze_embeddings=True)).requires_grad
    assert table(load(tmp_path / "frozen", freeze_embeddings=False)).requires_grad


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_training_leaves_a_frozen_table_bit_equal(make):
    model = classifier(freeze_embeddings=True)
    before = copy.deepcopy(model.state_dict())
    train_steps(model, make(model.parameters(), lr=0.1, weight_decay=0.1), [(IDS, LABELS)] * 3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == ("word_embeddings" in name), name


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


# Many processes, and the Trainer

# Batches for two processes; the second leaves one of them without a word.
SHARDS = [(IDS[:3], IDS[3:]), (torch.zeros_like(IDS[:3]), IDS[3:]), (IDS[3:], IDS[:3])]


def train_in_parallel(rank, folder):
    torch.set_num_threads(1)
    # A file to meet at, as a free port may be taken by the time it is used.
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model = SentimentLSTMForSequenceClassification.from_pretrained(folder)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    train_steps(DistributedDataParallel(model), optimizer, [(shard[rank], LABELS[:3]) for shard in SHARDS])
    save_file(model.state_dict(), folder / f"{rank}.safetensors")
    dist.destroy_process_group()


def test_two_processes_train_as_one(tmp_path):
    model = classifier(freeze_embeddings=True, pooling="max")
    model.save_pretrained(tmp_path)
    before = copy.deepcopy(model.state_dict())
    torch.multiprocessing.spawn(train_in_parallel, args=(tmp_path,), nprocs=2)
    labels = LABELS[:3].repeat(2)
    train_steps(model, torch.optim.SGD(model.parameters(), lr=0.5), [(torch.cat(shard), labels) for shard in SHARDS])
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    for name, value in model.state_dict().items():
        equal(first[name], second[name])
        close(first[name], value)
        assert torch.equal(first[name], before[name]) == ("word_embeddings" in name), name


def trainer(model, folder, **arguments):
    torch.manual_seed(1)
    reviews = [
        {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": label}
        for ids, label in zip(IDS.repeat(4, 1), LABELS.repeat(4), strict=True)
    ]
    return Trainer(
        model,
        TrainingArguments(
            folder,
            **{
                "use_cpu": True,
                "report_to": [],
                "disable_tqdm": True,
                "save_strategy": "no",
                "optim": "sgd",
                "learning_rate": 0.5,
                "lr_scheduler_type": "constant",
                "max_grad_norm": 0.0,
                "max_steps": 3,
                **arguments,
            },
        ),
        data_collator=default_data_collator,
        train_dataset=reviews,
        eval_dataset=reviews,
    )


def test_gradient_accumulation_equals_one_large_batch(tmp_path):
    large = classifier()
    before = copy.deepcopy(large)
    accumulated = copy.deepcopy(large)
    trainer(large, tmp_path, per_device_train_batch_size=8).train()
    trainer(accumulated, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4).train()
    for one, other, old in zip(accumulated.parameters(), large.parameters(), before.parameters(), strict=True):
        close(one, other)
        assert not torch.equal(one, old)


def test_trainer_saves_what_from_pretrained_loads(tmp_path):
    model = classifier(torch.float32, freeze_embeddings=True)
    running = trainer(model, tmp_path / "run", save_strategy="steps", save_steps=3)
    running.train()
    running.save_model(tmp_path / "final")
    for folder in (tmp_path / "final", tmp_path / "run" / "checkpoint-3"):
        loaded = SentimentLSTMForSequenceClassification.from_pretrained(folder)
        equal(aligned(loaded)(IDS).logits, model.eval()(IDS).logits)
        assert not table(loaded).requires_grad


def test_trainer_predicts_logits_only(tmp_path):
    model = classifier(torch.float32, output_hidden_states=True)
    prediction = trainer(model, tmp_path, per_device_eval_batch_size=24).predict(
        [{"input_ids": ids, "labels": label} for ids, label in zip(IDS, LABELS, strict=True)]
    )
    assert prediction.predictions.shape == (6, 2)
    torch.testing.assert_close(torch.from_numpy(prediction.predictions), model(IDS).logits)
    assert prediction.metrics["test_loss"] == pytest.approx(model(IDS, labels=LABELS).loss.item())


# Number formats


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-5), (torch.float32, 1e-6), (torch.float16, 4e-3), (torch.bfloat16, 4e-2)],
    ids=str,
)
def test_number_formats(tmp_path, pooling, bidirectional, dtype, tolerance):
    torch.manual_seed(0)
    exact = classifier(torch.float32, hidden_size=16, pooling=pooling, bidirectional=bidirectional)
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


def test_half():
    model = classifier(torch.float32)
    expected = model(IDS).logits
    torch.testing.assert_close(model.half()(IDS).logits.float(), expected, rtol=0, atol=4e-3)


def test_saved_number_format_is_the_one_loaded(tmp_path):
    model = classifier(torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = SentimentLSTMForSequenceClassification.from_pretrained(tmp_path)
    equal(aligned(loaded)(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_autocast(pooling, bidirectional):
    model = classifier(torch.float32, pooling=pooling, bidirectional=bidirectional)
    expected = model(IDS).logits
    with torch.autocast("cpu", torch.bfloat16):
        output = model(IDS, labels=LABELS)
    torch.testing.assert_close(output.logits.float(), expected, rtol=0, atol=4e-2)
    output.loss.backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


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


# Saving, loading, resizing


@pytest.mark.parametrize("cls", MODELS)
def test_saved_and_loaded_models_agree_bit_for_bit(tmp_path, cls):
    model = cls(small(num_hidden_layers=2, bidirectional=True, pooling="max")).eval()
    model.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "configuration_sentiment_lstm.py",
        "modeling_sentiment_lstm.py",
        "packed_lstm.py",
    }
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == model.state_dict().keys()
    for changes in ({}, {"device_map": "cpu"}, {"device_map": "auto"}):
        loaded, info = cls.from_pretrained(tmp_path, output_loading_info=True, **changes)
        assert not any(info.values())
        for name, value in loaded.state_dict().items():
            equal(value, saved[name])
        torch.testing.assert_close(aligned(loaded)(IDS).to_tuple(), model(IDS).to_tuple(), rtol=0, atol=0)


def test_classifier_checkpoint_loads_into_the_base_model(tmp_path):
    model = classifier(torch.float32)
    model.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert info["unexpected_keys"] == {"classifier.weight", "classifier.bias"}
    equal(aligned(loaded)(IDS).pooler_output, model.sentiment_lstm(IDS).pooler_output)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_base_checkpoint_loads_into_the_classifier(tmp_path, bidirectional):
    model = encoder(torch.float32, hidden_size=16, bidirectional=bidirectional)
    model.save_pretrained(tmp_path)
    loaded, info = SentimentLSTMForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"}
    assert not info["unexpected_keys"]
    equal(aligned(loaded).sentiment_lstm(IDS).pooler_output, model(IDS).pooler_output)
    for parameter in loaded.classifier.parameters():
        assert 0 < parameter.abs().max() <= loaded.classifier.in_features**-0.5
    assert len(loaded.classifier.weight.unique()) == loaded.classifier.in_features


def test_weights_missing_from_a_checkpoint_are_initialised(tmp_path):
    model = classifier(torch.float32, hidden_size=16)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    lost = [name for name in weights if "weight_hh" in name or "word_embeddings" in name]
    assert len(lost) == 2
    save_file(
        {name: x for name, x in weights.items() if name not in lost}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    loaded, info = SentimentLSTMForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == set(lost)
    equal(table(loaded)[0], torch.zeros(4))
    assert 0.5 < table(loaded)[1:].std() < 1.5
    recurrent = loaded.sentiment_lstm.lstm.weight_hh_l0
    assert 0.9 * 16**-0.5 < recurrent.abs().max() <= 16**-0.5
    for name, value in loaded.state_dict().items():
        if name not in lost:
            equal(value, weights[name])


def test_weights_that_torch_keeps_flat_are_the_ones_loaded(tmp_path):
    """`nn.LSTM` hands cuDNN a list of its own; a stale list would show on CUDA only."""
    model = classifier(torch.float32, num_hidden_layers=2, bidirectional=True)
    model.save_pretrained(tmp_path)
    loaded = SentimentLSTMForSequenceClassification.from_pretrained(tmp_path)
    for each in (model, loaded, copy.deepcopy(loaded), copy.deepcopy(loaded).double(), loaded.half()):
        lstm = each.sentiment_lstm.lstm
        assert all(one is other for one, other in zip(lstm._flat_weights, lstm.parameters(), strict=True))


@pytest.mark.parametrize("size", [30, 10, 20])
@pytest.mark.parametrize("cls", MODELS)
def test_resized_table(tmp_path, cls, size):
    model = cls(small()).eval()
    before = table(model).detach().clone()
    logits = model(IDS)[0]
    model.resize_token_embeddings(size)
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == len(table(model)) == size
    equal(table(model)[: min(size, 20)], before[:size])
    equal(model(IDS)[0], logits)
    model(torch.tensor([[size - 1]]))
    with pytest.raises(ValueError, match=rf"token id {size} is outside of the embedding table, which has {size} rows"):
        model(torch.tensor([[size]]))
    model.save_pretrained(tmp_path)
    equal(aligned(cls.from_pretrained(tmp_path))(IDS)[0], logits)


def test_gradient_reaches_every_parameter():
    for pooling in POOLINGS:
        model = classifier(pooling=pooling, num_hidden_layers=2, bidirectional=True, vocab_size=10, hidden_size=16)
        model(IDS, labels=LABELS).loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.abs().max() > 0, name
        assert (table(model).grad[1:].abs().sum(dim=1) > 0).all()


def test_copy_is_independent():
    model = classifier()
    twin = copy.deepcopy(model)
    expected = model(IDS).logits
    equal(twin(IDS).logits, expected)
    table(twin).data.zero_()
    equal(model(IDS).logits, expected)
    assert not torch.equal(twin(IDS).logits, expected)
