"""From a finished run to the checkpoint that ships inside the package: half the bytes, the same decisions."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from .data.reviews import Reviews
from .data.run_reviews import load_recorded_reviews
from .evaluation.measure import agreement, measure_generalisation, timed_logits
from .hub.model_card import write_model_card
from .hub.publishable import CARD, CONFIG, publishable_files
from .inference.classifier import Classifier
from .model import pretrained_models as shipped
from .model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from .recorded import read_ablations, summarise_seeds
from .training.presets import Preset
from .utils import run_directory as runs
from .utils.files import read_json, user_path, write_json

# What a package of Python code can carry without anyone minding.
MAX_BYTES = 6_000_000
_PACKAGE = Path(__file__).parent / "model"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
# Of test reviews, the share whose label the rounding must leave as it is.
MIN_EQUAL_DECISIONS = 0.9995


def make_release(
    run: str | os.PathLike[str],
    *,
    name: str = shipped.DEFAULT,
    output_dir: str | os.PathLike[str] | None = None,
    dataset: str | os.PathLike[str] | None = None,
    recorded: str | os.PathLike[str] | None = None,
    generalise: bool = False,
) -> Path:
    """Write the checkpoint of a finished run as it ships inside the package.

    It holds what a push to the Hub would publish, with the weights as float16. Its configuration says float32, so that
    whoever loads it computes in float32, which every processor does fast. Its code files are those of this package.
    Its card and its `metrics.json` tell more than the run's: what the rounding changed on the test reviews, and the
    figures of other seeds, of ablations and on other texts where they are wanted. It is written beside its place and
    moved there in the end; a checkpoint that lies there is replaced.

    Args:
        run: The run directory.
        name: What `pretrained` will know it by.
        output_dir: Folder that holds the checkpoints, by their names; the package's own where None.
        dataset: Where the reviews that it was trained and tested on lie now, if not where its recipe says.
        recorded: A folder of records, such as `model_cards`, as `recorded.py` describes it.
        generalise: Measure it on other texts, as :func:`measure_generalisation` does.

    Returns:
        Where it is.

    Raises:
        FileNotFoundError: There is no such run directory, or its recipe or its reviews are gone.
        FileExistsError: Something else has the checkpoint's place.
        ModuleNotFoundError, ConnectionError: As `load_reviews` and, with `generalise`, `measure_generalisation`.
        ValueError: The run cannot be published, the name is none, a weight is not finite or too large for float16, the
            file of the weights would be larger than `MAX_BYTES`, rounding them changes more decisions than
            `MIN_EQUAL_DECISIONS` allows, or records do not fit the run.
    """
    run = user_path(run, "the run")
    if not _NAME.fullmatch(name):
        raise ValueError(f"name is {name!r}; allowed: lower-case letters, digits, '_' and '-', such as 'imdb'")
    files = publishable_files(run)
    target = (shipped.FOLDER if output_dir is None else user_path(output_dir, "the output")) / name
    if target.resolve() == run.resolve():
        raise FileExistsError(f"{target} is the run itself; pass another --output_dir")
    if target.exists() and not runs.is_finished(target):
        raise FileExistsError(f"{target} is there and is no checkpoint; move it away, or pass another --output_dir")
    weights = _halved(run / runs.WEIGHTS)
    metrics, recipe = read_json(run / runs.METRICS), runs.read_recipe(run)
    metrics.update(_records(metrics, recorded))
    reviews = load_recorded_reviews(metrics, recipe["dataset"] if dataset is None else dataset, of=run)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{name}."))
    try:
        made = temporary / name
        for file in files:
            (made / file).parent.mkdir(parents=True, exist_ok=True)
            if file not in (runs.WEIGHTS, runs.METRICS, CARD):
                shutil.copyfile(_PACKAGE / file if file.endswith(".py") else run / file, made / file)
        save_file(weights, made / runs.WEIGHTS, metadata={"format": "pt"})
        # safetensors makes files that only their owner reads.
        (made / runs.WEIGHTS).chmod(0o644)
        size = (made / runs.WEIGHTS).stat().st_size
        if size > MAX_BYTES:
            raise ValueError(
                f"the weights of {run} take {size:,} bytes as float16; allowed: at most {MAX_BYTES:,}; train a model "
                "with fewer words or cells"
            )
        write_json({**read_json(made / CONFIG), "dtype": "float32"}, made / CONFIG)
        metrics["float16"] = _compare(run, made, reviews)
        if generalise:
            metrics["generalisation"] = measure_generalisation({name: Classifier.from_pretrained(made)}, reviews)
        write_model_card(made, asdict(_preset(recipe)), metrics, shipped_as=name)
        write_json(metrics, made / runs.METRICS)
        _move(made, target, replaced=temporary / "replaced")
    finally:
        shutil.rmtree(temporary)
    return target


def _preset(recipe: Mapping[str, Any]) -> Preset:
    """The preset that a run was trained by; what did not exist then has its default."""
    return Preset(**{field.name: recipe[field.name] for field in fields(Preset) if field.name in recipe})


def _records(metrics: Mapping[str, Any], recorded: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What was measured beside the run, for its `metrics.json`."""
    if recorded is None:
        return {}
    folder = user_path(recorded) / metrics["preset"]
    if not folder.is_dir():
        raise FileNotFoundError(f"--recorded {recorded}: it holds no {folder.name}, the preset of the run")
    found = {"seeds": summarise_seeds(metrics, folder), "ablations": read_ablations(folder)}
    return {key: value for key, value in found.items() if value is not None}


