"""Peak memory of classifying a stream: two million short reviews take no more of it than two hundred thousand.

    python scripts/benchmark_memory.py --model runs/v2_glove-seed42

Each number of reviews is classified in a process of its own, which makes them up as they are asked for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from hf_lstm_sentiment import pretrained

_STREAM = """
import random
from hf_lstm_sentiment import Classifier

words = "a the film plot cast end is was and but so very great funny moving dull awful boring never again".split()
draw = random.Random(0)
reviews = (" ".join(draw.choices(words, k=draw.randint(2, 6))) for _ in range({count}))
assert sum(1 for _ in Classifier.from_pretrained({model!r}).stream(reviews)) == {count}
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


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=pretrained(), help="A run directory; the one in the package by default.")
    parser.add_argument("--reviews", type=int, nargs="+", default=[200_000, 2_000_000], metavar="N", help="How many.")
    options = parser.parse_args()
    first = None
    for count in options.reviews:
        start = time.perf_counter()
        peak = stream_megabytes(options.model, count)
        first = first or peak
        seconds = time.perf_counter() - start
        print(f"{count:>12,} reviews  {peak:>8.1f} MiB  {peak / first:.3f} times  {seconds:,.0f} s", flush=True)


if __name__ == "__main__":
    main()
