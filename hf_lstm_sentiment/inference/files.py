"""Score files and data sets in flat memory; a run that was killed continues where it stopped.

While it runs, finished parts lie in `OUTPUT.parts/` beside a manifest that says what is being done. The windows in
which reviews are sorted by length start anew with each part, so that batches, and with them scores, are the same
whether or not a run was stopped. When all rows are done, the parts are joined, the result takes its place in one step
and the directory goes. A lock beside the output, `.OUTPUT.lock`, keeps a second run away meanwhile. Of many files, a
record in `.shards/` says what each output is made of, so that one that is there is known to be the one that is wanted.
"""

from __future__ import annotations

import glob
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from .. import __version__
from ..data.columns import ReadRow, Row, describe_column, find_column
from ..data.readers import KINDS, FileForm, Rows, check_kind, open_rows
from ..data.sources import stream_rows
from ..utils.distributed import place, refuse_to_be_alone
from ..utils.files import file_digest, local_path, only_writer, read_json, replacing, user_path, write_json
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
        check_count("batch_size", self.batch_size)
        check_count("rows_per_part", self.rows_per_part)
        check_unsure(self.unsure_below, self.unsure_label)
        _ = self.form

    @property
    def form(self) -> FileForm:
        """What is known of the form of the files to read."""
        return FileForm(self.separator, self.column_names, self.encoding)


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
    target, name, chosen = user_path(output, "the output"), os.fspath(source), FileOptions(**options)
    if target.suffix.lower() not in OUTPUTS:
        raise ValueError(f"{target}: files of kind {target.suffix!r} are not written; allowed: {', '.join(OUTPUTS)}")
    read = user_path(name, "what is read")
    if target.exists() and read.exists() and target.samefile(read):
        raise ValueError(f"{target} is both what is read and what is to be written; name another output")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: no such directory; make it, or name another output than {target}")
    with only_writer(target):
        _is_in_place(target)
        job = _look_through(name, target, split, chosen)
        classifier = open_classifier(model, backend, dtype)
        return _score(job.for_labels(classifier.labels), classifier, progress=progress)


def predict_files(
    sources: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Classifier | None = None,
    backend: str = "torch",
    dtype: str | torch.dtype = "float32",
    progress: bool = True,
    **options: Any,
) -> dict[Path, int]:
    """Classify many files as `predict_file` does each.

    Under `torchrun` or `accelerate launch` every process takes whole files and nobody waits for anybody; all must
    find the same files, so none may be added while they start. After a kill, or with further files, the same call does
    what is left: outputs that are finished stay, begun ones are continued. The number of processes may be another.

    Args:
        sources: Files, or patterns such as `reviews/*.csv`.
        output_dir: Where the outputs go, under the names of the files, with .csv in the place of .txt and .jsonl in
            that of other json files; made if it is not there.
        model: As for `predict_file`, and so are `backend`, `dtype` and, of each file, `progress`.
        backend: See there.
        dtype: See there.
        progress: See there.
        options: Those of `FileOptions`.

    Returns:
        Rows in each output that this process has finished, now and not earlier.

    Raises:
        FileExistsError: An output is there already and was not made by such a call.
        ValueError: An output is there that was made from other content, by another model or with other options; two
            files would get one output; what `accelerate launch` was asked for is not what it started.
        FileNotFoundError: There is no such file, or none that a pattern matches.
        NotADirectoryError: The output directory is a file.
        BlockingIOError, ModuleNotFoundError, OSError, ValueError: As `predict_file`. All files of a process are looked
            through before the first one is classified.
    """
    chosen = FileOptions(**options)
    found = find_outputs(sources, output_dir)
    refuse_to_be_alone()
    mine = share(found, *place())
    if not mine:
        return {}
    classifier = open_classifier(model, backend, dtype)
    left = [file for file in mine if not _is_done(*file, classifier, chosen)]
    user_path(output_dir, "the output").mkdir(parents=True, exist_ok=True)
    jobs = [_look_through(str(file), output, "train", chosen).for_labels(classifier.labels) for file, output in left]
    rows = {}
    for job in jobs:
        with only_writer(job.target):
            rows[job.target] = _score(job, classifier, progress=progress, record=_record(job.target))
        logger.info(f"{job.target}: {rows[job.target]:,} reviews")
    return rows


def find_outputs(
    sources: Sequence[str | os.PathLike[str]], output_dir: str | os.PathLike[str]
) -> list[tuple[Path, Path]]:
    """Find the files, in the order of their names and patterns, each once and with its output."""
    folder = user_path(output_dir, "the output")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a directory for the outputs")
    found: dict[Path, Path] = {}
    for source in dict.fromkeys(path for name in sources for path in _expand(os.fspath(name))):
        kind = _check_kind(str(source), source)
        name = source.name[: source.name.lower().rindex(kind)]
        output = folder / f"{name}{kind if kind in OUTPUTS else '.csv' if kind == '.txt' else '.jsonl'}"
        if output in found:
            raise ValueError(
                f"{found[output]} and {source} would both be written to {output}; rename one of them, or classify them "
                "into different directories"
            )
        found[output] = source
    read = {source.resolve() for source in found.values()}
    if own := [output for output in found if output.resolve() in read]:
        raise ValueError(f"{own[0]} is both what is read and what is to be written; name another --output_dir")
    return [(source, output) for output, source in found.items()]


