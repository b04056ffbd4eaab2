"""Score a whole file or data set in flat memory; a run that was killed continues where it stopped.

While it runs, finished parts lie in `OUTPUT.parts/` beside a manifest that says what is being done. Part n holds the
rows from n x rows_per_part on, and the windows in which reviews are sorted by length start anew with each part, so
that batches, and with them scores, are the same whether or not a run was stopped. When all rows are done, the parts
are joined, the result takes its place in one step and the directory goes. A lock beside the output, `.OUTPUT.lock`,
keeps a second run away meanwhile.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from .. import __version__
from ..data.readers import RowSource
from ..data.table_rows import open_dataset, open_parquet
from ..data.text_rows import open_text
from ..utils.files import HUB_ID, only_writer, read_json, replacing, user_path, write_json
from ..utils.imports import require
from .classifier import WINDOW, Classifier
from .row_writers import OutputLayout, join_parts

logger = logging.getLogger(__name__)

INPUTS = (".csv", ".tsv", ".jsonl", ".parquet", ".txt")
OUTPUTS = (".csv", ".tsv", ".jsonl", ".parquet")
_MANIFEST = "manifest.json"


def predict_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Classifier | None = None,
    text_column: str | None = None,
    batch_size: int = 64,
    split: str = "train",
    rows_per_part: int = 50_000,
    progress: bool = True,
) -> int:
    """Classify every row of a file or data set and write the rows with a label and a score.

    All columns are kept, in order, and two are added: `label` and `score`, or `predicted_label` and `predicted_score`
    where the source has a column of either name. Scores have all their digits. A file is read twice: once to find
    every defect before the model is loaded, once to classify. Memory holds a window of rows, not the file.

    A run that was killed is continued by the same call; the result is, byte for byte, that of a run which was not, on
    the same machine with the same number of threads.

    Args:
        source: A .csv or .tsv file with a header, a .jsonl file (one object per line), a .parquet file, a .txt file
            (one review per line, an empty line is an empty review), a directory, or a data set of the Hub. Text is
            UTF-8, with or without a byte order mark; an empty csv field is an empty review.
        output: A .csv, .tsv, .jsonl or .parquet file to write, in a directory that is there.
        model: A run directory, a repository of the Hub, or a `Classifier`, which is loaded already; the model that
            comes with the package where None.
        text_column: Column of the texts; found by its name where None.
        batch_size: Reviews that are computed together.
        split: Split of a directory or a data set of the Hub; of no meaning for a file.
        rows_per_part: Rows after which what is done is safe from a kill.
        progress: Show a bar where standard error is a terminal.

    Returns:
        Rows in the output.

    Raises:
        BlockingIOError: Another run is writing this output.
        FileExistsError: The output is there already, or `OUTPUT.parts` is something else.
        FileNotFoundError: The source, the model or the output's directory is not there.
        ModuleNotFoundError: Parquet files, directories and the Hub need the extra `train`.
        ValueError: A kind of file that is not read or written, a row without a text (the message names it), a file
            that is not what its name says, a number below 1; or the parts that are there are of another run.
        OSError: The Hub cannot be reached, or holds no such model or data set.
    """
    name, target = os.fspath(source), user_path(output, "the output")
    for option, value in (("batch_size", batch_size), ("rows_per_part", rows_per_part)):
        if value < 1:
            raise ValueError(f"{option} is {value}; allowed: a whole number of at least 1")
    parts = parts_of(target)
    suffix = target.suffix.lower()
    joined = parts / f"joined{suffix}"
    _check_output(name, target)
    with only_writer(target):
        # The joined file waits in its place until the manifest knows its rows; then it moves in one step.
        moved = "rows" in _manifest(parts) and not joined.exists()
        if not moved:
            _refuse_to_overwrite(target)
        table = _open(name, text_column=text_column, split=split, for_parquet=suffix == ".parquet")
        layout = OutputLayout.of(table, suffix)
        classifier = model if isinstance(model, Classifier) else Classifier.from_pretrained(model)
        manifest = {
            **table.identity,
            "text_column": table.text_column,
            "model": classifier.fingerprint(),
            "output": suffix,
            "rows_per_part": rows_per_part,
            "batch_size": batch_size,
            "hf_lstm_sentiment": __version__,
        }
        before = _prepare(parts, manifest)
        if target.exists():
            # All that was left to do is what the kill kept from being done.
            rows = int(before["rows"])
        else:
            write_json(manifest, parts / _MANIFEST)
            rows, count = _classify(table, layout, classifier, parts, rows_per_part, batch_size, progress=progress)
            join_parts([_part(parts, number, suffix) for number in range(count)], joined)
            write_json({**manifest, "rows": rows}, parts / _MANIFEST)
            _refuse_to_overwrite(target)
            os.replace(joined, target)
        # The manifest goes last, so that a kill in between leaves what the next call understands.
        for path in parts.glob("part-*"):
            path.unlink()
        shutil.rmtree(parts)
    return rows


def check_file(
    source: str | os.PathLike[str], output: str | os.PathLike[str], *, text_column: str | None = None
) -> None:
    """Read a file to its end and say what `predict_file` would find wrong with it or its output.

    Args:
        source: The file to read.
        output: The file to write.
        text_column: Column of the texts; found by its name where None.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: As :func:`predict_file`.
    """
    name, target = os.fspath(source), user_path(output, "the output")
    suffix = target.suffix.lower()
    _check_output(name, target)
    OutputLayout.of(_open(name, text_column=text_column, split="train", for_parquet=suffix == ".parquet"), suffix)


def parts_of(output: Path) -> Path:
    """Where finished parts lie while a file is written.

    Args:
        output: The file.
    """
    return output.with_name(f"{output.name}.parts")


def _check_output(source: str, output: Path) -> None:
    if output.suffix.lower() not in OUTPUTS:
        raise ValueError(f"{output}: files of kind {output.suffix!r} are not written; allowed: {', '.join(OUTPUTS)}")
    read = user_path(source, "what is read")
    if output.exists() and read.exists() and output.samefile(read):
        raise ValueError(f"{output} is both what is read and what is to be written; name another output")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output.parent}: no such directory; make it, or name another output than {output}")


def _refuse_to_overwrite(output: Path) -> None:
    if output.exists():
        raise FileExistsError(f"{output} is there already; move it away, or name another output")


def _manifest(parts: Path) -> dict[str, Any]:
    path = parts / _MANIFEST
    return read_json(path) if path.is_file() else {}


def _prepare(parts: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Make the directory of parts, or find what an earlier call left in it: its manifest, else an empty one."""
    before = _manifest(parts)
    if before:
        changed = [key for key in sorted({*before, *manifest} - {"rows"}) if before.get(key) != manifest.get(key)]
        if changed:
            listed = "; ".join(f"{key} was {before.get(key)!r} and is {manifest.get(key)!r}" for key in changed)
            raise ValueError(
                f"{parts} holds parts of another run and cannot be continued: {listed}. Run it as it was started, "
                "delete that directory to start anew, or name another output"
            )
    elif parts.exists() and (
        not parts.is_dir() or any(not p.name.startswith(f".{_MANIFEST}") for p in parts.iterdir())
    ):
        raise FileExistsError(
            f"{parts} is in the way and holds no parts of a run; move it away, or name another output"
        )
    else:
        parts.mkdir(exist_ok=True)
    return before


