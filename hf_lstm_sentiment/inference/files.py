"""Score a whole file or data set in flat memory; a run that was killed continues where it stopped.

While it runs, finished parts lie in `OUTPUT.parts/` beside a manifest that says what is being done. Part n holds the
rows from n x rows_per_part on, and the windows in which reviews are sorted by length start anew with each part, so
that batches, and with them scores, are the same whether or not a run was stopped. When all rows are done, the parts
are joined, the result takes its place in one step and the directory goes. A lock beside the output, `.OUTPUT.lock`,
keeps a second run away meanwhile.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from .. import __version__
from ..data.columns import ReadRow, describe_column, find_column
from ..data.readers import KINDS, FileForm, Rows, kind_of, open_rows
from ..data.sources import stream_rows
from ..utils.files import local_path, only_writer, read_json, replacing, user_path, write_json
from ..utils.imports import require
from ..utils.messages import check_count, differences
from .classifier import UNSURE, WINDOW, Classifier, check_unsure, open_classifier
from .writers import OUTPUTS, OutputLayout, join_parts, json_line, schema_of

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_ADVICE = "; --skip_bad_rows leaves such rows out"


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What decides what an output holds; the options of `predict_file` and `predict_files`.

    Args:
        text_column: Column of the texts; found by its name where None.
        separator: What stands between the fields of csv and tsv files; found where None.
        column_names: Names of the columns of csv and tsv files that have no header, also as one text with commas.
        encoding: Encoding of text files; UTF-8, or UTF-16 where a file begins so.
        skip_bad_rows: Write rows that cannot be read or have no text to `OUTPUT.bad_rows.jsonl`, each with its
            problem, instead of refusing the file.
        known_column: Add the column `known`, too: the share of each text's tokens that are in the vocabulary.
        all_scores: Add a column `score_LABEL` for every label of the model, too: its probability.
        unsure_below: Probability of the most probable label below which `label` is `unsure_label`; `score` stays.
        unsure_label: Name of that answer.
        batch_size: Reviews that are computed together.
        rows_per_part: Rows after which what is done is safe from a kill.

    Raises:
        ValueError: A number or a name that is not allowed.
    """

    text_column: str | None = None
    separator: str | None = None
    column_names: str | Sequence[str] | None = None
    encoding: str | None = None
    skip_bad_rows: bool = False
    known_column: bool = False
    all_scores: bool = False
    unsure_below: float | None = None
    unsure_label: str = UNSURE
    batch_size: int = 64
    rows_per_part: int = 50_000

    def __post_init__(self) -> None:
        """Check what can be checked without the source and the model."""
        check_count("batch_size", self.batch_size)
        check_count("rows_per_part", self.rows_per_part)
        check_unsure(self.unsure_below, self.unsure_label)
        _ = self.form

    @property
    def form(self) -> FileForm:
        """What is known of the form of the files to read."""
        return FileForm(self.separator, self.column_names, self.encoding)

    def recorded(self) -> dict[str, Any]:
        """What a record of an output says of them."""
        names = self.form.column_names
        return {**asdict(self), "separator": self.form.separator, "column_names": names and list(names)}


def predict_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Classifier | None = None,
    backend: str = "torch",
    dtype: str | torch.dtype = "float32",
    split: str = "train",
    progress: bool = True,
    **options: Any,
) -> int:
    """Classify every row of a file or data set and write the rows with a label and a score.

    All columns are kept, in order, and two are added: `label` and `score`, or `predicted_label` and `predicted_score`
    where the source has a column of either name. Scores have all their digits. A file is read to its end before the
    model is loaded, to find every defect, and again to classify. Memory holds a window of rows, not the file.

    A run that was killed is continued by the same call; the result is, byte for byte, that of a run which was not, on
    the same machine with the same number of threads.

    Args:
        source: A .csv or .tsv file, a .jsonl or .ndjson file (one object per line), a .json file (a list of objects,
            or one per line), a .parquet file, a .txt file (one review per line, an empty line is an empty review), or
            a data set of the Hub. All but Parquet files may be compressed (.gz). An empty csv field is an empty
            review.
        output: A .csv, .tsv, .jsonl or .parquet file to write, in a directory that is there.
        model: A run directory, a repository of the Hub, or a `Classifier`, which is loaded already; the model that
            comes with the package where None.
        backend: "torch" or "onnx", and `dtype`: as for `Classifier.from_pretrained`.
        dtype: See there.
        split: Split of a data set of the Hub; of no meaning for a file.
        progress: Show a bar where standard error is a terminal.
        options: Those of :class:`FileOptions`: `text_column`, `skip_bad_rows`, `all_scores`, `batch_size` and so on.

    Returns:
        Rows in the output.

    Raises:
        BlockingIOError: Another run is writing this output.
        FileExistsError: The output is there already, or `OUTPUT.parts` is something else.
        FileNotFoundError: The source, the model or the output's directory is not there.
        ModuleNotFoundError: Parquet files and the Hub need the extra `train`, the backend "onnx" the extra `onnx`.
        TypeError: There is no such option.
        ValueError: A kind of file that is not read or written, a directory, a row without a text (the message names
            it), a file that is not what its name says, an option's value; or the parts that are there are of another
            run.
        OSError: The Hub cannot be reached, or holds no such model or data set.
    """
    target = user_path(output, "the output")
    chosen = FileOptions(**options)
    _check_output(os.fspath(source), target)
    with only_writer(target):
        # The joined file waits in its place until the manifest knows its rows; then it moves in one step.
        if "rows" not in _manifest(target) or _joined(target).exists():
            _refuse_to_overwrite(target)
        job = look_through(os.fspath(source), target, split, chosen)
        classifier = open_classifier(model, backend, dtype)
        return score_job(job.for_labels(classifier.labels), classifier, progress=progress)