def _compare(run: Path, made: Path, reviews: Reviews) -> dict[str, Any]:
    """What rounding the weights changes on the test reviews; refused where that is too much."""
    texts, labels = reviews.test["text"][:], reviews.test["label"][:]
    classifier = Classifier.from_pretrained(made)
    logits, _ = timed_logits(classifier, texts)
    _check_code(made, classifier, texts[:8], logits[:8])
    before, _ = timed_logits(Classifier.from_pretrained(run), texts)
    found = agreement(logits, before)
    if found["equal_decisions"] < MIN_EQUAL_DECISIONS:
        raise ValueError(
            f"float16 changes {found['different']:,} of {len(texts):,} decisions of {run}; allowed: "
            f"{1 - MIN_EQUAL_DECISIONS:.2%} of them; train with weight decay, or with the weights averaged"
        )
    return {"reviews": len(texts), "accuracy": float(np.mean((logits > 0) == np.asarray(labels))), **found}


def _check_code(made: Path, classifier: Classifier, texts: Sequence[str], logits: NDArray[np.float32]) -> None:
    """Check that the code files, which are this package's own, make of the checkpoint the model that was measured."""
    model = SentimentLSTMForSequenceClassification.from_pretrained(made)
    for text, expected in zip(texts, logits, strict=True):
        ids = classifier.token_ids([text])[0][: classifier.max_length]
        # An empty review is padding alone; a model that reads padding reads all of it.
        length = classifier.max_length if model.config.naive_padding else max(len(ids), 1)
        ids += [model.config.pad_token_id or 0] * (length - len(ids))
        with torch.inference_mode():
            found = float(model(input_ids=torch.tensor([ids])).logits[0, 1])
        if abs(found - expected) > 1e-3:
            raise ValueError(f"{made} gives {found:.4f} for a review where {expected:.4f} was measured")


def _move(made: Path, target: Path, *, replaced: Path) -> None:
    """Put a folder into its place; what is there already stays there if that fails."""
    if target.exists():
        target.rename(replaced)
    try:
        made.rename(target)
    except OSError:
        if replaced.exists():
            replaced.rename(target)
        raise


def _halved(path: Path) -> dict[str, Tensor]:
    """The weights as float16; refused where one of them is not a number there."""
    halved = {}
    for name, tensor in load_file(path).items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} holds numbers that are not finite; the training went astray")
        halved[name] = tensor.half().contiguous()
        if not halved[name].isfinite().all():
            largest, allowed = float(tensor.abs().max()), torch.finfo(torch.float16).max
            raise ValueError(
                f"{path}: {name} holds {largest:g}, which float16 does not; allowed: up to {allowed:g}; train with a "
                "smaller learning rate or with weight decay"
            )
    return halved
