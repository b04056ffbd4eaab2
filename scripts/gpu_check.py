"""Figures for `scripts/gpu_check.sh`: what a run reached, and the model's speed against packed cuDNN and the CPU."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.utils.threads import flushing_denormals


def result(run: Path) -> str:
    """What a run's metrics say, in one line."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return (
        f"validation {metrics['validation']['accuracy']:.2%}, test {metrics['test']['accuracy']:.2%}, "
        f"{metrics['train_tokens_per_second']:,} tokens a second, {metrics['processes']} process(es), "
        f"{metrics['device']}, {metrics['training'].get('precision', 'float32')}"
    )


def timed(call: Callable[[], object], device: str, repeats: int = 7) -> float:
    """Median seconds of a call, the first one left out."""
    seconds = []
    for _ in range(repeats + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[repeats // 2]


# As in a training.
@flushing_denormals()
def speed(device: str) -> str:
    """Training step and forward pass of the reference shape on 64 reviews of 16 to 256 tokens."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(16, 257, (64,), generator=generator)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.randint(2, 25_002, mask.shape, generator=generator) * mask
    labels = torch.randint(0, 2, (64,), generator=generator)
    model = SentimentLSTMForSequenceClassification(SentimentLSTMConfig())
    seconds: dict[str, float] = {}
    for place in dict.fromkeys(("cpu", device)):
        nn.Module.to(model, place)
        inputs = {"input_ids": ids.to(place), "attention_mask": mask.to(place)}
        targets = labels.to(place)

        def step(inputs: dict[str, Tensor] = inputs, targets: Tensor = targets) -> None:
            model.zero_grad()
            model(**inputs, labels=targets).loss.backward()

        def forward(inputs: dict[str, Tensor] = inputs) -> None:
            with torch.inference_mode():
                model(**inputs)

        seconds[f"step {place}"], seconds[f"forward {place}"] = timed(step, place), timed(forward, place)
    on_device = ids.to(device), labels.to(device).float()

    def packed() -> None:
        model.zero_grad()
        inner = model.sentiment_lstm
        data = pack_padded_sequence(
            inner.word_embeddings(on_device[0]), lengths, batch_first=True, enforce_sorted=False
        )
        _, (state, _) = nn.LSTM.forward(inner.lstm, data)
        F.binary_cross_entropy_with_logits(model.classifier(state[-1]).squeeze(-1), on_device[1]).backward()

    seconds["packed"] = timed(packed, device, repeats=7 if device == "cuda" else 1)
    ours = seconds[f"step {device}"]
    return (
        f"step {1e3 * ours:.1f} ms, packed nn.LSTM {seconds['packed'] / ours:.2f} times that, the CPU "
        f"{seconds['step cpu'] / ours:.2f} times; forward {1e3 * seconds[f'forward {device}']:.1f} ms, the CPU "
        f"{seconds['forward cpu'] / seconds[f'forward {device}']:.2f} times"
    )


def main() -> None:
    """Parse the command line, print one line."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("result", help="What a finished run reached.").add_argument("run", type=Path)
    commands.add_parser("speed", help="Speed against packed cuDNN and the CPU.").add_argument(
        "--device", choices=["cuda", "cpu"], default="cuda"
    )
    options = parser.parse_args()
    print(result(options.run) if options.command == "result" else speed(options.device))


if __name__ == "__main__":
    main()
