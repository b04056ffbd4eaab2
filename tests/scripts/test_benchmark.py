from argparse import Namespace

import benchmark
import pytest
import torch
from benchmark_plots import plot_cost_growth, plot_speed_against_accuracy
from torch.utils.flop_counter import FlopCounterMode

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.utils.files import read_json, write_json
from tests.demo_model import save_model
from tests.reviews import make_reviews, write_csv


def test_useful_work_is_what_the_products_of_real_tokens_take():
    config = SentimentLSTMConfig(vocab_size=30, embedding_size=10, hidden_size=6)
    model = SentimentLSTMForSequenceClassification(config).double()
    mask = torch.arange(20) < torch.tensor([20, 3, 3, 1])[:, None]
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(1, 30, (4, 20)), mask)
    head = 2 * 4 * 6
    assert counter.get_total_flops() == benchmark.useful_work(config, 27) + head


def test_the_packed_way_that_is_compared_with_gives_the_same_logits():
    model = SentimentLSTMForSequenceClassification(SentimentLSTMConfig(vocab_size=30)).eval()
    mask = torch.arange(20) < torch.tensor([3, 20, 1])[:, None]
    ids = torch.randint(1, 30, (3, 20)) * mask
    torch.testing.assert_close(
        benchmark.packed_logits(model, ids, mask), model(ids, mask).logits[:, 1], rtol=0, atol=1e-6
    )


def test_every_backend_has_its_rows(tmp_path, one_thread):
    path = write_csv(tmp_path / "reviews.csv", make_reviews(120))
    model = save_model(tmp_path / "run")
    write_json({**read_json(model / "config.json"), "pooling": "last"}, model / "config.json")
    options = Namespace(model=model, dataset=str(path), quick=True, also=[])
    bench = benchmark.Bench(options)
    rows = {row["name"]: row for row in bench.strings(1e9) + bench.one_review(repeats=3)}
    for name in benchmark.BACKENDS:
        assert 0 < rows[f"one short review, {name}, p50"]["value"] <= rows[f"one short review, {name}, p99"]["value"]
    assert "target" in rows["one short review, float32, p50"]
    assert rows["predict(), float32 / onnxruntime"]["labels_changed"] == 0
    assert rows["predict(), threads that split a product / workers"]["value"] > 0


@pytest.mark.slow
def test_the_peak_of_a_process_is_its_own(tmp_path):
    kept = bytearray(b"x") * (64 << 20)
    idle, busy = benchmark.peak_megabytes("pass"), benchmark.peak_megabytes("x = bytearray(b'x') * (32 << 20); del x")
    assert 31 < busy - idle < 34
    assert idle < len(kept) / 2**20
    # The imports take more than this.
    assert benchmark.stream_megabytes(str(save_model(tmp_path / "run")), 1_000) > busy


def test_cost_growth_and_speed_are_drawn(tmp_path):
    shared = {"seconds_by_count": {64: 0.1, 256: 0.4}, "megabytes": ({16: 1.0, 64: 4.0}, {64: 1.0, 256: 1.0})}
    growth = plot_cost_growth({16: 0.01, 64: 0.04}, path=tmp_path / "growth.png", slopes=(1.0, 1.0), **shared)
    other = plot_cost_growth({16: 0.01, 64: 0.2}, path=tmp_path / "other.png", slopes=(2.2, 1.0), **shared)
    speed = plot_speed_against_accuracy({"a": (10.0, 0.9), "b": (1e3, 0.8)}, tmp_path / "s.png", title="peers")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (growth, other, speed))
    assert growth.read_bytes() != other.read_bytes()
