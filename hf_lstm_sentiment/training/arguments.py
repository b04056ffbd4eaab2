"""The Trainer's arguments: which may be changed, which machine and processes they are for, what goes to the Hub."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from ..hub.push import PushedRun, check_destination, full_repo_id, push_run
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
    # Each would choose the best epoch by other figures than those that are published, or lose the figures.
    "bf16_full_eval": False,
    "fp16_full_eval": False,
    "prediction_loss_only": False,
    "batch_eval_metrics": False,
    "eval_do_concat_batches": True,
    "dataloader_drop_last": False,
    "label_names": None,
}
_REFUSED: Mapping[str, str] = {
    "label_smoothing_factor": "it bypasses the model's own loss",
    "resume_from_checkpoint": "pass resume (--resume), which takes the newest whole checkpoint of the run",
}
_POSITIVE = (
    "gradient_accumulation_steps",
    "learning_rate",
    "num_train_epochs",
    "per_device_eval_batch_size",
    "per_device_train_batch_size",
)
# What is measured of two labels only, and of more.
_OF_TWO, _OF_MANY = ("precision", "recall", "f1", "roc_auc"), ("macro_f1",)
# Each metric that can choose the best epoch, and whether more of it is better.
_METRICS: Mapping[str, bool] = {
    **dict.fromkeys(("accuracy", *_OF_TWO, *_OF_MANY), True),
    "expected_calibration_error": False,
    "loss": False,
}
# Trackers whose module and package have another name.
_TRACKERS = {
    "azure_ml": ("azureml", "azureml-sdk"),
    "flyte": ("flytekit", "flytekit"),
    "tensorboard": ("tensorboard", '"hf_lstm_sentiment[tensorboard]"'),
}
# Options that transformers no longer has, and what takes their place.
_GONE: Mapping[str, str] = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "group_by_length": "train_sampling_strategy group_by_length",
    "warmup_ratio": "warmup_steps, which below 1 is a share of all steps",
    "logging_dir": "the environment variable TENSORBOARD_LOGGING_DIR",
    "overwrite_output_dir": "resume, or another output_dir",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "half_precision_backend": "bf16 or fp16",
    "fp16_backend": "fp16",
    "use_mps_device": "nothing: an accelerator that is there is used",
}


def check_arguments(given: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Refuse fields of `TrainingArguments` that would break a training which relies on the fixed ones."""
    known, fixed = {f.name for f in fields(TrainingArguments)}, {**_FIXED, **fixed}
    for name, value in given.items():
        if name not in known:
            raise ValueError(unknown_option(name))
        if name in _REFUSED and value:
            raise ValueError(f"{name} cannot be used here: {_REFUSED[name]}")
        if name in fixed and value != fixed[name]:
            raise ValueError(f"{name} is {value!r}; the training relies on {fixed[name]!r}, leave it out")
        if name in _POSITIVE and not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}; allowed: a finite number above 0")
    metric = str(given.get("metric_for_best_model") or "accuracy").removeprefix("eval_")
    if metric not in _METRICS:
        raise ValueError(f"metric_for_best_model is {metric!r}; allowed: {', '.join(_METRICS)}")
    if given.get("greater_is_better") not in (None, _METRICS[metric]):
        raise ValueError(
            f"greater_is_better is {given['greater_is_better']}, which would keep the worst epoch by {metric}; leave "
            "it out"
        )
    trackers = given.get("report_to") or []
    for tracker in {trackers} if isinstance(trackers, str) else {*trackers}:
        # It refuses those that it does not know.
        if tracker in ("all", "none") or not get_reporting_integration_callbacks([tracker]):
            continue
        module, package = _TRACKERS.get(tracker, (tracker, tracker.replace("_", "-")))
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"report_to is {tracker!r}, which is not installed: pip install {package}")


def check_metric(arguments: TrainingArguments, labels: Sequence[str]) -> None:
    """Refuse to choose the best epoch by what is not measured of so many labels."""
    metric = str(arguments.metric_for_best_model).removeprefix("eval_")
    missing = _OF_TWO if len(labels) > 2 else _OF_MANY
    if metric in missing:
        raise ValueError(
            f"metric_for_best_model is {metric!r}, which is not measured of {len(labels)} labels; allowed: "
            f"{', '.join(name for name in _METRICS if name not in missing)}"
        )


