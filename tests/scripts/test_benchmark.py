import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification
from tests.demo_model import save_model
from tests.reviews import make_reviews

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("benchmark")
    for name in ("benchmark", "benchmark_memory", "benchmark_peers"):
        sys.modules.pop(name, None)


def test_useful_work_is_what_the_products_of_real_tokens_take(benchmark):
    config = SentimentLSTMConfig(vocab_size=30, embedding_size=10, hidden_size=6)
    model = SentimentLSTMForSequenceClassification(config).double()
    mask = torch.arange(20) < torch.tensor([20, 3, 3, 1])[:, None]
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(1, 30, (4, 20)), mask)
    head = 2 * 4 * 6
    assert counter.get_total_flops() == benchmark.useful_work(config, 27) + head


def test_the_packed_way_that_is_compared_with_gives_the_same_logits(benchmark):
    model = SentimentLSTMForSequenceClassification(SentimentLSTMConfig(vocab_size=30)).eval()
    mask = torch.arange(20) < torch.tensor([3, 20, 1])[:, None]
    ids = torch.randint(1, 30, (3, 20)) * mask
    torch.testing.assert_close(
        benchmark.packed_logits(model, ids, mask), model(ids, mask).logits[:, 1], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("value", "at_most", "reached"), [(2.0, False, True), (0.9, False, False), (0.9, True, True), (1.1, True, False)]
)
def test_a_row_says_whether_its_target_is_reached(benchmark, capsys, value, at_most, reached):
    made = benchmark.row("a rate", value, "1/s", 1, at_most=at_most, seconds=3.0)
    assert made["reached"] is reached
    assert (made["value"], made["target"], made["seconds"]) == (value, 1, 3.0)
    printed = capsys.readouterr().out
    assert ("MISSED" in printed) is not reached
    assert ("at most 1" if at_most else "at least 1") in printed


@pytest.mark.slow
def test_the_peak_of_a_process_is_its_own(benchmark, tmp_path):
    kept = bytearray(b"x") * (64 << 20)
    idle, busy = benchmark.peak_megabytes("pass"), benchmark.peak_megabytes("x = bytearray(b'x') * (32 << 20); del x")
    assert 31 < busy - idle < 34
    assert idle < len(kept) / 2**20
    # The imports take more than this.
    assert benchmark.stream_megabytes(str(save_model(tmp_path / "run")), 1_000) > busy


def test_linear_peers_learn_an_easy_task(benchmark):
    train, test = make_reviews(200, seed=1), make_reviews(60, seed=2)
    peers = sys.modules["benchmark_peers"].linear(
        *map(list, zip(*train, strict=True)), *map(list, zip(*test, strict=True))
    )
    assert len(peers) == 2
    for peer in peers:
        assert peer.accuracy > 0.9
        assert peer.rate > 0