def parts_of(output: Path) -> Path:
    """Where finished parts lie while a file is written."""
    return output.with_name(f"{output.name}.parts")


class Job(NamedTuple):
    """A source that was looked through, and what is to become of it."""

    target: Path
    rows: Rows
    text_column: str
    layout: OutputLayout
    total: int | None
    source: str
    options: FileOptions

    def for_labels(self, labels: tuple[str, ...]) -> Job:
        """Check the options against a model's labels, and lay the output out for them."""
        check_unsure(self.options.unsure_below, self.options.unsure_label, labels)
        return self._replace(layout=replace(self.layout, labels=labels)) if self.options.all_scores else self


def _check_output(source: str, output: Path) -> None:
    if output.suffix.lower() not in OUTPUTS:
        raise ValueError(f"{output}: files of kind {output.suffix!r} are not written; allowed: {', '.join(OUTPUTS)}")
    read = user_path(source, "what is read")
    if output.exists() and read.exists() and output.samefile(read):
        raise ValueError(f"{output} is both what is read and what is to be written; name another output")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output.parent}: no such directory; make it, or name another output than {output}")


def refuse_directory(name: str, path: Path) -> None:
    """Refuse what was read in earlier releases, with what to name instead."""
    if path.is_dir():
        raise ValueError(
            f"{name} is a directory; name its files, such as {os.path.join(name, '*.csv')}, and an --output_dir"
        )


def check_kind(name: str, path: Path) -> str:
    """Find the kind of a file, or refuse it."""
    if not (kind := kind_of(path)):
        raise ValueError(f"{name}: files of kind {path.suffix!r} are not read; allowed: {', '.join(KINDS)}")
    return kind


def look_through(name: str, target: Path, split: str, options: FileOptions) -> Job:
    """Open a source and, if it is a file, read it to its end, so that no defect shows after hours of work."""
    suffix = target.suffix.lower()
    if suffix == ".parquet":
        require("pyarrow", extra="train")
    refuse_directory(name, user_path(name, "what is read"))
    allowed = f"a file ({', '.join(KINDS)}), or a data set of the Hub such as stanfordnlp/imdb"
    path = local_path(name, "what is read", allowed=allowed, suffixes=KINDS)
    wanted = options.text_column
    if path is None:
        rows = stream_rows(name, split)
    else:
        check_kind(name, path)
        rows = open_rows(path, options.form, name=name)
    # An empty .jsonl file has no columns; there is no row that would need one.
    column = find_column(rows.columns, wanted, "text") if rows.columns else wanted or "text"
    logger.info(f"{name}: {describe_column(rows.columns, column, 'text')}")
    total, schema = rows.total, rows.schema
    if path is not None:
        skip = (lambda _: None) if options.skip_bad_rows else None
        total = sum(1 for _ in rows.with_text(column, skip=skip, advice=_ADVICE))
        if schema is None and suffix == ".parquet":
            readable = (read.row for read in rows.with_text(column, skip=lambda _: None))
            schema = schema_of(name, rows.columns, iter(lambda: list(islice(readable, WINDOW)), []))
    layout = OutputLayout(name, rows.columns, schema, suffix, options.known_column)
    return Job(target, rows, column, layout, total, rows.state if path is None else digest_of(path), options)


