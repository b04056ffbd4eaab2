"""Classify a file or data set: `python scripts/predict.py reviews.csv scored.csv`.

Many files, each into one of the same name: `python scripts/predict.py reviews/*.csv --output_dir scored`; under
`torchrun --nproc_per_node N` or `accelerate launch --config_file scripts/two_cpu_processes.yaml` the processes share
them. Killed? The same command continues where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from hf_lstm_sentiment.inference.files import parts_of, predict_file
from hf_lstm_sentiment.inference.shards import predict_files
from hf_lstm_sentiment.utils.distributed import place
from hf_lstm_sentiment.utils.files import user_path


def score_one(source: str, output: str, *, split: str | None, **options: Any) -> str:
    """Classify one file or data set; what there is to say of it."""
    if place()[1] > 1:
        raise ValueError(
            f"several processes cannot write one file; name several inputs and --output_dir, or start one process for "
            f"{output}"
        )
    # Of a run that is continued, the rate would count reviews that were classified before.
    continued = parts_of(user_path(output, "the output")).exists()
    start = time.perf_counter()
    rows = predict_file(source, output, split=split or "train", **options)
    seconds = time.perf_counter() - start
    rate = "since it was continued" if continued else f"{rows / seconds:,.0f} reviews per second"
    return f"{output}: {rows:,} reviews, {seconds:.1f} s, {rate}"


def score_many(sources: list[str], output_dir: str, *, split: None, **options: Any) -> str:
    """Classify this process's share of the files; what there is to say of it."""
    rank, processes = place()
    start = time.perf_counter()
    rows = predict_files(sources, output_dir, **options, progress=rank == 0)
    seconds = time.perf_counter() - start
    who = f"process {rank + 1} of {processes}, " if processes > 1 else ""
    return f"{output_dir}: {who}{len(rows):,} files finished, {sum(rows.values()):,} reviews, {seconds:.1f} s"


def main() -> None:
    """Parse the command line, classify, print how long it took."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s INPUT OUTPUT [options]\n       %(prog)s INPUT... --output_dir DIR [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="A .csv, .tsv, .jsonl, .ndjson, .json, .parquet or .txt file or a Hub data set, and a .csv, .tsv, .jsonl "
        "or .parquet file to write; or, with --output_dir, files to read and patterns of them.",
    )
    parser.add_argument("--output_dir", help="Write each file into this directory, under its own name.")
    parser.add_argument(
        "--model", help="A run directory or a repository of the Hub; the one in the package by default."
    )
    parser.add_argument("--text_column", help="Column of the texts; found by its name.")
    parser.add_argument("--separator", help="Between the fields of csv and tsv files, such as ';'; found by default.")
    parser.add_argument(
        "--column_names", help="Columns of csv and tsv files without a header, with commas between them."
    )
    parser.add_argument("--encoding", help="Encoding of text files, such as cp1252; UTF-8 or UTF-16 is found.")
    parser.add_argument(
        "--skip_bad_rows",
        action="store_true",
        help="Write rows that cannot be read or have no text to OUTPUT.bad_rows.jsonl and go on.",
    )
    parser.add_argument(
        "--known",
        action="store_true",
        dest="known_column",
        help="Add the column known: the share of each text's tokens that are in the vocabulary.",
    )
    parser.add_argument("--batch_size", type=int, default=64, help="Reviews computed together.")
    parser.add_argument("--split", help="Split of a Hub data set; train by default.")
    parser.add_argument("--backend", default="torch", help="torch, or onnx, which is onnxruntime; %(default)s.")
    parser.add_argument(
        "--dtype",
        default="float32",
        help="float32, bfloat16 (torch; twice as fast on processors that have it) or int8 (onnx); %(default)s.",
    )
    parser.add_argument(
        "--bf16", action="store_const", const="bfloat16", dest="dtype", help="The same as --dtype bfloat16."
    )
    parser.add_argument("--num_threads", type=int, help="CPU threads; all cores by default.")
    arguments = vars(parser.parse_args())
    paths, output_dir = arguments.pop("paths"), arguments.pop("output_dir")
    if output_dir is None and len(paths) != 2:
        parser.error(f"{len(paths)} paths are given; allowed: an INPUT and an OUTPUT, or --output_dir with any number")
    if output_dir is not None and arguments["split"] is not None:
        parser.error("--split is of no use with --output_dir, which takes files; leave it out")

    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    logging.getLogger("hf_lstm_sentiment").setLevel(logging.INFO)

    # Loading takes a moment only; the bar is for the reviews.
    disable_progress_bar()
    try:
        threads = arguments.pop("num_threads")
        if threads is not None:
            if threads < 1:
                raise ValueError(f"num_threads is {threads}; allowed: at least 1")
            torch.set_num_threads(threads)
        said = score_one(*paths, **arguments) if output_dir is None else score_many(paths, output_dir, **arguments)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")
    print(said)


if __name__ == "__main__":
    main()
