"""The study: presets under several seeds, trained where they are not yet, and compared."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..evaluation.compare import Comparison, FinishedRun, compare
from ..utils import run_directory as runs
from ..utils.files import read_json, user_path
from .presets import DEFAULTS, Preset, find_preset
from .train import train

logger = logging.getLogger(__name__)


def study(
    presets: Sequence[str | Preset] = ("v0_naive", "v1", "v2_glove", "v3_glove_frozen"),
    *,
    seeds: Sequence[int] = (42, 43, 44),
    one_seed: Sequence[str] = (),
    runs_dir: str | os.PathLike[str] = "runs",
    recorded: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    **training: Any,
) -> Comparison:
    """Train presets under several seeds, or use what is trained already, and compare them.

    A finished run is taken as it is, a stopped one is continued, one that was trained by another recipe is refused.

    Args:
        presets: What to compare, in the order in which neighbors are tested against each other.
        seeds: Seeds of each preset.
        one_seed: Presets that get the first seed only.
        runs_dir: Holds a run directory `PRESET-seedSEED` for each run.
        recorded: A folder of results without weights, `PRESET/seed-SEED/metrics.json` as in `model_cards`. Runs that
            it holds and `runs_dir` does not are taken from there and not trained. Tests of neighbors use those of
            them whose `test_logits.safetensors` is there.
        output_dir: Where to write the comparison; `comparison` in `runs_dir` where None.
        training: Whatever else :func:`train` takes, the same for all.

    Raises:
        ValueError: An unknown preset, no seeds, or the same one twice; recorded results of other data.
        FileExistsError, ModuleNotFoundError, OSError: As :func:`train`.
    """
    recipes = [find_preset(preset) for preset in presets]
    names = [recipe.name for recipe in recipes]
    for what, values in (("presets", names), ("seeds", list(seeds))):
        if not values or len({*values}) < len(values):
            raise ValueError(f"{what} are {values}; allowed: at least one, each once")
    if unknown := set(one_seed) - set(names):
        raise ValueError(f"one_seed names {', '.join(sorted(unknown))}; allowed: {', '.join(names)}")
    folder = user_path(runs_dir).resolve()
    directory = user_path(output_dir, "the output").resolve() if output_dir is not None else folder / "comparison"
    plan = [(recipe, seed) for recipe in recipes for seed in (seeds[:1] if recipe.name in one_seed else seeds)]
    results = []
    for number, (preset, seed) in enumerate(plan, start=1):
        run = folder / f"{preset.name}-seed{seed}"
        record = user_path(recorded or ".") / preset.name / f"seed-{seed}"
        whole = recorded is None or not runs.is_finished(record) or run.exists()
        logger.info(f"run {number} of {len(plan)}: {preset.name}, seed {seed}" + ("" if whole else f", from {record}"))
        if whole:
            train(preset, seed=seed, output_dir=run, resume=True, **training)
        metrics = read_json((run if whole else record) / runs.METRICS)
        dataset = os.fspath(training.get("dataset") or preset.dataset)
        known = {**asdict(preset), "dataset": dataset, "seed": seed, **metrics["options"]}
        recipe = {**DEFAULTS, **runs.read_recipe(run)} if whole else known
        results.append(FinishedRun(preset.name, seed, run if whole else record, recipe, metrics, has_weights=whole))
    # The other processes of a launch have trained with this one, and have nothing more to do.
    return compare(results, directory) if int(os.environ.get("RANK", "0")) == 0 else Comparison(directory, {})
