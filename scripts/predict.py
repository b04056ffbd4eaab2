"""Classify a file or data set: `python scripts/predict.py reviews.csv scored.csv`.

Killed? The same command continues where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from hf_lstm_sentiment import Classifier
from hf_lstm_sentiment.scoring import predict_file


def main() -> None:
    """Parse the command line, classify, print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "source", metavar="INPUT", help="A .csv, .tsv, .jsonl, .parquet or .txt file, a directory, or a Hub data set."
    )
    parser.add_argument("output", metavar="OUTPUT", help="A .csv, .tsv, .jsonl or .parquet file to write.")
    parser.add_argument(
        "--model", help="A run directory or a repository of the Hub; the one in the package by default."
    )
    parser.add_argument("--text_column", help="Column of the texts; found by its name.")
    parser.add_argument("--batch_size", type=int, default=64, help="Reviews computed together.")
    parser.add_argument("--split", default="train", help="Split of a directory or a Hub data set.")
    parser.add_argument(
        "--bf16", action="store_true", help="Compute in bfloat16: twice as fast on processors that have it."
    )
    parser.add_argument("--num_threads", type=int, help="CPU threads; all cores by default.")
    arguments = vars(parser.parse_args())

    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    logging.getLogger("hf_lstm_sentiment").setLevel(logging.INFO)

    # Loading takes a moment only; the bar is for the reviews.
    disable_progress_bar()
    # Of a run that is continued, the rate would count reviews that were classified before.
    continued = Path(f"{arguments['output']}.parts").expanduser().exists()
    start = time.perf_counter()
    try:
        threads = arguments.pop("num_threads")
        if threads is not None:
            if threads < 1:
                raise ValueError(f"num_threads is {threads}; allowed: at least 1")
            torch.set_num_threads(threads)
        model, bf16 = arguments.pop("model"), arguments.pop("bf16")
        if bf16:
            model = Classifier.from_pretrained(model, dtype=torch.bfloat16)
        rows = predict_file(**arguments, model=model)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")
    seconds = time.perf_counter() - start
    rate = "since it was continued" if continued else f"{rows / seconds:,.0f} reviews per second"
    print(f"{arguments['output']}: {rows:,} reviews, {seconds:.1f} s, {rate}")


if __name__ == "__main__":
    main()
