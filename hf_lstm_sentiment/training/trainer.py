"""The Hugging Face Trainer for a preset: its arguments, the best checkpoint, what it measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState

from ..data.encoding import PaddingCollator
from ..evaluation.calibration import fit_temperature
from ..evaluation.metrics import evaluate_logits
from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from ..utils import run_directory as runs
from .interrupt import SafeTrainer, StopAtSignal
from .presets import DEFAULTS, Preset

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


def prepare_run(
    run: Path, recipe: Preset, arguments: TrainingArguments, *, options: Mapping[str, Any], resume: bool
) -> None:
    """Make a run directory ready, as `runs.prepare` does, in the process that writes.

    Args:
        run: The run directory.
        recipe: The preset.
        arguments: Hold the seed and the number of processes.
        options: What was given beside the preset.
        resume: As for `runs.prepare`.
    """
    if arguments.should_save:
        # Another number of processes makes batches of another size.
        processes = {"processes": arguments.world_size} if arguments.world_size > 1 else {}
        before = {**asdict(recipe), "seed": arguments.seed, **options, **processes}
        runs.prepare(run, before, resume=resume, defaults=DEFAULTS)


class Clock(TrainerCallback, ExportableState):
    """Time spent in training steps and their data loading, without evaluation and saving; survives a resume.

    Args:
        seconds: By the clock on the wall.
        cpu_seconds: Of all threads of this process; what other processes do to the machine hardly changes it.
    """

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.cpu_seconds = cpu_seconds
        self._restart()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}, "attributes": {}}

    def _restart(self, *args: Any, **kwargs: Any) -> None:
        self._mark, self._cpu_mark = time.perf_counter(), time.process_time()

    on_epoch_begin = on_evaluate = on_save = _restart

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Count the step."""
        seconds, cpu_seconds = self._mark, self._cpu_mark
        self._restart()
        self.seconds += self._mark - seconds
        self.cpu_seconds += self._cpu_mark - cpu_seconds


def _logits(predictions: np.ndarray) -> np.ndarray:
    """The one logit of each review. *Shape:* (reviews, 2) to (reviews,)."""
    return np.asarray(predictions[:, 1] - predictions[:, 0])


def _compute_metrics(prediction: Any) -> dict[str, float]:
    measured = evaluate_logits(_logits(prediction.predictions), prediction.label_ids)
    # The Trainer has its own counts; trackers take numbers only.
    return {
        "exact_loss" if name == "loss" else name: value for name, value in measured.items() if isinstance(value, float)
    }


def make_trainer(
    recipe: Preset,
    model: SentimentLSTMForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    arguments: TrainingArguments,
    encoded: Mapping[str, Dataset],
    stop: StopAtSignal,
) -> Trainer:
    """Set up the Trainer, with early stopping.

    Args:
        recipe: The preset.
        model: The model to train.
        tokenizer: Saved with every checkpoint.
        arguments: From :func:`make_arguments`.
        encoded: "train" and "validation" reviews.
        stop: Ends the training at a signal.
    """
    return SafeTrainer(
        model=model,
        args=arguments,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        data_collator=PaddingCollator(
            pad_token_id=tokenizer.pad_token_id, pad_to=recipe.max_length if recipe.naive_padding else None
        ),
        processing_class=tokenizer,
        compute_metrics=_compute_metrics,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=recipe.patience), Clock(), stop],
    )


def train_to_the_best(trainer: Trainer, run: Path, *, resume: bool) -> None:
    """Train, or continue to train, and leave the best checkpoint's weights in the model.

    Args:
        trainer: From :func:`make_trainer`.
        run: The run directory.
        resume: Continue from the newest whole checkpoint, if there is one.

    Raises:
        RuntimeError: No checkpoint was ever evaluated, or the best one is damaged.
    """
    checkpoint = None
    if resume:
        # The first one corrects paths in it, the others then find nothing to correct.
        with trainer.args.main_process_first(desc="finding the checkpoint"):
            checkpoint = runs.newest_whole_checkpoint(run)
    if checkpoint is None:
        if resume:
            logger.info(f"no checkpoint to resume in {run}; starting from the beginning")
        trainer.train()
    else:
        state = TrainerState.load_from_json(str(checkpoint / runs.STATE))
        if _was_over(state):
            logger.info(f"the training in {run} was over at step {state.global_step}; only its results are missing")
            trainer.state = state
        else:
            logger.info(f"resuming from {checkpoint}")
            trainer.train(resume_from_checkpoint=str(checkpoint))
    step = trainer.state.best_global_step
    if not step:
        raise RuntimeError(f"the training in {run} ended without an evaluation; is there at least one whole epoch?")
    weights = runs.checkpoint_at(run, step) / runs.WEIGHTS
    try:
        state_dict = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise RuntimeError(
            f"{weights}, the best checkpoint, cannot be read ({error}); train anew in another --output_dir"
        ) from error
    trainer.accelerator.unwrap_model(trainer.model).load_state_dict(state_dict)


def _was_over(state: TrainerState) -> bool:
    """Whether a checkpoint was the last one of its training, which then stopped before writing its results."""
    return state.global_step >= state.max_steps or bool(_stored(state, "TrainerControl").get("should_training_stop"))


