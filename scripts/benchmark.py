"""Measure the speed of everything that the package promises, side by side, on this machine.

    python scripts/benchmark.py --model runs/v2_glove-seed42 --dataset stanfordnlp/imdb --peers --json benchmark.json

R is the rate of a large float32 product on all cores, measured in the same run. Useful work is 2 x 4 x hidden x
(embedding + hidden) floating-point operations per real token and direction forward, and three times that for a training
step; utilization is useful work / time / R. Padding counts as nothing. Times are medians of repeated runs.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from benchmark_busy import step_seconds
from benchmark_memory import peak_megabytes, stream_megabytes
from benchmark_peers import distilbert_rate, interleaved, linear, ours, timed, times, unsorted, vader
from benchmark_plots import plot_cost_growth, plot_speed_against_accuracy
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from transformers import AutoTokenizer, pipeline

from hf_lstm_sentiment import Classifier, SentimentLSTMConfig, SentimentLSTMForSequenceClassification, load_reviews
from hf_lstm_sentiment.utils.files import user_path
from hf_lstm_sentiment.utils.threads import flushing_denormals, share_out

HERE = Path(__file__).parent
# What `Classifier.from_pretrained` computes in.
BACKENDS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"dtype": "bfloat16"},
    "onnxruntime": {"backend": "onnx"},
    "onnxruntime int8": {"backend": "onnx", "dtype": "int8"},
}
Row = dict[str, Any]


def product_rate() -> float:
    """R, in operations per second: the best of several medians, since a machine at rest starts slowly."""
    a = torch.randn(2048, 2048)
    return max(2 * 2048**3 / timed(lambda: a @ a, repeats=15) for _ in range(5))


def useful_work(config: SentimentLSTMConfig, tokens: int) -> float:
    """Operations of a forward pass over so many real tokens, through one layer."""
    directions = 2 if config.bidirectional else 1
    return 2 * 4 * config.hidden_size * (config.embedding_size + config.hidden_size) * tokens * directions


def row(name: str, value: float, unit: str, target: float | None = None, *, at_most: bool = False, **more: Any) -> Row:
    """A line of the result; printed as it is made."""
    made: Row = {"name": name, "value": value, "unit": unit, **more}
    text = f"{name:<58} {value:>12,.3f} {unit}"
    if target is not None:
        made |= {"target": target, "bound": "at most" if at_most else "at least"}
        made["reached"] = value <= target if at_most else value >= target
        text += f"   ({made['bound']} {target:g}: {'reached' if made['reached'] else 'MISSED'})"
    print(text, flush=True)
    return made


def packed_logits(model: SentimentLSTMForSequenceClassification, ids: Tensor, mask: Tensor) -> Tensor:
    """The same weights through `pack_padded_sequence`, as a tutorial does it. *Shape:* (batch_size,)."""
    inner = model.sentiment_lstm
    packed = pack_padded_sequence(inner.word_embeddings(ids), mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
    _, (state, _) = nn.LSTM.forward(inner.lstm, packed)
    logits: Tensor = model.classifier(state[-1]).squeeze(-1)
    return logits


class Bench:
    """The reviews and the model that every row uses."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model_path = str(user_path(options.model).resolve())
        self.classifier = Classifier.from_pretrained(self.model_path)
        self.model = SentimentLSTMForSequenceClassification.from_pretrained(self.model_path)
        self.config = self.model.config
        if self.config.pooling != "last" or self.config.num_hidden_layers > 1 or self.config.bidirectional:
            raise SystemExit(
                f"error: --model {options.model} is not of the reference shape (one layer, one direction, the last "
                "state), for which the rows are defined; pass it with --also, and a run of v1, v2_glove or "
                "v3_glove_frozen as --model"
            )
        reviews = load_reviews(options.dataset, max_test_samples=1_000 if options.quick else 6_000)
        self.reviews = reviews
        self.texts: list[str] = list(reviews.test["text"])
        random.Random(0).shuffle(self.texts)
        tokenizer = AutoTokenizer.from_pretrained(self.model_path)
        self.lengths = [len(ids) for ids in tokenizer(self.texts, truncation=True)["input_ids"]]
        self.tokens = sum(self.lengths)
        self.repeats = 3 if options.quick else 9

    def batch(self, *, ordered: bool) -> tuple[Tensor, Tensor, Tensor]:
        """64 reviews of the data's lengths, of random words."""
        generator = torch.Generator().manual_seed(0)
        chosen = sorted(self.lengths)[len(self.lengths) // 2 :][:64] if ordered else self.lengths[:64]
        lengths = torch.tensor(chosen)
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        ids = torch.randint(2, self.config.vocab_size, mask.shape, generator=generator) * mask
        return ids, mask, torch.randint(0, 2, (64,), generator=generator)

    def training_step(self, rate: float) -> list[Row]:
        """One step on random reviews against the same through packing, gradients compared."""
        ids, mask, labels = self.batch(ordered=False)
        model = SentimentLSTMForSequenceClassification(self.config).train()

        def dense() -> None:
            model.zero_grad()
            model(ids, mask, labels=labels).loss.backward()

        def packed() -> None:
            model.zero_grad()
            F.binary_cross_entropy_with_logits(packed_logits(model, ids, mask), labels.float()).backward()

        step = timed(dense, repeats=self.repeats)
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        slow = timed(packed, repeats=1 if self.options.quick else 3)
        with torch.no_grad():
            losses = [
                float(model(ids, mask, labels=labels).loss),
                float(F.binary_cross_entropy_with_logits(packed_logits(model, ids, mask), labels.float())),
            ]
        difference = max(
            float((p.grad - g).abs().max())
            for p, g in zip((p for p in model.parameters() if p.grad is not None), gradients, strict=True)
            if p.grad is not None
        )

        def half() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                dense()

        seconds_half = timed(half, repeats=self.repeats)
        share = 3 * useful_work(self.config, int(mask.sum())) / step / rate
        return [
            row("training step, share of R", share, "", 0.7, seconds=step),
            row("training step, packed / ours", slow / step, "times", 20, seconds_packed=slow),
            row("training step, difference of the loss", abs(losses[0] - losses[1]), "", 1e-5, at_most=True),
            row("training step, largest difference of a gradient", difference, "", 1e-5, at_most=True),
            row("training step, float32 / bfloat16", step / seconds_half, "times", seconds_bfloat16=seconds_half),
        ]

    def beside_a_busy_process(self) -> list[Row]:
        """The training step while another process has one of the cores, by how long waiting threads spin."""
        steps, repeats = (3, 1) if self.options.quick else (10, 3)
        taken = step_seconds(self.model_path, steps=steps, repeats=repeats)
        name = "training step beside a busy process, torch's waiting / ours"
        return [row(name, taken["torch"] / taken["command"], "times", seconds=taken)]

    def forward(self, rate: float) -> list[Row]:
        """Batches of 64 that are sorted by length."""
        ordered = sorted(self.lengths)
        batches = [ordered[i : i + 64] for i in range(0, len(ordered), 64)]
        made = []
        for lengths in batches[:: max(len(batches) // 12, 1)]:
            width = torch.tensor(lengths)
            mask = torch.arange(int(width.max())) < width[:, None]
            made.append((torch.randint(2, self.config.vocab_size, mask.shape) * mask, mask))
        tokens = sum(int(mask.sum()) for _, mask in made)

        def run() -> None:
            with torch.inference_mode():
                for ids, mask in made:
                    self.model(ids, mask)

        seconds = timed(run, repeats=self.repeats)
        return [
            row(
                "forward, sorted batches of 64, share of R", useful_work(self.config, tokens) / seconds / rate, "", 0.65
            )
        ]

    def strings(self, rate: float) -> list[Row]:
        """From raw strings to labels and scores: `predict` and the stock pipeline."""
        work = useful_work(self.config, self.tokens)
        classifiers = {name: Classifier.from_pretrained(self.model_path, **how) for name, how in BACKENDS.items()}
        calls = {name: partial(classifier, self.texts) for name, classifier in classifiers.items()}

        def split() -> None:
            with patch("hf_lstm_sentiment.inference.classifier.share_out", partial(share_out, alone=True)):
                self.classifier(self.texts)

        taken = interleaved({**calls, "split": split}, repeats=1 if self.options.quick else 3)
        seconds = taken["float32"]
        stock = pipeline(
            "text-classification", model=self.model, tokenizer=AutoTokenizer.from_pretrained(self.model_path)
        )
        theirs = timed(lambda: stock(self.texts, batch_size=64, truncation=True), repeats=1)
        rows = [
            row("predict(), share of R", work / seconds / rate, "", 0.85, reviews_per_second=len(self.texts) / seconds),
            row("pipeline(batch_size=64), random order, share of R", work / theirs / rate, "", 0.55),
            row("predict(), reviews per second", len(self.texts) / seconds, "1/s"),
            row("predict(), threads that split a product / workers", taken["split"] / seconds, "times"),
        ]
        labels = {name: [prediction.label for prediction in call()] for name, call in calls.items()}
        for name in list(calls)[1:]:
            changed = sum(a != b for a, b in zip(labels[name], labels["float32"], strict=True))
            more: Row = {"reviews_per_second": len(self.texts) / taken[name], "labels_changed": changed}
            rows.append(row(f"predict(), float32 / {name}", seconds / taken[name], "times", **more))
        return rows

    def one_review(self, repeats: int = 1_000) -> list[Row]:
        """Latency of a short review alone, warm."""
        text = "A warm, funny film with a wonderful cast, and I loved every minute of it."
        tokens = len(text.split())
        lstm = nn.LSTM(self.config.embedding_size, self.config.hidden_size)
        vectors = torch.randn(tokens, 1, self.config.embedding_size)
        with torch.inference_mode():
            bare = timed(lambda: lstm(vectors), repeats=300)
        allowed = round(3 + 2 * bare * 1e3, 2)
        rows = []
        for name, how in BACKENDS.items():
            classifier = Classifier.from_pretrained(self.model_path, **how)
            seconds = times(partial(classifier, [text]), repeats=repeats)
            p50, p99 = (float(1e3 * np.percentile(seconds, share)) for share in (50, 99))
            more: Row = {"target": allowed, "at_most": True, "bare_lstm_ms": bare * 1e3} if name == "float32" else {}
            rows.append(row(f"one short review, {name}, p50", p50, "ms", **more))
            rows.append(row(f"one short review, {name}, p99", p99, "ms"))
        return rows

    def cold_start(self) -> list[Row]:
        """Process start to first answer, against a process that only imports."""
        answer = f"from hf_lstm_sentiment import predict; predict(['good'], model={self.model_path!r})"
        programs = {"imports": "import torch; from transformers import AutoModel", "answer": answer}
        seconds = {}
        for name, program in programs.items():
            command = [sys.executable, "-c", program]
            seconds[name] = timed(
                partial(subprocess.run, command, check=True, capture_output=True),
                repeats=2 if self.options.quick else 5,
            )
        ratio = seconds["answer"] / seconds["imports"]
        return [row("cold start / bare imports", ratio, "times", 1.5, at_most=True, seconds=seconds)]

    def memory(self) -> list[Row]:
        """Peak memory over more and more short reviews: of `predict_file`, and of a stream."""
        counts = (20_000, 100_000) if self.options.quick else (100_000, 1_000_000)
        peaks = {}
        with tempfile.TemporaryDirectory() as directory:
            for count in counts:
                source = Path(directory) / f"{count}.txt"
                generator = random.Random(count)
                words = [word for text in self.texts[:200] for word in text.split()]
                with source.open("w", encoding="utf-8") as file:
                    for _ in range(count):
                        file.write(" ".join(generator.choices(words, k=8)) + "\n")
                peaks[count] = peak_megabytes(
                    "from hf_lstm_sentiment import predict_file\n"
                    f"predict_file({str(source)!r}, {str(source.with_suffix('.csv'))!r}, model={self.model_path!r}, "
                    "progress=False)"
                )
        streamed = {2 * count: stream_megabytes(self.model_path, 2 * count) for count in counts}
        rows = []
        for name, series in (("", peaks), (" of a stream", streamed)):
            (few, first), (many, last) = series.items()
            name = f"peak memory, {many:,} / {few:,} short reviews{name}"
            rows.append(row(name, last / first, "times", 1.05, at_most=True, megabytes=series))
        return rows

    def epoch(self, rate: float) -> list[Row]:
        """A whole epoch of the reference model through `scripts/train.py`."""
        with tempfile.TemporaryDirectory() as directory:
            command = [
                *(sys.executable, "-m", "accelerate.commands.launch", str(HERE / "train.py"), "--preset", "v1"),
                *("--dataset", self.options.dataset, "--num_train_epochs", "1", "--max_test_samples", "64"),
                *("--output_dir", f"{directory}/run", "--disable_tqdm", "true"),
                *(("--max_train_samples", "2000", "--max_validation_samples", "500") if self.options.quick else ()),
            ]
            subprocess.run(command, check=True, capture_output=True)
            metrics = json.loads(Path(directory, "run", "metrics.json").read_text(encoding="utf-8"))
        config = SentimentLSTMConfig()
        tokens = metrics["train_seconds"] * metrics["train_tokens_per_second"]
        # Validation reviews are as long as training reviews on average.
        evaluated = tokens * metrics["dataset"]["validation"] / metrics["dataset"]["train"]
        work = 3 * useful_work(config, round(tokens)) + useful_work(config, round(evaluated))
        return [
            row(
                "an epoch through scripts/train.py, share of R",
                work / metrics["fit_seconds"] / rate,
                "",
                0.65,
                seconds=metrics["fit_seconds"],
            )
        ]

    def peers(self) -> list[Row]:
        """What a user might pick instead: accuracy and reviews per second on the same test reviews."""
        test, truth = list(self.reviews.test["text"]), list(self.reviews.test["label"])
        found = []
        for path in (self.model_path, *self.options.also):
            for name, how in BACKENDS.items():
                model = Classifier.from_pretrained(path, **how)
                found.append(ours(f"{user_path(path).resolve().name}, predict(), {name}", model, test, truth))
        tokenizer = AutoTokenizer.from_pretrained(self.model_path)
        packed = partial(packed_logits, self.model)
        found.append(unsorted(f"{Path(self.model_path).name}, packed, unsorted", packed, tokenizer, test, truth))
        found += linear(self.reviews.train["text"][:], self.reviews.train["label"][:], test, truth)
        found += vader(test, truth)
        rows = []
        for peer in found:
            rows.append(row(peer.name, peer.rate, "reviews/s", accuracy=peer.accuracy))
            print(f"{'':<58} {peer.accuracy:>12.2%} test accuracy", flush=True)
        some = self.texts[: 32 if self.options.quick else 128]
        slow = distilbert_rate(self.texts, some, self.classifier.max_length, repeats=1 if self.options.quick else 3)
        fast = len(some) / timed(lambda: self.classifier(some), repeats=self.repeats)
        rows.append(row("DistilBERT-base pipeline (random weights)", slow, "reviews/s"))
        rows.append(row("predict() / DistilBERT pipeline, same strings", fast / slow, "times", 60))
        return rows


def cost_growth(bench: Bench, picture: Path) -> list[Row]:
    """Time and memory against the length of a review and the number of reviews, drawn, with the slopes."""
    model, vocabulary = bench.model, bench.config.vocab_size
    lengths = [16, 32, 64, 128, 256] if bench.options.quick else [16, 32, 64, 128, 256, 512, 1024, 2048]
    counts = [64, 256, 1_000] if bench.options.quick else [64, 256, 1_000, 4_000, 16_000]

    def of_length(length: int) -> float:
        ids = torch.randint(2, vocabulary, (64, length))
        with torch.inference_mode():
            return timed(lambda: model(ids), repeats=3)

    by_length = {length: of_length(length) for length in lengths}
    by_count = {count: timed(partial(bench.classifier, (bench.texts * 3)[:count]), repeats=1) for count in counts}
    slopes = {}
    # What a process takes for reviews beyond what it takes for none: libraries and model.
    start = f"from hf_lstm_sentiment import Classifier\nclassify = Classifier.from_pretrained({bench.model_path!r})\n"
    program = start + "classify.max_length = {length}\nclassify(['good ' * {length}] * {count})"
    idle = peak_megabytes(program.format(length=1, count=1))
    wide = {n: max(peak_megabytes(program.format(length=n, count=64)) - idle, 0.1) for n in lengths}
    many = {n: max(peak_megabytes(program.format(length=128, count=n)) - idle, 0.1) for n in counts}
    for name, series in (("length", by_length), ("reviews", by_count)):
        xs, ys = zip(*((math.log(x), math.log(y)) for x, y in series.items()), strict=True)
        mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
        slopes[name] = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum((x - mx) ** 2 for x in xs)
    plot_cost_growth(by_length, by_count, picture, slopes=(slopes["length"], slopes["reviews"]), megabytes=(wide, many))
    return [
        row("time against review length, slope of log-log", slopes["length"], "", seconds=by_length),
        row("time against number of reviews, slope of log-log", slopes["reviews"], "", seconds=by_count),
        row("memory of a process that has classified one word", idle, "MiB"),
        row(f"64 reviews of {lengths[-1]:,} words, memory on top", wide[lengths[-1]], "MiB", megabytes=wide),
        row(f"{counts[-1]:,} reviews of 128 words, memory on top", many[counts[-1]], "MiB", megabytes=many),
    ]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    packages = ("hf_lstm_sentiment", "torch", "transformers", "tokenizers")
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


# As a training does, before torch starts its threads.
@flushing_denormals()
def main() -> None:
    """Run every row and write the result."""
    logging.disable(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="A run directory of the reference shape (v0 to v3).")
    parser.add_argument("--dataset", default="stanfordnlp/imdb", help="Reviews, as for scripts/train.py.")
    parser.add_argument("--peers", action="store_true", help="Measure what a user might pick instead, too.")
    parser.add_argument(
        "--also", action="append", default=[], metavar="MODEL", help="Another run for the peers' table; repeatable."
    )
    parser.add_argument("--quick", action="store_true", help="Fewer repeats and reviews; minutes, and rougher.")
    parser.add_argument("--json", type=Path, help="Write the result here, plots beside it.")
    options = parser.parse_args()

    start = time.perf_counter()
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: no directory {options.json.parent}; make it")
    bench = Bench(options)
    rate = product_rate()
    about = {
        **machine(),
        "model": Path(bench.model_path).name,
        "dataset": bench.reviews.source,
        "test_reviews": len(bench.texts),
        "quick": options.quick,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    rows = [row("R, a 2048 x 2048 float32 product", rate / 1e9, "GFLOP/s")]
    rows += bench.training_step(rate) + bench.beside_a_busy_process() + bench.forward(rate) + bench.strings(rate)
    rows += bench.one_review() + bench.cold_start() + bench.memory() + bench.epoch(rate)
    rows.append(row("R, again at the end", product_rate() / 1e9, "GFLOP/s"))
    if options.peers:
        rows += bench.peers()
    if options.json is not None:
        target = options.json
        pictures = {"cost_growth": target.with_name(f"{target.stem}_cost_growth.png")}
        points = {r["name"]: (r["value"], r["accuracy"]) for r in rows if "accuracy" in r}
        if points:
            pictures["speed_accuracy"] = target.with_name(f"{target.stem}_speed_accuracy.png")
            plot_speed_against_accuracy(
                points,
                pictures["speed_accuracy"],
                title=f"{bench.reviews.source}, {len(bench.texts):,} test reviews, CPU threads: {about['threads']}",
            )
        rows += cost_growth(bench, pictures["cost_growth"])
        about["seconds"] = round(time.perf_counter() - start)
        # Beside the result, so that names lead to them wherever the folder goes.
        result = {"about": about, "pictures": {key: path.name for key, path in pictures.items()}, "rows": rows}
        target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"{target}; pictures: {', '.join(str(path) for path in pictures.values())}")


if __name__ == "__main__":
    main()
