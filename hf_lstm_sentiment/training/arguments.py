"""The Trainer's arguments: which may be changed, which machine and processes they are for, what goes to the Hub."""

import math
import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from ..hub.push import PushedRun, push_run
from ..model.packed_lstm import autocast_computes_lstm
from ..utils import run_directory as runs
from ..utils.distributed import refuse_to_be_alone
from .presets import Preset

# What the training itself relies on. The values are not open to the caller.
_FIXED: Mapping[str, Any] = {
    "load_best_model_at_end": True,
    "save_only_model": False,
    "remove_unused_columns": False,
    "restore_callback_states_from_checkpoint": True,
    "include_num_input_tokens_seen": "non_padding",
    # A resume takes the newest whole checkpoint.
    "resume_from_checkpoint": None,
    # It bypasses the model's own loss.
    "label_smoothing_factor": 0.0,
    # Each would choose the best epoch by other figures than those that are published, or lose the figures.
    "bf16_full_eval": False,
    "fp16_full_eval": False,
    "prediction_loss_only": False,
    "batch_eval_metrics": False,
    "eval_do_concat_batches": True,
    "dataloader_drop_last": False,
    "label_names": None,
    # The Trainer itself would push every checkpoint, with a card that knows nothing of the data and a pickle.
    "hub_strategy": "end",
    "hub_always_push": False,
}
# What recipes and `TrainingArguments` call the same.
_OF_RECIPE = ("learning_rate", "lr_scheduler_type", "warmup_steps", "max_grad_norm")
_BATCHES = ("per_device_train_batch_size", "per_device_eval_batch_size")
_POSITIVE = ("gradient_accumulation_steps", "learning_rate", "num_train_epochs", *_BATCHES)
# What is measured of two labels only, and of more.
_OF_TWO, _OF_MANY = ("precision", "recall", "f1", "roc_auc"), ("macro_f1",)
# Each metric that can choose the best epoch, and whether more of it is better.
_METRICS: Mapping[str, bool] = {
    **dict.fromkeys(("accuracy", *_OF_TWO, *_OF_MANY), True),
    "expected_calibration_error": False,
    "loss": False,
}
# Of `push_run`, what the Trainer calls otherwise.
_OF_PUSH = {"hub_model_id": "repo_id", "hub_token": "token", "hub_private_repo": "private", "hub_revision": "revision"}
# Options that transformers no longer has, and what takes their place.
_GONE: Mapping[str, str] = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "group_by_length": "train_sampling_strategy group_by_length",
    "warmup_ratio": "warmup_steps, which below 1 is a share of all steps",
    "logging_dir": "the environment variable TENSORBOARD_LOGGING_DIR",
    "overwrite_output_dir": "resume, or another output_dir",
}


def check_metric(metric: str, labels: Sequence[str] | None = None) -> None:
    """Refuse to choose the best epoch by what is not measured at all, or not of so many labels."""
    missing = () if labels is None else _OF_TWO if len(labels) > 2 else _OF_MANY
    allowed = [name for name in _METRICS if name not in missing]
    if metric not in allowed:
        of = f", which is not measured of {len(labels)} labels" if labels and metric in _METRICS else ""
        raise ValueError(f"metric_for_best_model is {metric!r}{of}; allowed: {', '.join(allowed)}")


def unknown_option(name: str) -> str:
    """Say in one line that there is no such option, and which one takes its place."""
    instead = f"transformers has given it up; use {_GONE[name]}" if name in _GONE else "train --help_all lists all"
    return f"{name} is no option; {instead}"