def _expand(name: str) -> list[Path]:
    """The file of that name, or those that match the pattern, in order."""
    path = user_path(name)
    # A file may have a name with brackets or stars.
    matches = [str(path)] if path.exists() else glob.glob(str(path), recursive=True)
    found = sorted(match for match in matches if path.exists() or Path(match).is_file())
    if not found and glob.has_magic(name):
        raise FileNotFoundError(f"{name}: no file matches this pattern; correct it, or name the files")
    if not found:
        raise FileNotFoundError(f"{name}: no such file; allowed: files ({', '.join(KINDS)}) and patterns of them")
    return [Path(os.path.abspath(match)) for match in found]


def share(files: Sequence[tuple[Path, Path]], rank: int, processes: int) -> list[tuple[Path, Path]]:
    """Find the files of one process: the largest file goes to the process with the fewest bytes, and so on.

    What is finished already changes nothing, so that processes which start at different moments agree.
    """
    shares: list[list[tuple[Path, Path]]] = [[] for _ in range(processes)]
    bytes_of = [0] * processes
    for size, _, file in sorted((-source.stat().st_size, output.name, (source, output)) for source, output in files):
        taker = bytes_of.index(min(bytes_of))
        # An empty file is work too: without it, all of them would go to one process.
        bytes_of[taker] += 1 - size
        shares[taker].append(file)
    return shares[rank]


def _record(output: Path) -> Path:
    return output.parent / ".shards" / f"{output.name}.json"


def _is_done(source: Path, output: Path, classifier: Classifier, options: FileOptions) -> bool:
    """Whether an output is finished; one that is something else is refused."""
    if not output.exists():
        return False
    if not _record(output).is_file():
        raise FileExistsError(f"{output} is there already; move it away, or name another --output_dir")
    wanted = {**_contents(file_digest(source), output, classifier, options), "bytes": output.stat().st_size}
    if changed := differences(read_json(_record(output)), wanted):
        raise ValueError(
            f"{output} is there already and of another run: {changed}. Run it as it was started, move that file away "
            "to make it anew, or name another --output_dir"
        )
    # A kill may have come between the output and the end of the tidying up.
    if done := not parts_of(output).exists():
        logger.info(f"{output} is done already")
    return done


class _Job(NamedTuple):
    """A source that was looked through, and what is to become of it."""

    target: Path
    rows: Rows
    text_column: str
    layout: OutputLayout
    total: int | None
    source: str
    options: FileOptions

    def for_labels(self, labels: tuple[str, ...]) -> _Job:
        """Check the options against a model's labels, and lay the output out for them."""
        check_unsure(self.options.unsure_below, self.options.unsure_label, labels)
        return self._replace(layout=replace(self.layout, labels=labels)) if self.options.all_scores else self

    def part(self, number: int) -> Path:
        """Where a part lies once it is finished."""
        return parts_of(self.target) / f"part-{number:05}{self.layout.suffix}"


def _check_kind(name: str, path: Path) -> str:
    """Find the kind of a file; a directory, which earlier releases read, and other kinds are refused."""
    if path.is_dir():
        raise ValueError(
            f"{name} is a directory; name its files, such as {os.path.join(name, '*.csv')}, and an --output_dir"
        )
    return check_kind(name, path)


def _look_through(name: str, target: Path, split: str, options: FileOptions) -> _Job:
    """Open a source and, if it is a file, read it to its end, so that no defect shows after hours of work."""
    suffix, wanted = target.suffix.lower(), options.text_column
    if suffix == ".parquet":
        require("pyarrow", extra="train")
    allowed = f"a file ({', '.join(KINDS)}), or a data set of the Hub such as stanfordnlp/imdb"
    path = local_path(name, "what is read", allowed=allowed, suffixes=KINDS)
    if path is not None:
        _check_kind(name, path)
    rows = open_rows(path, options.form, name=name) if path else stream_rows(name, split)
    # An empty .jsonl file has no columns; there is no row that would need one.
    column = find_column(rows.columns, wanted, "text") if rows.columns else wanted or "text"
    logger.info(f"{name}: {describe_column(rows.columns, column, 'text')}")
    total, schema = rows.total, rows.schema
    if path is not None:
        skip = (lambda _: None) if options.skip_bad_rows else None
        total = sum(1 for _ in rows.with_text(column, skip=skip, advice=_ADVICE))
        if schema is None and suffix == ".parquet":
            schema = schema_of(name, rows.columns, _windows(rows.with_text(column, skip=lambda _: None)))
    layout = OutputLayout(name, rows.columns, schema, suffix, options.known_column)
    return _Job(target, rows, column, layout, total, file_digest(path) if path else rows.state, options)