def _part(parts: Path, number: int, suffix: str) -> Path:
    return parts / f"part-{number:05}{suffix}"


def _classify(
    table: RowSource,
    layout: OutputLayout,
    classifier: Classifier,
    parts: Path,
    rows_per_part: int,
    batch_size: int,
    *,
    progress: bool,
) -> tuple[int, int]:
    """Write the parts that are not there; the number of rows and of parts."""
    take = table.start()
    rows = number = 0
    while _part(parts, number, layout.suffix).is_file():
        left = rows_per_part
        while skipped := len(take(min(WINDOW, left))):
            rows, left = rows + skipped, left - skipped
        number += 1
    if number:
        logger.info(f"{parts.name}: {rows:,} rows are done already and skipped")
    with tqdm(total=table.total, initial=rows, unit=" reviews", disable=None if progress else True) as bar:
        window = take(min(WINDOW, rows_per_part))
        # Without a row there is one part, which holds the header.
        while len(window) or not number:
            left = rows_per_part
            with replacing(_part(parts, number, layout.suffix)) as file, layout.writer(file, number) as write:
                while len(window):
                    write(window, classifier(table.texts(window), batch_size=batch_size))
                    rows, left = rows + len(window), left - len(window)
                    bar.update(len(window))
                    window = take(min(WINDOW, left))
            number += 1
            window = take(min(WINDOW, rows_per_part))
    return rows, number


def _open(source: str, *, text_column: str | None, split: str, for_parquet: bool) -> RowSource:
    path = user_path(source, "what is read")
    suffix = path.suffix.lower()
    if for_parquet or (path.is_file() and suffix == ".parquet"):
        require("pyarrow", extra="train")
    if path.is_file():
        if suffix not in INPUTS:
            raise ValueError(f"{source}: files of kind {path.suffix!r} are not read; allowed: {', '.join(INPUTS)}")
        found = path.stat()
        identity = {"source": str(path.resolve()), "size": found.st_size, "mtime_ns": found.st_mtime_ns}
        if suffix == ".parquet":
            return open_parquet(source, path, identity, text_column, read_ahead=WINDOW)
        return open_text(source, path, identity, text_column, for_parquet=for_parquet, read_ahead=WINDOW)
    if not path.is_dir() and (suffix in INPUTS or not HUB_ID.fullmatch(source)):
        raise FileNotFoundError(
            f"{source}: no such file or directory; allowed: a file ({', '.join(INPUTS)}), a directory, or a data set "
            "of the Hub such as stanfordnlp/imdb"
        )
    return open_dataset(source, split, text_column, for_parquet=for_parquet, read_ahead=WINDOW)