def digest_of(source: Path) -> str:
    """Compute the digest of a file's content."""
    with source.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def contents_of(source: str, target: Path, classifier: Classifier, options: FileOptions) -> dict[str, Any]:
    """What an output is made of and how."""
    made_by = {"model": classifier.fingerprint(), "hf_lstm_sentiment": __version__}
    return {"source": source, **options.recorded(), **made_by, "output": target.suffix.lower()}


def _refuse_to_overwrite(output: Path) -> None:
    if output.exists():
        raise FileExistsError(f"{output} is there already; move it away, or name another output")


def _joined(target: Path) -> Path:
    return parts_of(target) / f"joined{target.suffix.lower()}"


def _manifest(target: Path) -> dict[str, Any]:
    path = parts_of(target) / _MANIFEST
    return read_json(path) if path.is_file() else {}


def _prepare(target: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Make the directory of parts, or find what an earlier call left in it: its manifest, else an empty one."""
    parts, before = parts_of(target), _manifest(target)
    if before:
        if changed := differences({k: v for k, v in before.items() if k != "rows"}, manifest):
            raise ValueError(
                f"{parts} holds parts of another run and cannot be continued: {changed}. Run it as it was started, "
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


def score_job(job: Job, classifier: Classifier, *, progress: bool, record: Path | None = None) -> int:
    """Write an output, whose lock is held, from where an earlier call has stopped; the number of its rows."""
    target, parts, joined = job.target, parts_of(job.target), _joined(job.target)
    manifest = contents_of(job.source, target, classifier, job.options)
    before = _prepare(target, manifest)
    if target.exists() and "rows" in before and not joined.exists():
        # All that was left to do is what the kill kept from being done.
        rows = int(before["rows"])
    else:
        _refuse_to_overwrite(target)
        write_json(manifest, parts / _MANIFEST)
        rows, count = _classify(job, classifier, progress=progress)
        join_parts([_part(job, number) for number in range(count)], joined)
        write_json({**manifest, "rows": rows}, parts / _MANIFEST)
        _refuse_to_overwrite(target)
        if record is not None:
            record.parent.mkdir(exist_ok=True)
            write_json({**manifest, "bytes": joined.stat().st_size}, record)
        os.replace(joined, target)
    # The manifest goes last, so that a kill in between leaves what the next call understands.
    for path in parts.glob("part-*"):
        path.unlink()
    shutil.rmtree(parts)
    return rows


def _part(job: Job, number: int) -> Path:
    return parts_of(job.target) / f"part-{number:05}{job.layout.suffix}"


def _classify(job: Job, classifier: Classifier, *, progress: bool) -> tuple[int, int]:
    """Write the parts that are not there; the number of rows and of parts."""
    options, rows_per_part = job.options, job.options.rows_per_part
    bad = job.target.with_name(f"{job.target.name}.bad_rows.jsonl")
    skipped, rows, number = 0, 0, 0
    with ExitStack() as stack:
        skip = None
        if options.skip_bad_rows:
            file = stack.enter_context(replacing(bad))

            def skip(read: ReadRow) -> None:
                nonlocal skipped
                skipped += 1
                file.write(json_line(read._asdict()))

        reads = job.rows.with_text(job.text_column, skip=skip, advice=_ADVICE)

        def take(count: int) -> list[dict[str, Any]]:
            return [read.row for read in islice(reads, count)]

        while _part(job, number).is_file():
            left = rows_per_part
            while done := len(take(min(WINDOW, left))):
                rows, left = rows + done, left - done
            number += 1
        if number:
            logger.info(f"{parts_of(job.target).name}: {rows:,} rows are done already and skipped")
        passed_on = ("batch_size", "all_scores", "unsure_below", "unsure_label")
        answers = {name: getattr(options, name) for name in passed_on}
        with tqdm(total=job.total, initial=rows, unit=" reviews", disable=None if progress else True) as bar:
            window = take(min(WINDOW, rows_per_part))
            # Without a row there is one part, which holds the header.
            while window or not number:
                left = rows_per_part
                with replacing(_part(job, number)) as part, job.layout.writer(part, number) as write:
                    while window:
                        texts = [row[job.text_column] for row in window]
                        write(window, classifier(texts, **answers))
                        rows, left = rows + len(window), left - len(window)
                        bar.update(len(window))
                        window = take(min(WINDOW, left))
                number += 1
                window = take(min(WINDOW, rows_per_part))
    if skipped:
        logger.warning(f"{skipped:,} rows that could not be read are in {bad}")
    elif options.skip_bad_rows:
        bad.unlink()
    return rows, number
