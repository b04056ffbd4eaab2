"""Train `imdb` without one of its ingredients: `python scripts/ablate.py --ablation from_glove`.

`ablations.json` beside the run directory then tells of every finished run there, `imdb`'s own included. `--help` lists
the options.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from recorded import ABLATIONS

from hf_lstm_sentiment.commands.console import ended
from hf_lstm_sentiment.commands.training import run_training
from hf_lstm_sentiment.data.reviews import SPLIT
from hf_lstm_sentiment.training.inputs import SoftLabels
from hf_lstm_sentiment.training.presets import PRESETS
from hf_lstm_sentiment.training.train import TrainingResult, train
from hf_lstm_sentiment.utils import run_directory as runs
from hf_lstm_sentiment.utils.files import read_json, write_json
from hf_lstm_sentiment.utils.messages import differences

IMDB = PRESETS["imdb"]
# What differs from `imdb`, by the name of the ablation: for a table, and for the recipe.
_CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "labels_alone": ("no teachers, hence no unlabeled reviews but those of the language model", {"soft_labels": None}),
    "ngram_teacher": (
        "distilled from n-grams and document vectors alone, without an LSTM",
        {"soft_labels": "runs/ngram_teacher"},
    ),
    "from_glove": (
        "word vectors from GloVe and a random LSTM instead of the language model",
        {"pretrained": None, "glove": "stanfordnlp/glove"},
    ),
    "more_dropout": (
        "dropout of 0.3 of the word vectors and 0.5 of the pooled output instead of 0.2 and 0.3",
        {"embedding_dropout": 0.3, "classifier_dropout": 0.5},
    ),
    "last_state": ("the last state as the pooled output instead of the maximum over time", {"pooling": "last"}),
}
ABLATED = {
    name: replace(IMDB, name=f"imdb_{name}", description=f"imdb: {change}.", **settings)
    for name, (change, settings) in _CHANGES.items()
}
"""The recipe of every ablation by its name."""


def ablate(ablation: str, *, soft_labels: str | os.PathLike[str] | None = None, **arguments: Any) -> TrainingResult:
    """Train `imdb` without one of its ingredients, an ablation out of `ABLATED`, and tabulate all that are trained.

    The table, `ablations.json` beside the run directory, holds every finished run of `imdb` and of its ablations that
    lies there, and is of the form that `read_ablations` reads. Arguments and result are those of :func:`train`; the
    soft labels of `ngram_teacher` are those of teachers without students.
    """
    if ablation not in ABLATED:
        raise ValueError(f"ablation {ablation!r} is not known; allowed: {', '.join(ABLATED)}")
    if ablation == "ngram_teacher":
        directory = soft_labels or str(ABLATED[ablation].soft_labels)
        teachers = list(SoftLabels(directory).facts["teachers"])
        if len(teachers) > 1:
            raise ValueError(
                f"{directory} has the teachers {', '.join(teachers)}, and {ablation} is to have the first alone; run "
                "scripts/teach.py without --students, into another --output_dir"
            )
    result = train(ABLATED[ablation], soft_labels=soft_labels, **arguments)
    beside = result.run_directory.parent
    write_json(tabulate(beside), beside / ABLATIONS)
    return result


def tabulate(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Tabulate the accuracies of finished runs of `imdb` and of its ablations, as `read_ablations` reads them.

    Runs that were trained or measured on other reviews or with other settings than their recipes' are refused.
    """
    changes = {IMDB.name: "none: the whole recipe"}
    changes |= {ABLATED[name].name: change for name, (change, _) in _CHANGES.items()}
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    alike: dict[str, Any] = {}
    for path in sorted(Path(directory).glob(f"*/{runs.METRICS}")):
        metrics = read_json(path)
        if metrics["preset"] not in changes:
            continue
        conditions = {**metrics["training"], **{key: metrics["dataset"].get(key) for key in SPLIT}}
        if changed := differences(alike or conditions, conditions):
            raise ValueError(f"{path} cannot be compared with the others in {directory}: {changed}")
        alike = conditions
        found.setdefault(metrics["preset"], {})[metrics["seed"]] = metrics
    rows = []
    for preset, change in changes.items():
        if preset in found:
            seeds = sorted(found[preset])
            measured = {
                f"{part}_accuracy": [found[preset][seed][part]["accuracy"] for seed in seeds]
                for part in ("validation", "test")
            }
            rows.append({"change": change, "seeds": seeds, **measured})
    return {"rows": rows}


OPTIONS = (
    ("ablation", "NAME", ..., "; ".join(f"{name}: {change}" for name, (change, _) in _CHANGES.items())),
    ("dataset", "DATASET", None, "Reviews, as for scripts/train.py."),
    ("glove", "VECTORS", None, "Word vectors, for from_glove; as for scripts/train.py."),
    ("soft_labels", "DIR", None, "What scripts/teach.py wrote."),
    ("pretrained", "DIR", None, "What scripts/pretrain.py wrote."),
    ("output_dir", "DIR", None, "runs/imdb_ABLATION-seedSEED by default."),
    ("seed", "SEED", 42, "Seed of weights, dropout and the order of the reviews."),
    *("split_seed", "max_train_samples", "max_validation_samples", "max_test_samples", "num_threads", "resume"),
)


if __name__ == "__main__":
    run = partial(run_training, "scripts/ablate.py", __doc__)
    sys.exit(ended(lambda words: run(words, *OPTIONS, function=ablate), sys.argv[1:]))
