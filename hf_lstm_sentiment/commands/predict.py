"""The word `predict`."""

import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any

from .console import Option, add_options, input_lines, new_parser, parsed, say, show_log

_OF_FILES: tuple[str | Option, ...] = (
    *("text_column", "separator", "column_names", "encoding"),
    ("skip_bad_rows", "", False, "Write rows that cannot be read or have no text to OUTPUT.bad_rows.jsonl and go on."),
    ("split", "NAME", None, "Split of a Hub data set; train by default."),
)
# One word with a suffix.
_FILE_NAME = re.compile(r"[\w./\\~:-]+\.[a-z][a-z0-9]{1,4}")


def predict(words: Sequence[str]) -> None:
    """Classify texts, standard input (-, a text a line), or files and data sets of the Hub.

    Answers to texts are a table on a terminal, and a JSON object a line in a pipe. Files (.csv, .tsv, .jsonl, .ndjson,
    .json, .parquet, .txt) keep their columns and get two more, label and score. Many files go into --output_dir, each
    under its own name; processes of torchrun or accelerate launch share them. Killed? The same command continues.
    """
    examples = (
        '% "A moving film." "A waste of two hours." --all_scores',
        "% reviews/*.csv --output_dir scored --model runs/mine",
    )
    usage = "TEXT... | - | INPUT OUTPUT | INPUT... --output_dir DIR"
    parser = new_parser("predict", predict.__doc__, *examples, usage=usage)
    parser.add_argument("paths", metavar="TEXT | INPUT", nargs="+", help="What to classify, and the file to write.")
    add_options(parser.add_argument_group("of files"), *_OF_FILES)
    options = parsed(
        parser,
        words,
        ("output_dir", "DIR", None, "Write each file into this directory, under its own name."),
        "model",
        ("all_scores", "", False, "Give the probability of every label."),
        ("unsure_below", "P", None, "Answer UNSURE where no label is as probable as this."),
        ("unsure_label", "NAME", "UNSURE", "Another name for that answer."),
        ("known", "", False, "Give the share of each text's tokens that are in the vocabulary."),
        ("batch_size", "N", 64, "Reviews computed together."),
        ("backend", "NAME", "torch", "torch, or onnx, which is onnxruntime."),
        ("dtype", "NAME", "float32", "float32, bfloat16 (torch) or int8 (onnx); %(default)s."),
        ("bf16", "", False, "The same as --dtype bfloat16."),
        "num_threads",
    )
    options["known_column"] = options.pop("known")
    if options.pop("bf16"):
        options["dtype"] = "bfloat16"
    from ..data.readers import kind_of

    paths, output_dir = options.pop("paths"), options.pop("output_dir")
    # A file that is not there is no text.
    files = (path for path in paths if os.path.exists(path) or kind_of(Path(path)) or _FILE_NAME.fullmatch(path))
    texts = output_dir is None and (paths == ["-"] or not any(files))
    if texts:
        for option in _OF_FILES:
            if options.pop(name := option if isinstance(option, str) else option[0]):
                parser.error(f"--{name} is for files, and these are texts; leave it out, or name files")
        if "-" in paths and len(paths) > 1:
            parser.error(f"{len(paths)} texts are given, and one is - for standard input; allowed: - alone")
    elif output_dir is None and len(paths) != 2:
        parser.error(
            f"{len(paths)} paths are given; allowed: an INPUT and an OUTPUT, or --output_dir with any number; a text "
            "that is written like the name of a file goes through standard input (-)"
        )
    elif output_dir is not None and options["split"] is not None:
        parser.error("--split is of no use with --output_dir, which takes files; leave it out")
    from ..utils.threads import use_cpu_threads

    use_cpu_threads(options.pop("num_threads"), processes=1)
    if texts:
        _answer(input_lines() if paths == ["-"] else paths, **options)
        return
    show_log()
    try:
        say(_classify(paths, output_dir, **options))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues") from None


def _answer(
    texts: Iterable[str], *, model: str | None, backend: str, dtype: str, known_column: bool, **options: Any
) -> None:
    """Classify texts, and write a line for each as soon as there is an answer."""
    from ..inference.classifier import Classifier
    from ..inference.writers import json_line

    classifier = Classifier.from_pretrained(model, backend=backend, dtype=dtype)
    texts, classified = tee(texts)
    rows = (
        {
            **{"label": found.label, "score": found.score, **({"known": found.known} if known_column else {})},
            **{f"score_{label}": score for label, score in (found.scores or {}).items()},
            "text": text,
        }
        for text, found in zip(texts, classifier.stream(classified, **options), strict=True)
    )
    if sys.stdout.isatty():
        for line in table(rows, max(map(len, (*classifier.labels, options["unsure_label"])))):
            say(line)
        return
    for row in rows:
        sys.stdout.buffer.write(json_line({"text": row.pop("text"), **row}))


def table(rows: Iterable[dict[str, Any]], width: int) -> Iterator[str]:
    """Lay rows of a label, numbers and a text out for a person, with labels in a column of that width."""
    columns = shutil.get_terminal_size().columns
    for number, row in enumerate(rows):
        label, *numbers, text = row.items()
        width = max(width, len(label[0]))
        cells = [(f"{name:>5}", f"{value:>{max(5, len(name))}.3f}") for name, value in numbers]
        if not number:
            yield "  ".join([f"{label[0]:<{width}}", *(name for name, _ in cells), text[0]])
        line = "  ".join([f"{label[1]:<{width}}", *(value for _, value in cells), ""])
        # Nothing of a text may move the cursor, or end the line.
        shown = "".join(letter if letter.isprintable() else " " for letter in text[1])
        room = max(columns - len(line), 20)
        yield line + (shown if len(shown) <= room else f"{shown[: room - 1]}…")


def _classify(paths: list[str], output_dir: str | None, *, split: str | None, **options: Any) -> str:
    """Classify one file or data set, or this process's share of many files; what there is to say of it."""
    from ..inference.files import predict_file, predict_files
    from ..utils.distributed import place

    rank, processes = place()
    start = time.perf_counter()
    if output_dir is not None:
        done = predict_files(paths, output_dir, **options, progress=rank == 0)
        who = f"process {rank + 1} of {processes}, " if processes > 1 else ""
        said = f"{who}{len(done):,} files finished, {sum(done.values()):,} reviews"
        return f"{output_dir}: {said}, {time.perf_counter() - start:.1f} s"
    source, output = paths
    if processes > 1:
        raise ValueError(
            f"several processes cannot write one file; name several inputs and --output_dir, or start one process for "
            f"{output}"
        )
    rows = predict_file(source, output, split=split or "train", **options)
    return f"{output}: {rows:,} reviews, {time.perf_counter() - start:.1f} s"
