"""Score files and data sets in flat memory; a run that was killed continues where it stopped.

While it runs, finished parts lie in `OUTPUT.parts/`, and `.OUTPUT.json` says what is being done. The windows in which
reviews are sorted by length start anew with each part, so that batches, and with them scores, are the same whether or
not a run was stopped. When all rows are done, the parts are joined and the result takes its place in one step. A lock,
`.OUTPUT.lock`, keeps a second run away meanwhile. Of many files, what says how each was made stays, so that one that is
there is known to be the one that is wanted.
"""

import glob
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from .. import __version__
from ..data.columns import ReadRow, Row, find_column
from ..data.readers import KINDS, FileForm, Rows, check_kind, open_rows
from ..data.sources import stream_rows
from ..utils.distributed import place, refuse_to_be_alone
from ..utils.files import file_digest, json_ready, local_path, only_writer, read_json, replacing, user_path, write_json
from ..utils.imports import require
from ..utils.messages import check_count, differences
from .classifier import UNSURE, WINDOW, Classifier, Prediction, check_unsure, open_classifier
from .writers import OUTPUTS, join_parts, json_line, names_to_add, row_writer, schema_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FileOptions(FileForm):
    """What decides what an output holds; the options of `predict_file` and `predict_files`.

    Args:
        separator: What stands between the fields of csv and tsv files; found where None.
        column_names: Names of the columns of csv and tsv files that have no header, also as one text with commas.
        encoding: Encoding of text files; UTF-8, or UTF-16 where a file begins so.
        text_column: Column of the texts; found by its name where None.
        skip_bad_rows: Write rows that cannot be read or have no text to `OUTPUT.bad_rows.jsonl`, each with its
            problem, instead of refusing the file.
        known_column: Add the column `known`, too: the share of each text's tokens that are in the vocabulary.
        all_scores: Add a column `score_LABEL` for every label of the model, too: its probability.
        unsure_below: Probability of the most probable label below which `label` is `unsure_label`; `score` stays.
        unsure_label: Name of that answer.
        backend: As for `Classifier.from_pretrained`, where a model is named.
        dtype: Likewise.
        batch_size: Reviews that are computed together.
        rows_per_part: Rows after which what is done is safe from a kill.
    """

    text_column: str | None = None
    skip_bad_rows: bool = False
    known_column: bool = False
    all_scores: bool = False
    unsure_below: float | None = None
    unsure_label: str = UNSURE
    backend: str = "torch"
    dtype: str | torch.dtype = "float32"
    batch_size: int = 64
    rows_per_part: int = 50_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("batch_size", self.batch_size)
        check_count("rows_per_part", self.rows_per_part)


def predict_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Classifier | None = None,
    split: str = "train",
    progress: bool = True,
    **options: Any,
) -> int:
    """Classify every row of a file or data set and write the rows with a label and a score.

    All columns are kept, in order, and two are added: `label` and `score`, or `predicted_label` and `predicted_score`
    where the source has a column of either name. Scores have all their digits. A file is read to its end first, to find
    every defect, and again to classify. Memory holds a window of rows, not the file.

    A run that was killed is continued by the same call; the result is, byte for byte, that of a run which was not, on
    the same machine with the same number of threads.

    Args:
        source: A .csv or .tsv file, a .jsonl or .ndjson file (one object per line), a .json file (a list of objects,
            or one per line), a .parquet file, a .txt file (one review per line, an empty line is an empty review), or
            a data set of the Hub. All but Parquet files may be compressed (.gz).
        output: A .csv, .tsv, .jsonl or .parquet file to write, in a directory that is there.
        model: As for `predict`.
        split: Split of a data set of the Hub; of no meaning for a file.
        progress: Show a bar where standard error is a terminal.
        options: Those of :class:`FileOptions`: `text_column`, `skip_bad_rows`, `all_scores`, `backend` and so on.

    Returns:
        Rows in the output.

    Raises:
        OSError: The source, the model or the directory of the output is not there, or the Hub cannot be reached; the
            output is there already (FileExistsError), or another run is writing it (BlockingIOError).
        ModuleNotFoundError: Parquet files and the Hub need the extra `train`, the backend "onnx" the extra `onnx`.
        TypeError: There is no such option.
        ValueError: A kind of file that is not read or written, a row without a text (the message names it), a file that
            is not what its name says, an option's value; or the parts that are there are of another run.
    """
    target, name, chosen = user_path(output, "the output"), os.fspath(source), FileOptions(**options)
    if target.suffix.lower() not in OUTPUTS:
        raise ValueError(f"{target}: files of kind {target.suffix!r} are not written; allowed: {', '.join(OUTPUTS)}")
    read = user_path(name, "the input")
    if target.exists() and read.exists() and target.samefile(read):
        raise ValueError(f"{target} is both what is read and what is to be written; name another output")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: no such directory; make it, or name another output than {target}")
    with only_writer(target):
        classifier = open_classifier(model, chosen.backend, chosen.dtype)
        rows = _score(_look_through(name, target, split, classifier, chosen), classifier, progress=progress)
        _state(target).unlink()
        return rows


