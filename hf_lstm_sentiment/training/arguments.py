"""The Trainer's arguments for a preset: which may be changed, which machine and processes they are for."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from ..model.packed_lstm import autocast_computes_lstm
from ..utils import run_directory as runs
from ..utils.distributed import refuse_to_be_alone
from .presets import Preset

logger = logging.getLogger(__name__)

# What the training itself relies on. The values are not open to the caller.
_FIXED_ARGUMENTS: Mapping[str, Any] = {
    "load_best_model_at_end": True,
    "save_only_model": False,
    "remove_unused_columns": False,
    "restore_callback_states_from_checkpoint": True,
    "include_num_input_tokens_seen": "non_padding",
}
_REFUSED_ARGUMENTS: Mapping[str, str] = {
    "label_smoothing_factor": "it bypasses the model's own loss",
    "resume_from_checkpoint": "pass resume (--resume), which takes the newest whole checkpoint of the run",
}

_POSITIVE_ARGUMENTS = (
    "gradient_accumulation_steps",
    "learning_rate",
    "num_train_epochs",
    "per_device_eval_batch_size",
    "per_device_train_batch_size",
)
_METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "expected_calibration_error", "loss")


def use_cpu_threads(wanted: int | None, arguments: TrainingArguments) -> int:
    """Let this process compute with its share of the machine's cores.

    `accelerate launch` sets OMP_NUM_THREADS to 1 unless it is told a number, which leaves all cores but one idle.
    That 1 is overruled here, with a message; any other value that the environment holds is kept.

    Args:
        wanted: Threads per process; None for the share of this process.
        arguments: Tell how many processes share the machine.

    Returns:
        The threads in use.

    Raises:
        ValueError: Fewer than 1 thread is wanted.
    """
    if wanted is not None and wanted < 1:
        raise ValueError(f"num_threads is {wanted}; allowed: at least 1")
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1"
    if wanted is None and launched:
        import psutil

        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        cores = min(allowed, psutil.cpu_count(logical=False) or allowed)
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", arguments.world_size))
        wanted = max(cores // processes, 1)
        if wanted > 1:
            logger.info(f"computing with {wanted} threads; accelerate launch allowed 1 (num_threads chooses)")
    if wanted is not None:
        torch.set_num_threads(wanted)
    return torch.get_num_threads()


def check_processes(arguments: TrainingArguments) -> None:
    """Refuse to train alone where several processes were asked for.

    Args:
        arguments: Tell how many processes there are.

    Raises:
        ValueError: There is one, and more were asked for.
    """
    wanted = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted > 1 and arguments.world_size != wanted:
        raise ValueError(
            f"this is one of {wanted} processes and does not hear of the others ({arguments.world_size} of them joined "
            "it); leave use_cpu out, or pass it where the machine has an accelerator that is not to be used"
        )
    if arguments.world_size == 1:
        refuse_to_be_alone()


def check_arguments(given: Mapping[str, Any]) -> None:
    """Refuse training arguments that would break the training.

    Args:
        given: Fields of `TrainingArguments`.

    Raises:
        ValueError: One of them cannot be changed or does not work here; the message says why.
    """
    for name, value in given.items():
        if name in _REFUSED_ARGUMENTS and value:
            raise ValueError(f"{name} cannot be used here: {_REFUSED_ARGUMENTS[name]}")
        if name in _FIXED_ARGUMENTS and value != _FIXED_ARGUMENTS[name]:
            raise ValueError(f"{name} is {value!r}; the training relies on {_FIXED_ARGUMENTS[name]!r}, leave it out")
        if name in _POSITIVE_ARGUMENTS and not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}; allowed: a finite number above 0")
    metric = str(given.get("metric_for_best_model", "accuracy")).removeprefix("eval_")
    if metric not in _METRICS:
        raise ValueError(f"metric_for_best_model is {metric!r}; allowed: {', '.join(_METRICS)}")


def make_arguments(recipe: Preset, run: Path, *, seed: int, given: Mapping[str, Any]) -> TrainingArguments:
    """Training arguments of a preset.

    Args:
        recipe: The preset.
        run: The run directory.
        seed: Seed of dropout and of the order of the reviews.
        given: Fields that differ from the preset, as :func:`check_arguments` allows them.
    """
    defaults = {
        **recipe.training_arguments(),
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_strategy": "epoch",
        # The best one and the newest one.
        "save_total_limit": 2,
        "metric_for_best_model": "accuracy",
        "report_to": "none",
        # accelerate joins processes on CPUs only if told that it is CPUs, and else trains in each of them alone.
        "use_cpu": not torch.accelerator.is_available(),
        # Without an accelerator there is nothing to pin for, and torch warns.
        "dataloader_pin_memory": torch.accelerator.is_available(),
    }
    return TrainingArguments(
        output_dir=str(run / runs.CHECKPOINTS), seed=seed, **{**defaults, **given, **_FIXED_ARGUMENTS}
    )


def optimisation(arguments: TrainingArguments) -> dict[str, Any]:
    """How the weights were really fitted, whatever the preset says.

    Args:
        arguments: Of the training.
    """
    precision = "bfloat16" if arguments.bf16 else "float16" if arguments.fp16 else "float32"
    if arguments.bf16 and arguments.device.type == "cpu" and not autocast_computes_lstm(torch.bfloat16):
        precision += ", LSTM in float32"
    return {
        "optimizer": OptimizerNames(arguments.optim).value,
        "learning_rate": arguments.learning_rate,
        "learning_rate_schedule": SchedulerType(arguments.lr_scheduler_type).value,
        "weight_decay": arguments.weight_decay,
        **({"max_grad_norm": arguments.max_grad_norm} if arguments.max_grad_norm else {}),
        "batch_size": arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size,
        "batches": "of similar length" if arguments.train_sampling_strategy == "group_by_length" else "random",
        "precision": precision,
    }
