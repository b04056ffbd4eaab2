"""Train `imdb` without one of its ingredients: `python scripts/ablate.py --ablation from_glove`.

`ablations.json` beside the run directory then tells of every finished run there, `imdb`'s own included. `--help` lists
the options.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from hf_lstm_sentiment.ablations import ABLATED, ablate
from hf_lstm_sentiment.cli import run_training


@dataclass
class AblationArguments:
    """What to leave out, on what to train, and where to put it."""

    ablation: str = field(metadata={"help": "; ".join(f"{name}: {it.change}" for name, it in ABLATED.items())})
    dataset: str | None = field(default=None, metadata={"help": "Reviews, as for scripts/train.py."})
    glove: str | None = field(default=None, metadata={"help": "Word vectors, for from_glove; as for scripts/train.py."})
    soft_labels: str | None = field(default=None, metadata={"help": "What scripts/teach.py wrote."})
    pretrained: str | None = field(default=None, metadata={"help": "What scripts/pretrain.py wrote."})
    output_dir: str | None = field(default=None, metadata={"help": "runs/imdb_ABLATION-seedSEED by default."})
    seed: int = field(default=42, metadata={"help": "Seed of weights, dropout and the order of the reviews."})
    split_seed: int = field(default=42, metadata={"help": "Seed of the validation split."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on a sample of so many reviews."})
    max_validation_samples: int | None = field(default=None, metadata={"help": "Validate on so many reviews."})
    max_test_samples: int | None = field(default=None, metadata={"help": "Test on so many reviews."})
    num_threads: int | None = field(default=None, metadata={"help": "CPU threads; all by default."})
    resume: bool = field(default=False, metadata={"help": "Continue from the newest whole checkpoint."})


if __name__ == "__main__":
    sys.exit(run_training(ablate, AblationArguments, description=__doc__))
