"""Peak memory of classifying a stream, and of training, for several numbers of reviews.

    python scripts/benchmark_memory.py --model runs/v2_glove-seed42
    python scripts/benchmark_memory.py --training --reviews 80000 320000

Each number of reviews gets a process of its own. A stream of short reviews is made up as it is asked for and must not
need more memory for more of them. For training, a csv file of reviews of 200 words out of 30,000 is made up, and all
that `scripts/train.py` does to it is done, with 20 steps in place of epochs and 1,000 reviews to validate and test on;
what counts is the process's own memory, without the pages of files that the system may drop at any time.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hf_lstm_sentiment import pretrained

_STREAM = """
import random
from hf_lstm_sentiment import Classifier

words = "a the film plot cast end is was and but so very great funny moving dull awful boring never again".split()
draw = random.Random(0)
reviews = (" ".join(draw.choices(words, k=draw.randint(2, 6))) for _ in range({count}))
assert sum(1 for _ in Classifier.from_pretrained({model!r}).stream(reviews)) == {count}
"""

_TRAINING = """
import threading, time
from datasets.utils import disable_progress_bars
from transformers.utils.logging import disable_progress_bar
from hf_lstm_sentiment import train

peak = 0.0

def watch():
    global peak
    while True:
        status = open("/proc/self/status").read().split()
        peak = max(peak, int(status[status.index("RssAnon:") + 1]) / 1024)
        time.sleep(0.02)

threading.Thread(target=watch, daemon=True).start()
disable_progress_bars()
disable_progress_bar()
samples = dict(max_validation_samples=1_000, max_test_samples=1_000)
train("v1", dataset={path!r}, output_dir={run!r}, max_steps=20, disable_tqdm=True, **samples)
print(peak)
"""


def peak_megabytes(program: str) -> float:
    """Peak resident memory of a Python program in a process of its own, in MiB."""
    # Not `getrusage`, whose peak a process takes over from the one that started it.
    tail = "\nprint(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    done = subprocess.run([sys.executable, "-c", program + tail], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) / 1024


def stream_megabytes(model: str, count: int) -> float:
    """Peak memory of a process that classifies a stream of so many reviews of two to six words, in MiB."""
    return peak_megabytes(_STREAM.format(model=model, count=count))


def training_megabytes(count: int) -> float:
    """Peak memory of its own of a process that trains for 20 steps on a file of so many reviews, in MiB."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "reviews.csv"
        _write_reviews(path, count)
        program = _TRAINING.format(path=str(path), run=str(Path(name) / "run"))
        # A cache of its own: what was tokenized before would not be tokenized again.
        environment = {**os.environ, "HF_DATASETS_CACHE": str(Path(name) / "cache")}
        done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, env=environment)
    return float(done.stdout.split()[-1])


def _write_reviews(path: Path, count: int) -> None:
    """Reviews of 200 words, of which the nth in order of frequency is n times as rare as the first."""
    random = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(30_000)])
    shares = 1 / np.arange(1, len(words) + 1)
    limits = np.cumsum(shares / shares.sum())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(count):
            places = np.searchsorted(limits[:-1], random.random(200))
            writer.writerow([" ".join(words[places]), number % 2])


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=pretrained(), help="A run directory; the one in the package by default.")
    parser.add_argument("--reviews", type=int, nargs="+", metavar="N", help="How many; 200,000 and 2,000,000.")
    parser.add_argument("--training", action="store_true", help="Train (80,000 and 320,000) instead of classifying.")
    options = parser.parse_args()
    counts = options.reviews or ([80_000, 320_000] if options.training else [200_000, 2_000_000])
    first = None
    for count in counts:
        start = time.perf_counter()
        peak = training_megabytes(count) if options.training else stream_megabytes(options.model, count)
        first = first or peak
        seconds = time.perf_counter() - start
        print(f"{count:>12,} reviews  {peak:>8.1f} MiB  {peak / first:.3f} times  {seconds:,.0f} s", flush=True)


if __name__ == "__main__":
    main()