def predict_files(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Classifier | None = None,
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
        model: As for `predict_file`, and so are the others, and the errors.
        progress: See there.
        options: See there.

    Returns:
        Rows in each output that this process has finished, now and not earlier.

    Raises:
        ValueError: Two files would get one output; or what `accelerate launch` was asked for is not what it started.
            All files of a process are looked through before the first one is classified.
    """
    chosen = FileOptions(**options)
    found = find_outputs(sources, output_dir)
    refuse_to_be_alone()
    mine = share(found, *place())
    if not mine:
        return {}
    classifier = open_classifier(model, chosen.backend, chosen.dtype)
    user_path(output_dir, "the output").mkdir(parents=True, exist_ok=True)
    jobs, rows = [], {}
    for source, output in mine:
        there = _rows_there(output, _contents(file_digest(source), output, classifier, chosen))
        if there is None or parts_of(output).exists():
            jobs.append(_look_through(str(source), output, "train", classifier, chosen))
        else:
            logger.info(f"{output} is done already")
    for job in jobs:
        with only_writer(job.target):
            rows[job.target] = _score(job, classifier, progress=progress)
        logger.info(f"{job.target}: {rows[job.target]:,} reviews")
    return rows


def find_outputs(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], output_dir: str | os.PathLike[str]
) -> list[tuple[Path, Path]]:
    """Find the files, in the order of their names and patterns, each once and with its output."""
    folder = user_path(output_dir, "the output")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a directory for the outputs")
    found: dict[Path, Path] = {}
    sources = [sources] if isinstance(sources, str | os.PathLike) else sources
    for source in dict.fromkeys(path for name in sources for path in _expand(os.fspath(name))):
        kind = check_kind(str(source), source)
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
    found = [path] if path.exists() else sorted(filter(Path.is_file, map(Path, glob.glob(str(path), recursive=True))))
    if not found and glob.has_magic(name):
        raise FileNotFoundError(f"{name}: no file matches this pattern; correct it, or name the files")
    if not found:
        raise FileNotFoundError(f"{name}: no such file; allowed: files ({', '.join(KINDS)}) and patterns of them")
    return [Path(os.path.abspath(match)) for match in found]


def share(files: Sequence[tuple[Path, Path]], rank: int, processes: int) -> list[tuple[Path, Path]]:
    """Find the files of one process: the largest file goes to the process with the fewest bytes, and so on.

    What is finished already changes nothing, so that processes which start at different moments agree.
    """
    mine, bytes_of = [], [0] * processes
    for size, _, file in sorted((-source.stat().st_size, output.name, (source, output)) for source, output in files):
        taker = bytes_of.index(min(bytes_of))
        # An empty file is work too: without it, all of them would go to one process.
        bytes_of[taker] += 1 - size
        if taker == rank:
            mine.append(file)
    return mine


def parts_of(output: Path) -> Path:
    """Where finished parts lie while a file is written."""
    return output.with_name(f"{output.name}.parts")


def _state(output: Path) -> Path:
    """Where it says what an output is made of, and how many rows and bytes it has once it is whole."""
    return output.with_name(f".{output.name}.json")


def _rows_there(output: Path, contents: Mapping[str, Any]) -> int | None:
    """Rows of an output that is whole, or None; what another run has made or begun, or none, is refused."""
    there = [path for path in (output, parts_of(output)) if path.exists()]
    before = read_json(_state(output)) if there and _state(output).is_file() else {}
    rows, size = before.pop("rows", None), before.pop("bytes", None)
    if there and (not before or (output.exists() and output.stat().st_size != size)):
        raise FileExistsError(f"{there[0]} is there already; move it away, or name another output")
    if before and (changed := differences(before, contents)):
        raise ValueError(
            f"{there[0]} is there already and of another run: {changed}. Run it as it was started, move that away to "
            "start anew, or name another output"
        )
    return rows if output.exists() else None


class _Job(NamedTuple):
    """A source that was looked through, and what is to become of it."""

    target: Path
    rows: Rows
    text_column: str
    # Names of the columns that are added, and for Parquet the types of the others.
    added: list[str]
    schema: Any
    total: int | None
    manifest: dict[str, Any]
    options: FileOptions


def _look_through(name: str, target: Path, split: str, classifier: Classifier, options: FileOptions) -> _Job:
    """Open a source and, if it is a file, read it to its end, so that no defect shows after hours of work."""
    check_unsure(options.unsure_below, options.unsure_label, classifier.labels)
    to_parquet = target.suffix.lower() == ".parquet"
    if to_parquet:
        require("pyarrow", extra="train")
    allowed = f"a file ({', '.join(KINDS)}), or a data set of the Hub such as stanfordnlp/imdb"
    path = local_path(name, "the input", allowed=allowed, suffixes=KINDS)
    if path is not None:
        check_kind(name, path)
    rows = open_rows(path, options, name=name) if path else stream_rows(name, split)
    manifest = _contents(file_digest(path) if path else rows.state, target, classifier, options)
    _rows_there(target, manifest)
    # An empty .jsonl file has no columns; there is no row that would need one.
    wanted = options.text_column
    column = find_column(name, rows.columns, wanted, "text") if rows.columns else wanted or "text"
    scores = [f"score_{label}" for label in classifier.labels]
    added = ["label", "score", *["known"] * options.known_column, *scores * options.all_scores]
    added = names_to_add(name, rows.columns, added)
    total, schema = rows.total, rows.schema
    if path is not None:
        with open(os.devnull, "wb") if options.skip_bad_rows else nullcontext() as bad:
            total = sum(1 for _ in _with_text(rows, column, bad))
            if to_parquet and schema is None:
                schema = schema_of(name, rows.columns, _windows(_with_text(rows, column, bad)))
    return _Job(target, rows, column, added, schema, total, manifest, options)


def _contents(source: str, target: Path, classifier: Classifier, options: FileOptions) -> dict[str, Any]:
    """What an output is made of and how."""
    # The fingerprint tells the backend, too.
    chosen = {name: value for name, value in asdict(options).items() if name not in ("backend", "dtype")}
    made_by = {"model": classifier.fingerprint(), "hf_lstm_sentiment": __version__}
    return json_ready({"source": source, **chosen, **made_by, "output": target.suffix.lower()})


def _score(job: _Job, classifier: Classifier, *, progress: bool) -> int:
    """Write an output, whose lock is held, from where an earlier call has stopped; the number of its rows."""
    target, parts = job.target, parts_of(job.target)
    rows = _rows_there(target, job.manifest)
    if rows is None:
        write_json(job.manifest, _state(target))
        parts.mkdir(exist_ok=True)
        rows, made = _classify(job, classifier, progress=progress)
        joined = parts / f"joined{target.suffix.lower()}"
        join_parts(made, joined)
        write_json({**job.manifest, "rows": rows, "bytes": joined.stat().st_size}, _state(target))
        if target.exists():
            raise FileExistsError(f"{target} came up meanwhile; move it away, and call again")
        os.replace(joined, target)
    shutil.rmtree(parts, ignore_errors=True)
    return rows


def _with_text(rows: Rows, column: str, bad: BinaryIO | None) -> Iterator[ReadRow]:
    """The rows that can be read and have a text; the others go into a file, and without one the first is refused."""
    for read in rows.read(column):
        if read.problem is None:
            yield read
        elif bad is None:
            raise ValueError(f"{rows.name}, {read.place}: {read.problem}; --skip_bad_rows leaves such rows out")
        else:
            bad.write(json_line(read._asdict()))


def _windows(reads: Iterator[ReadRow]) -> Iterator[list[Row]]:
    """Rows, a window at a time."""
    return iter(lambda: [read.row for read in islice(reads, WINDOW)], [])


def _classify(job: _Job, classifier: Classifier, *, progress: bool) -> tuple[int, list[Path]]:
    """Write the parts that are not there; the number of rows, and all parts in their order."""
    options, kind, parts = job.options, job.target.suffix.lower(), parts_of(job.target)
    refused, columns = job.target.with_name(f"{job.target.name}.bad_rows.jsonl"), [*job.rows.columns, *job.added]
    asked = {name: getattr(options, name) for name in ("batch_size", "all_scores", "unsure_below", "unsure_label")}

    def answered(row: Row, found: Prediction) -> Row:
        known, scores = [found.known] * options.known_column, (found.scores or {}).values()
        return {**row, **dict(zip(job.added, (*found, *known, *scores), strict=True))}

    with replacing(refused) if options.skip_bad_rows else nullcontext() as bad:
        reads = _with_text(job.rows, job.text_column, bad)
        done: list[Path] = []
        while (path := parts / f"part-{len(done):05}{kind}").is_file():
            done.append(path)
        rows = sum(1 for _ in islice(reads, len(done) * options.rows_per_part))
        if done:
            logger.info(f"{parts.name}: {rows:,} rows are done already and skipped")
        bar = tqdm(total=job.total, initial=rows, unit=" reviews", disable=None if progress else True)
        # Without a row there is one part, which holds the header.
        while (first := next(reads, None)) or not done:
            left = chain([first] if first else [], islice(reads, options.rows_per_part - 1))
            path = parts / f"part-{len(done):05}{kind}"
            with replacing(path) as part, row_writer(part, kind, columns, job.schema, header=not done) as write:
                for window in _windows(left):
                    found = classifier([row[job.text_column] for row in window], **asked)
                    write(list(map(answered, window, found)))
                    rows += len(window)
                    bar.update(len(window))
            done.append(path)
        bar.close()
    if options.skip_bad_rows:
        with refused.open("rb") as file:
            skipped = sum(1 for _ in file)
        if skipped:
            logger.warning(f"{skipped:,} rows that could not be read are in {refused}")
        else:
            refused.unlink()
    return rows, done