def unknown_option(name: str) -> str:
    """Say in one line that there is no such option, and which one takes its place."""
    instead = f"transformers has given it up; use {_GONE[name]}" if name in _GONE else "train --help_all lists all"
    return f"{name} is no option; {instead}"


def make_arguments(recipe: Preset, run: Path, *, seed: int, given: Mapping[str, Any]) -> TrainingArguments:
    """Make the training arguments of a preset, with fields that differ from it as :func:`check_arguments` allows."""
    metric = str(given.get("metric_for_best_model") or recipe.metric_for_best_model)
    defaults = {
        **recipe.training_arguments(),
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_strategy": "epoch",
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
    chosen = {"metric_for_best_model": metric, "greater_is_better": _METRICS[metric.removeprefix("eval_")]}
    return TrainingArguments(
        output_dir=str(run / runs.CHECKPOINTS), seed=seed, **{**defaults, **_FIXED, **given, **chosen}
    )


def describe_optimization(arguments: TrainingArguments) -> dict[str, Any]:
    """Say how the weights were really fitted, whatever the preset says."""
    on_cpu = arguments.device.type == "cpu"
    precision = "bfloat16" if arguments.bf16 else "TF32" if arguments.tf32 and not on_cpu else "float32"
    if arguments.bf16 and on_cpu and not autocast_computes_lstm(torch.bfloat16):
        precision += ", LSTM in float32"
    # Autocast to float16 does nothing on a CPU.
    if arguments.fp16 and not on_cpu:
        precision = "float16"
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


@dataclass(frozen=True)
class HubArguments:
    """Where a run is to be pushed once it is finished, as for `push_run`; the name may lack its user."""

    repo_id: str
    token: str | None = field(default=None, repr=False)
    private: bool | None = None
    revision: str | None = None

    def check(self) -> None:
        """Refuse a place where the run cannot be pushed."""
        repo_id = full_repo_id(self.repo_id, token=self.token)
        check_destination(repo_id, private=self.private, revision=self.revision, token=self.token)

    def push(self, run: Path) -> PushedRun:
        """Publish the finished run, or say how to publish it without training it again."""
        try:
            repo_id = full_repo_id(self.repo_id, token=self.token)
            return push_run(run, repo_id, private=self.private, revision=self.revision, token=self.token)
        except (OSError, ValueError) as error:
            # Kinds of OSError may take other arguments.
            kind = next(k for k in (ConnectionError, PermissionError, OSError, ValueError) if isinstance(error, k))
            raise kind(
                f"the run is finished, but not published: {error}\n"
                "Pass resume (--resume) to push it without training it again, or use hf-lstm-sentiment push"
            ) from error


def take_hub_arguments(given: MutableMapping[str, Any], run: Path) -> HubArguments | None:
    """Take everything about the Hub out of the arguments that go to the Trainer and into the run's records.

    The Trainer itself would push every checkpoint, with a card that knows nothing of the data and a pickle of its
    arguments. The repository is called as the run directory where it is given no name.
    """
    strategy = given.pop("hub_strategy", None)
    strategy = getattr(strategy, "value", strategy)
    if strategy not in (None, "end"):
        raise ValueError(f"hub_strategy is {strategy!r}; a run is pushed once, when it is finished; allowed: 'end'")
    if given.pop("hub_always_push", False):
        raise ValueError("hub_always_push is True; a run is pushed once, when it is finished; leave it out")
    wanted = given.pop("push_to_hub", False)
    names = ("hub_model_id", "hub_token", "hub_private_repo", "hub_revision")
    model_id, token, private, revision = values = [given.pop(name, None) for name in names]
    if wanted:
        return HubArguments(model_id or run.name, token, private, revision)
    if unused := [name for name, value in zip(names, values, strict=True) if value is not None]:
        raise ValueError(f"{unused[0]} is given, but push_to_hub is not; pass push_to_hub (--push_to_hub) too")
    return None
