"""Put a finished run into the package: `python scripts/make_pretrained.py runs/reviews-seed42`.

The weights are rounded to float16, and refused where that changes over 0.05 % of the decisions on the test reviews.
`--recorded model_cards --generalise` adds other seeds, ablations and other texts to the card.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bias import measure_bias
from generalization import measure_generalization
from measure import agreement, timed_logits
from recorded import load_recorded_reviews, read_ablations, summarize_seeds
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from hf_lstm_sentiment.data.reviews import Reviews
from hf_lstm_sentiment.hub.model_card import make_model_card
from hf_lstm_sentiment.hub.push import CARD, CONFIG, publishable_files
from hf_lstm_sentiment.inference.classifier import Classifier
from hf_lstm_sentiment.model import pretrained_models as shipped
from hf_lstm_sentiment.training.presets import DEFAULTS
from hf_lstm_sentiment.utils import run_directory as runs
from hf_lstm_sentiment.utils.files import read_json, user_path, write_json

# What a package of Python code can carry without anyone minding.
MAX_BYTES = 6_000_000
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
    """Write the checkpoint of a finished run as it ships inside the package, where `pretrained` finds it by its name.

    It holds what a push to the Hub would publish, but the code files, which are those of this package, and with the
    weights as float16. Its configuration says float32, so that whoever loads it computes in float32, which every
    processor does fast. Its card and its `metrics.json` tell more than the run's: what the rounding changed on the test
    reviews, and the figures of other seeds, of ablations and on other texts where they are wanted. It is written
    beside its place and moved there in the end; a checkpoint that lies there is replaced. What cannot ship is refused:
    weights that float16 does not hold, more than `MAX_BYTES`, or fewer equal decisions than `MIN_EQUAL_DECISIONS`.
    """
    run = user_path(run, "the run")
    if not _NAME.fullmatch(name):
        raise ValueError(f"name is {name!r}; allowed: lower-case letters, digits, '_' and '-', such as 'reviews'")
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
            # The registered classes load it; a push adds their code.
            if file not in (runs.WEIGHTS, runs.METRICS, CARD) and not file.endswith(".py"):
                shutil.copyfile(run / file, made / file)
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
        metrics["bias"] = measure_bias(Classifier.from_pretrained(made))
        if generalise:
            metrics["generalisation"] = measure_generalization({name: Classifier.from_pretrained(made)}, reviews)
        make_model_card({**DEFAULTS, **recipe}, metrics, shipped_as=name).save(made / CARD)
        write_json(metrics, made / runs.METRICS)
        _move(made, target, replaced=temporary / "replaced")
    finally:
        shutil.rmtree(temporary)
    return target


def _records(metrics: Mapping[str, Any], recorded: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What was measured beside the run, for its `metrics.json`."""
    if recorded is None:
        return {}
    folder = user_path(recorded) / metrics["preset"]
    if not folder.is_dir():
        raise FileNotFoundError(f"--recorded {recorded}: it holds no {folder.name}, the preset of the run")
    found = {"seeds": summarize_seeds(metrics, folder), "ablations": read_ablations(folder)}
    return {key: value for key, value in found.items() if value is not None}


def _compare(run: Path, made: Path, reviews: Reviews) -> dict[str, Any]:
    """What rounding the weights changes on the test reviews; refused where that is too much."""
    texts, labels = reviews.test["text"][:], reviews.test["label"][:]
    classifier = Classifier.from_pretrained(made)
    logits, _ = timed_logits(classifier, texts)
    before, _ = timed_logits(Classifier.from_pretrained(run), texts)
    found = agreement(logits, before)
    if found["equal_decisions"] < MIN_EQUAL_DECISIONS:
        raise ValueError(
            f"float16 changes {found['different']:,} of {len(texts):,} decisions of {run}; allowed: "
            f"{1 - MIN_EQUAL_DECISIONS:.2%} of them; train with weight decay, or with the weights averaged"
        )
    return {"reviews": len(texts), "accuracy": float(np.mean((logits > 0) == np.asarray(labels))), **found}


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
            raise ValueError(f"{path}: {name} holds numbers that are not finite; the training diverged")
        halved[name] = tensor.half().contiguous()
        if not halved[name].isfinite().all():
            largest, allowed = float(tensor.abs().max()), torch.finfo(torch.float16).max
            raise ValueError(
                f"{path}: {name} holds {largest:g}, which float16 does not; allowed: up to {allowed:g}; train with a "
                "smaller learning rate or with weight decay"
            )
    return halved


def main() -> None:
    """Parse the command line, write the checkpoint, print where it is, how large, and what the rounding changed."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="A finished run directory.")
    parser.add_argument("--name", default=shipped.DEFAULT, help="What it will be called; %(default)s.")
    parser.add_argument("--output_dir", metavar="DIR", help="Folder to write it below; the package's own by default.")
    parser.add_argument("--dataset", help="Where its reviews are now, if they were moved since the training.")
    parser.add_argument("--recorded", metavar="DIR", help="Records of its preset, seeds and ablations: model_cards.")
    parser.add_argument("--generalise", action="store_true", help="Measure Rotten Tomatoes and minimal pairs too.")
    arguments = vars(parser.parse_args())
    disable_progress_bar()
    try:
        made = make_release(**arguments)
        float16 = read_json(made / runs.METRICS)["float16"]
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(f"{made}: {(made / runs.WEIGHTS).stat().st_size:,} bytes of weights, float16")
    print(
        f"{float16['reviews']:,} test reviews: {float16['equal_decisions']:.3%} of the decisions are those of float32, "
        f"{float16['different']:,} differ; accuracy {float16['accuracy']:.2%}"
    )


if __name__ == "__main__":
    main()
