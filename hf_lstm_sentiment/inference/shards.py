"""Score many files, each into one of its own: several processes share them, and each file is resumed by itself.

A record in `.shards/` of the output directory says what each output is made of, so that one which is there already is
known to be the one that is wanted.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..data.readers import KINDS
from ..utils.distributed import place, refuse_to_be_alone
from ..utils.files import only_writer, read_json, user_path
from ..utils.messages import differences
from .classifier import Classifier, open_classifier
from .files import FileOptions, check_kind, contents_of, digest_of, look_through, parts_of, refuse_directory, score_job
from .writers import OUTPUTS

logger = logging.getLogger(__name__)

_RECORDS = ".shards"


class Shard(NamedTuple):
    """One file of many.

    Attributes:
        source: The file to read.
        output: The file to write.
    """

    source: Path
    output: Path


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
        model: As for `predict_file`, and so are the others.
        backend: See there.
        dtype: See there.
        progress: Show a bar for each file where standard error is a terminal.
        options: Those of `FileOptions`.

    Returns:
        Rows in each output that this process has finished, now and not earlier.

    Raises:
        FileExistsError: An output is there already and was not made by such a call.
        ValueError: An output is there that was made from other content, by another model or with other options; what
            `accelerate launch` was asked for is not what it started.
        BlockingIOError, FileNotFoundError, ModuleNotFoundError, NotADirectoryError, OSError, ValueError: As
            :func:`find_shards` and `predict_file`. All files of a process are looked through before the first one is
            classified.
    """
    chosen = FileOptions(**options)
    shards = find_shards(sources, output_dir)
    refuse_to_be_alone()
    mine = share(shards, *place())
    if not mine:
        return {}
    classifier = open_classifier(model, backend, dtype)
    waiting = []
    for shard in mine:
        if _is_done(shard.output, contents_of(digest_of(shard.source), shard.output, classifier, chosen)):
            logger.info(f"{shard.output} is done already")
        else:
            waiting.append(shard)
    user_path(output_dir, "the output").mkdir(parents=True, exist_ok=True)
    labels = classifier.labels
    jobs = [look_through(str(shard.source), shard.output, "train", chosen).for_labels(labels) for shard in waiting]
    rows = {}
    for job in jobs:
        with only_writer(job.target):
            rows[job.target] = score_job(job, classifier, progress=progress, record=_record(job.target))
        logger.info(f"{job.target}: {rows[job.target]:,} reviews")
    return rows


def find_shards(sources: Sequence[str | os.PathLike[str]], output_dir: str | os.PathLike[str]) -> list[Shard]:
    """Find the files and the name of each one's output.

    Args:
        sources: Files, or patterns such as `reviews/*.csv`. What is named twice counts once.
        output_dir: Where the outputs go.

    Returns:
        The files in the order of `sources`, those of a pattern by name.

    Raises:
        FileNotFoundError: No such file, or none that a pattern matches.
        NotADirectoryError: The output directory is a file.
        ValueError: A directory or a file of another kind; two files would get one output, or a file its own place.
    """
    folder = user_path(output_dir, "the output")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a directory for the outputs")
    found: dict[Path, Path] = {}
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
    for output in found:
        if output.resolve() in read:
            raise ValueError(f"{output} is both what is read and what is to be written; name another --output_dir")
    return [Shard(source, output) for output, source in found.items()]


def _expand(name: str) -> Iterator[Path]:
    path = user_path(name)
    refuse_directory(name, path)
    # A file may have a name with brackets or stars.
    if path.is_file() or not glob.has_magic(name):
        if not path.is_file():
            raise FileNotFoundError(f"{name}: no such file; allowed: files ({', '.join(KINDS)}) and patterns of them")
        yield Path(os.path.abspath(path))
        return
    matches = sorted(match for match in glob.glob(str(path), recursive=True) if Path(match).is_file())
    if not matches:
        raise FileNotFoundError(f"{name}: no file matches this pattern; correct it, or name the files")
    yield from (Path(os.path.abspath(match)) for match in matches)


def share(shards: Sequence[Shard], rank: int, processes: int) -> list[Shard]:
    """Find the files of one process: the largest file goes to the process with the fewest bytes, and so on.

    What is finished already changes nothing, so that processes which start at different moments agree.

    Args:
        shards: All files.
        rank: Number of the process, from 0.
        processes: How many there are.

    Returns:
        Its files, the largest first. Over all ranks each file is there once.
    """
    bytes_of = [0] * processes
    mine = []
    sizes = {shard: shard.source.stat().st_size for shard in shards}
    for shard in sorted(shards, key=lambda shard: (-sizes[shard], shard.output.name)):
        taker = bytes_of.index(min(bytes_of))
        # An empty file is work too: without it, all of them would go to one process.
        bytes_of[taker] += sizes[shard] + 1
        if taker == rank:
            mine.append(shard)
    return mine


def _record(output: Path) -> Path:
    return output.parent / _RECORDS / f"{output.name}.json"


def _is_done(output: Path, contents: Mapping[str, Any]) -> bool:
    """Whether an output is finished, and of these contents; one that is something else is refused."""
    if not output.exists():
        return False
    record = _record(output)
    if not record.is_file():
        raise FileExistsError(f"{output} is there already; move it away, or name another --output_dir")
    if changed := differences(read_json(record), {**contents, "bytes": output.stat().st_size}):
        raise ValueError(
            f"{output} is there already and of another run: {changed}. Run it as it was started, move that file away "
            "to make it anew, or name another --output_dir"
        )
    # A kill may have come between the output and the end of the tidying up.
    return not parts_of(output).exists()
