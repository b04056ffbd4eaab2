"""The run directory: what a training leaves behind, whole or not at all.

The directory itself can be pushed to the Hub as it is. Below `checkpoints/` lies what a stopped run continues from:
the Trainer's checkpoints, and `recipe.json`, which says what is being trained. `metrics.json` is written last, so that
a directory that has one is finished.
"""

import logging
import platform
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .files import file_digest, json_ready, read_json, write_json
from .messages import differences

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
METRICS = "metrics.json"
_RECIPE = "recipe.json"
# In it, what identifies the data.
_CONTENTS = "contents"
STATE = "trainer_state.json"
WEIGHTS = "model.safetensors"
_DIGESTS = "digests.json"


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, of this package and of others on PyPI, for the results."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("hf_lstm_sentiment", *packages)}}


def read_recipe(run: Path) -> dict[str, Any]:
    """Read what a run was trained by: the fields of its preset, the seed, and what was given beside them."""
    path = run / CHECKPOINTS / _RECIPE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, which says what {run.name} was trained by and on")
    return {name: value for name, value in read_json(path).items() if name != _CONTENTS}


def is_finished(run: Path) -> bool:
    """Tell whether a training has written its results here."""
    return (run / METRICS).is_file()


def prepare(run: Path, recipe: Mapping[str, Any], *, resume: bool, defaults: Mapping[str, Any] | None = None) -> None:
    """Make a run directory ready for a training by a recipe, or find that it must not be touched.

    A recipe of an earlier release is read with the `defaults` of settings that it did not know.
    """
    recipe, contents = json_ready(recipe), {}
    path = run / CHECKPOINTS / _RECIPE
    if path.is_file() and (is_finished(run) or any(_checkpoints(run))):
        if not resume:
            state = "a finished run" if is_finished(run) else "a run that was stopped"
            raise FileExistsError(
                f"{run} holds {state}; pass --resume to continue it, or another --output_dir to keep it"
            )
        before = {**(defaults or {}), **read_json(path)}
        if _CONTENTS in before:
            contents[_CONTENTS] = before.pop(_CONTENTS)
        if changed := differences(before, recipe):
            raise ValueError(
                f"{run} cannot be resumed, it was trained by another recipe: {changed}. Pass the values it was started "
                "with, or another --output_dir"
            )
    # A training that was killed in its first moment leaves hidden files alone.
    elif not path.is_file() and (run.is_file() or any(p.is_file() and p.name[0] != "." for p in run.rglob("*"))):
        raise FileExistsError(f"{run} is not empty and holds no run; pass another --output_dir")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in run.rglob(".*.tmp"):
        logger.info(f"{left.name} was left by a run that was killed and is removed")
        left.unlink()
    write_json({**recipe, **contents}, path)


def check_contents(run: Path, digests: Mapping[str, str], *, tokenizer: Mapping[str, Any] | None = None) -> None:
    """Refuse to continue a training with other data than it began with; record those of one that begins.

    By the content of `tokenizer.json` a run of version 0.1.0 is told, which recorded no digests.
    """
    recipe = read_json(run / CHECKPOINTS / _RECIPE)
    begun, known = is_finished(run) or any(_checkpoints(run)), recipe.get(_CONTENTS, {})
    if not begun:
        write_json({**recipe, _CONTENTS: dict(digests)}, run / CHECKPOINTS / _RECIPE)
        return
    changed = [name for name, digest in digests.items() if known and known.get(name) != digest]
    if not known and tokenizer is not None:
        stored = [checkpoint / "tokenizer.json" for _, checkpoint in _checkpoints(run)]
        there = [read_json(path) for path in stored if path.is_file()]
        parts = ("normalizer", "pre_tokenizer", "model")
        changed = ["tokenizer"] * any(one.get(part) != tokenizer[part] for one in there for part in parts)
    if changed:
        raise ValueError(
            f"{run} cannot be resumed, it was trained on other data: {', '.join(changed)} differ in content or order. "
            "Pass what it was started with, or another --output_dir"
        )
    if not known:
        logger.warning(f"{run} does not record which reviews it was trained on; make sure that they are the same")


def record_files(checkpoint: Path) -> None:
    """Write the digests of a checkpoint's files beside them."""
    write_json({path.name: file_digest(path) for path in sorted(checkpoint.iterdir())}, checkpoint / _DIGESTS)


def changed_file(checkpoint: Path) -> str | None:
    """Say which file of a checkpoint is not what was saved, if one is; an OSError names one that is not there."""
    # Version 0.1.0 wrote no digests; its weights must be there.
    has_digests = (checkpoint / _DIGESTS).is_file()
    recorded = read_json(checkpoint / _DIGESTS) if has_digests else {WEIGHTS: file_digest(checkpoint / WEIGHTS)}
    changed = (name for name, digest in recorded.items() if file_digest(checkpoint / name) != digest)
    return next((f"{name} of {checkpoint.name} is not what was saved" for name in changed), None)


def newest_whole_checkpoint(run: Path) -> Path | None:
    """Find the newest checkpoint that can be continued from; say which ones it passes over."""
    for step, checkpoint in sorted(_checkpoints(run), reverse=True):
        try:
            # It is written last.
            state = read_json(checkpoint / STATE)
            # The best one is needed too, for what is published in the end.
            needed = {step, state.get("best_global_step") or step}
            defect = next(filter(None, (changed_file(checkpoint_at(run, place)) for place in needed)), None)
            if defect is None and state.get("global_step") == step:
                return checkpoint
            defect = defect or f"{STATE} is of another step"
        except (OSError, ValueError) as error:
            defect = str(error)
        logger.warning(f"{checkpoint.name} is not whole and is passed over: {defect}")
    return None


def checkpoint_at(run: Path, step: int) -> Path:
    """Return where the checkpoint of an optimizer step lies."""
    return run / CHECKPOINTS / f"checkpoint-{step}"


def _checkpoints(run: Path) -> Iterator[tuple[int, Path]]:
    for path in (run / CHECKPOINTS).glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and path.is_dir():
            yield int(match[1]), path