def _stored(state: TrainerState, callback: str) -> dict[str, Any]:
    """What a checkpoint holds of a callback."""
    # In a loaded state it is a mapping by class name; in a state that never was on disk, a list.
    callbacks: Any = state.stateful_callbacks
    return dict(callbacks[callback]["args"]) if isinstance(callbacks, dict) and callback in callbacks else {}


def measure(trainer: Trainer, reviews: Dataset) -> dict[str, Any]:
    """Measure the model on encoded reviews, in float32 whatever it was trained in, as it will be used.

    Every process measures all reviews, so that none is counted twice.

    Args:
        trainer: Holds the model.
        reviews: Encoded reviews.

    Returns:
        As `evaluate_logits`.
    """
    return evaluate_logits(_exact_logits(trainer, reviews), reviews["label"][:])


def _exact_logits(trainer: Trainer, reviews: Dataset) -> np.ndarray:
    """Logits of POSITIVE in float32. *Shape:* (reviews,)."""
    logits = []
    for model, batch in exact_batches(trainer, reviews):
        with torch.inference_mode():
            output = model(**{name: batch[name] for name in ("input_ids", "attention_mask")})
        logits.append(output.logits[:, 1].float().cpu().numpy())
    return np.concatenate(logits)


def exact_batches(trainer: Trainer, reviews: Dataset) -> Iterator[tuple[Any, dict[str, Tensor]]]:
    """Encoded reviews in batches on the model's device, each with the model as it computes in float32.

    Args:
        trainer: Holds the model and makes the batches.
        reviews: Encoded reviews.
    """
    # What accelerate wraps around `forward` for mixed precision goes with the wrapper.
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval()
    for start in range(0, len(reviews), trainer.args.eval_batch_size):
        rows = range(start, min(start + trainer.args.eval_batch_size, len(reviews)))
        batch = trainer.data_collator([reviews[row] for row in rows])
        yield model, {name: tensor.to(model.device) for name, tensor in batch.items()}


def calibrate(trainer: Trainer, reviews: Dataset) -> float | None:
    """Divide the head's weights by the temperature under which the reviews are most probable (Guo et al. 2017).

    No decision changes.

    Args:
        trainer: Holds the model.
        reviews: Encoded validation reviews.

    Returns:
        The temperature; None where the reviews determine none, and then the weights stay as they are.
    """
    temperature = fit_temperature(_exact_logits(trainer, reviews), reviews["label"][:])
    if temperature is None:
        return None
    head = trainer.accelerator.unwrap_model(trainer.model).classifier
    with torch.no_grad():
        head.weight /= temperature
        head.bias /= temperature
    return temperature


def assert_best(trainer: Trainer, reviews: Dataset) -> None:
    """Check that the weights in hand have the score that they were chosen for.

    Args:
        trainer: After the training.
        reviews: Encoded validation reviews.

    Raises:
        RuntimeError: They do not.
    """
    state = trainer.state
    name = str(trainer.args.metric_for_best_model).removeprefix("eval_")
    # By the Trainer, in the precision in which it chose.
    prediction: Any = trainer.predict(reviews)
    again, recorded = evaluate_logits(_logits(prediction.predictions), prediction.label_ids)[name], state.best_metric
    if recorded is None or abs(again - recorded) > 1e-6:
        raise RuntimeError(
            f"the checkpoint of step {state.best_global_step} was chosen for a validation {name} of {recorded}, but "
            f"has {again} when loaded again; its weights cannot be trusted"
        )


def training_facts(trainer: Trainer) -> dict[str, Any]:
    """Epochs, time and speed, over all sessions of a resumed run.

    Args:
        trainer: After the training.
    """
    state = trainer.state
    # A resume makes callbacks anew; a training that was over already has the clock in its last checkpoint only.
    clocks = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, Clock)]
    clock = max([*clocks, Clock(**_stored(state, "Clock"))], key=lambda clock: clock.seconds)
    best = [e["epoch"] for e in state.log_history if e.get("step") == state.best_global_step and "eval_loss" in e]
    return {
        "best_epoch": _plain(best[0]),
        "epochs": _plain(float(state.epoch or 0)),
        "train_seconds": round(clock.seconds, 1),
        "train_cpu_seconds": round(clock.cpu_seconds, 1),
        "train_tokens_per_second": round(state.num_input_tokens_seen / clock.seconds),
        "history": epoch_history(state.log_history),
    }


def _plain(epochs: float) -> int | float:
    """Whole epochs without a decimal point."""
    return int(epochs) if float(epochs).is_integer() else round(epochs, 2)


def epoch_history(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """The Trainer's log as one entry per evaluation.

    Args:
        log: `TrainerState.log_history`.

    Returns:
        For each evaluation "epoch", "train_loss" (mean of what was logged since the last one), "validation_loss" and
        "validation_accuracy", as far as they were measured.
    """
    history: list[dict[str, float]] = []
    losses: list[float] = []
    steps: list[float] = []
    before = 0.0
    for entry in log:
        if "loss" in entry:
            losses.append(entry["loss"])
            # An entry covers the steps since the one before it, which may be fewer where a training was stopped.
            steps.append(entry["step"] - before)
            before = entry["step"]
        elif "eval_loss" in entry:
            row = {"epoch": _plain(entry["epoch"]), "validation_loss": entry["eval_loss"]}
            if "eval_accuracy" in entry:
                row["validation_accuracy"] = entry["eval_accuracy"]
            if losses:
                row["train_loss"] = float(np.average(losses, weights=steps))
            history.append(row)
            losses, steps = [], []
    return history