def make_arguments(
    recipe: Preset, run: Path, *, seed: int, given: Mapping[str, Any], fixed: Mapping[str, Any]
) -> TrainingArguments:
    """Make the training arguments of a preset; `given` fields differ from it, `fixed` ones may not be given."""
    name = "metric_for_best_model"
    metric = str(fixed.get(name) or given.get(name) or recipe.metric_for_best_model).removeprefix("eval_")
    check_metric(metric)
    # The other way round it would keep the worst epoch.
    fixed = {**_FIXED, **fixed, "greater_is_better": _METRICS[metric]}
    known = {f.name for f in fields(TrainingArguments)}
    for option, value in given.items():
        if option not in known:
            raise ValueError(unknown_option(option))
        if option in fixed and value not in (None, fixed[option]):
            instead = "; --resume continues a run" if option == "resume_from_checkpoint" else ""
            raise ValueError(f"{option} is {value!r}; the training relies on {fixed[option]!r}, leave it out{instead}")
        if option in _POSITIVE and not 0 < value < math.inf:
            raise ValueError(f"{option} is {value!r}; allowed: a finite number above 0")
    defaults = {
        **{name: getattr(recipe, name) for name in _OF_RECIPE},
        "num_train_epochs": recipe.epochs,
        **dict.fromkeys(_BATCHES, recipe.batch_size),
        "train_sampling_strategy": "group_by_length" if recipe.group_by_length else "random",
        # AdamW without weight decay is Adam (Kingma and Ba 2015).
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        **dict.fromkeys(("eval_strategy", "save_strategy", "logging_strategy"), "epoch"),
        # The best one and the newest one.
        "save_total_limit": 2,
        "report_to": "none",
        # cuDNN would else compute the LSTM in TF32, and the figures would not be those of float32.
        "tf32": False,
        # accelerate joins processes on CPUs only if told that it is CPUs, and else trains in each of them alone.
        "use_cpu": not torch.accelerator.is_available(),
        # Without an accelerator there is nothing to pin for, and torch warns.
        "dataloader_pin_memory": torch.accelerator.is_available(),
    }
    output_dir = str(run / runs.CHECKPOINTS)
    options = {**defaults, **given, **fixed, "metric_for_best_model": metric}
    arguments = TrainingArguments(output_dir=output_dir, seed=seed, **options)
    try:
        # One that is not installed says so when it is made, for which the Trainer has read all reviews first.
        for tracker in get_reporting_integration_callbacks(arguments.report_to):
            tracker()
    except RuntimeError as error:
        raise ModuleNotFoundError(f"report_to is {arguments.report_to}: {error}") from error
    check_processes(arguments)
    return arguments


def describe_optimization(arguments: TrainingArguments) -> dict[str, Any]:
    """Say how the weights were really fitted, whatever the preset says."""
    on_cpu = arguments.device.type == "cpu"
    precision = "bfloat16" if arguments.bf16 else "TF32" if arguments.tf32 and not on_cpu else "float32"
    if arguments.bf16 and on_cpu and not autocast_computes_lstm(torch.bfloat16):
        precision += ", LSTM in float32"
    # Autocast to float16 does nothing on a CPU.
    if arguments.fp16 and not on_cpu:
        precision = "float16"
    sampling = arguments.train_sampling_strategy
    return {
        "optimizer": OptimizerNames(arguments.optim).value,
        "learning_rate": arguments.learning_rate,
        "learning_rate_schedule": SchedulerType(arguments.lr_scheduler_type).value,
        "weight_decay": arguments.weight_decay,
        **({"max_grad_norm": arguments.max_grad_norm} if arguments.max_grad_norm else {}),
        "batch_size": arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size,
        "batches": "of similar length" if sampling == "group_by_length" else sampling,
        "precision": precision,
    }


def check_processes(arguments: TrainingArguments) -> None:
    """Refuse to train alone where several processes were asked for."""
    wanted = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted > 1 and arguments.world_size != wanted:
        raise ValueError(
            f"this is one of {wanted} processes and does not hear of the others ({arguments.world_size} of them joined "
            "it); leave use_cpu out, or pass it where the machine has an accelerator that is not to be used"
        )
    if arguments.world_size == 1:
        refuse_to_be_alone()


def take_hub_arguments(given: MutableMapping[str, Any], run: Path) -> dict[str, Any] | None:
    """Take what `push_run` needs out of the arguments that go to the Trainer and into the run's records.

    The repository is called like the run directory where no name is given. None where the run is not to be pushed.
    """
    taken = {name: value for name in _OF_PUSH if (value := given.pop(name, None)) is not None}
    if given.pop("push_to_hub", False):
        return {"repo_id": run.name, **{_OF_PUSH[name]: value for name, value in taken.items()}}
    if taken:
        raise ValueError(f"{', '.join(taken)} is given, but push_to_hub is not; pass push_to_hub (--push_to_hub) too")
    return None


def publish(run: Path, hub: Mapping[str, Any]) -> PushedRun:
    """Push the finished run, or say how to push it without training it again."""
    try:
        return push_run(run, **hub)
    except (OSError, ValueError) as error:
        # Kinds of OSError may take other arguments.
        kind = next(k for k in (ConnectionError, PermissionError, OSError, ValueError) if isinstance(error, k))
        raise kind(
            f"the run is finished, but not published: {error}\n"
            "Pass resume (--resume) to push it without training it again, or use hf-lstm-sentiment push"
        ) from error