def _contents(source: str, target: Path, classifier: Classifier, options: FileOptions) -> dict[str, Any]:
    """What an output is made of and how."""
    names = options.form.column_names
    form = {"separator": options.form.separator, "column_names": names and list(names)}
    made_by = {"model": classifier.fingerprint(), "hf_lstm_sentiment": __version__}
    return {"source": source, **asdict(options), **form, **made_by, "output": target.suffix.lower()}


def parts_of(output: Path) -> Path:
    """Where finished parts lie while a file is written."""
    return output.with_name(f"{output.name}.parts")


def _manifest(target: Path) -> dict[str, Any]:
    """What an earlier call, if there was one, has left to say what is being done."""
    path = parts_of(target) / _MANIFEST
    return read_json(path) if path.is_file() else {}


def _is_in_place(target: Path) -> bool:
    """Whether all that is left to do is to take the parts away; an output that is something else is refused."""
    # The joined file waits among the parts until the manifest knows its rows; then it moves in one step.
    in_place = "rows" in _manifest(target) and not any(parts_of(target).glob("joined.*"))
    if target.exists() and not in_place:
        raise FileExistsError(f"{target} is there already; move it away, or name another output")
    return target.exists()


def _prepare(target: Path, manifest: Mapping[str, Any]) -> None:
    """Make the directory of parts, or check that an earlier call of the same run has left it."""
    parts, before = parts_of(target), _manifest(target)
    before.pop("rows", None)
    if before:
        if changed := differences(before, manifest):
            raise ValueError(
                f"{parts} holds parts of another run and cannot be continued: {changed}. Run it as it was started, "
                "delete that directory to start anew, or name another output"
            )
    elif parts.exists() and not (parts.is_dir() and all(p.name.startswith(f".{_MANIFEST}") for p in parts.iterdir())):
        raise FileExistsError(
            f"{parts} is in the way and holds no parts of a run; move it away, or name another output"
        )
    parts.mkdir(exist_ok=True)


def _score(job: _Job, classifier: Classifier, *, progress: bool, record: Path | None = None) -> int:
    """Write an output, whose lock is held, from where an earlier call has stopped; the number of its rows."""
    target, parts = job.target, parts_of(job.target)
    manifest = _contents(job.source, target, classifier, job.options)
    _prepare(target, manifest)
    if _is_in_place(target):
        rows = int(_manifest(target)["rows"])
    else:
        write_json(manifest, parts / _MANIFEST)
        rows, count = _classify(job, classifier, progress=progress)
        joined = parts / f"joined{job.layout.suffix}"
        join_parts([job.part(number) for number in range(count)], joined)
        write_json({**manifest, "rows": rows}, parts / _MANIFEST)
        _is_in_place(target)
        if record is not None:
            record.parent.mkdir(exist_ok=True)
            write_json({**manifest, "bytes": joined.stat().st_size}, record)
        os.replace(joined, target)
    # The manifest goes last, so that a kill in between leaves what the next call understands.
    for path in parts.glob("part-*"):
        path.unlink()
    shutil.rmtree(parts)
    return rows


def _windows(reads: Iterator[ReadRow], most: int = sys.maxsize) -> Iterator[list[Row]]:
    """The next rows, so many at most, a window at a time."""
    while window := [read.row for read in islice(reads, min(WINDOW, most))]:
        most -= len(window)
        yield window


def _classify(job: _Job, classifier: Classifier, *, progress: bool) -> tuple[int, int]:
    """Write the parts that are not there; the number of rows and of parts."""
    options, bad = job.options, job.target.with_name(f"{job.target.name}.bad_rows.jsonl")
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
        while job.part(number).is_file():
            rows += sum(map(len, _windows(reads, options.rows_per_part)))
            number += 1
        if number:
            logger.info(f"{parts_of(job.target).name}: {rows:,} rows are done already and skipped")
        passed_on = ("batch_size", "all_scores", "unsure_below", "unsure_label")
        answers = {name: getattr(options, name) for name in passed_on}
        with tqdm(total=job.total, initial=rows, unit=" reviews", disable=None if progress else True) as bar:
            windows = _windows(reads, options.rows_per_part)
            # Without a row there is one part, which holds the header.
            while (window := next(windows, [])) or not number:
                with replacing(job.part(number)) as part, job.layout.writer(part, number) as write:
                    while window:
                        write(window, classifier([row[job.text_column] for row in window], **answers))
                        rows += len(window)
                        bar.update(len(window))
                        window = next(windows, [])
                number += 1
                windows = _windows(reads, options.rows_per_part)
    if skipped:
        logger.warning(f"{skipped:,} rows that could not be read are in {bad}")
    elif options.skip_bad_rows:
        bad.unlink()
    return rows, number
