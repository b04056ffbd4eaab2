"""The skeleton of every training: the Hugging Face Trainer, the best checkpoint, what is measured and written."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainerState, set_seed
from transformers.trainer_callback import ExportableState

from ..data.encoding import PaddingCollator, encode_reviews, longest_first
from ..data.reviews import SAMPLING
from ..evaluation.metrics import evaluate_logits
from ..hub.push import PushedRun, check_destination
from ..utils import run_directory as runs
from ..utils.files import json_ready, only_writer, read_json, write_json
from ..utils.threads import flushing_denormals, use_cpu_threads
from .arguments import check_metric, describe_optimization, make_arguments, publish, take_hub_arguments
from .inputs import Inputs
from .interrupt import SafeTrainer, StopAtSignal, telling_of_a_full_disk
from .presets import DEFAULTS, Preset

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "evaluate", "accelerate", "huggingface_hub")


class Body:
    """What trainings differ in.

    Attributes:
        fixed: Fields of `TrainingArguments` that the caller cannot choose.
        classifies: Whether it is of labels: then it stops early and can be pushed. Else it is of unlabeled reviews too.
    """

    fixed: ClassVar[Mapping[str, Any]] = {}
    classifies = True

    def parts(self, inputs: Inputs) -> dict[str, Dataset]:
        """The reviews, not tokenized yet: "train", "validation" and whatever is measured on."""
        raise NotImplementedError

    def make_model(self, inputs: Inputs, encoded: Mapping[str, Dataset]) -> PreTrainedModel:
        """Make the model, with random weights."""
        raise NotImplementedError

    def validate(self, trainer: Trainer, inputs: Inputs, encoded: Mapping[str, Dataset]) -> dict[str, Any]:
        """Measure the validation reviews."""
        raise NotImplementedError

    def measure(self, trainer: Trainer, inputs: Inputs, encoded: Mapping[str, Dataset]) -> dict[str, Any]:
        """Check, calibrate and measure the best weights; what `metrics.json` says of it."""
        raise NotImplementedError

    def describe(self, run: Path, recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        """Write what is shown beside the weights."""


# From its start: torch's threads compute as the thread that starts them did then.
@flushing_denormals()
def run_recipe(
    body: Body,
    recipe: Preset,
    run: Path,
    *,
    seed: int = 42,
    flags: Mapping[str, Any] = MappingProxyType({}),
    texts: tuple[Iterable[str], Iterable[Any]] | None = None,
    resume: bool = False,
    num_threads: int | None = None,
    **given: Any,
) -> tuple[dict[str, Any], PushedRun | None]:
    """Train a recipe and write a run directory, or finish what lies there; arguments and errors as for :func:`train`.

    `flags` is what of the recipe is the caller's choice, for the card; `given` are options of the reviews and of the
    Trainer. Returns the content of `metrics.json`, and where the run was pushed.
    """
    if not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise ValueError(f"seed is {seed!r}; allowed: a whole number from 0 to {2**32 - 1}")
    usual = {"split_seed": 42}
    sampling = {name: value for name in SAMPLING if (value := given.pop(name, usual.get(name))) is not None}
    hub = take_hub_arguments(given, run)
    if hub is not None and not body.classifies:
        raise ValueError("push_to_hub is True; a language model is not published, leave it out")
    arguments = make_arguments(recipe, run, seed=seed, given=given, fixed=body.fixed)
    inputs = Inputs(recipe, sampling, unlabeled=not body.classifies, given=texts)
    recipe = inputs.recipe
    # Now, not when hours of training wait to be written down.
    options = json_ready({**flags, **sampling, **given})
    threads = use_cpu_threads(num_threads, arguments.world_size)
    writes, finished = arguments.should_save, resume and runs.is_finished(run)
    # Of a finished run, which may lie there already, pushing finds out more.
    if writes and hub is not None and not finished:
        check_destination(**hub)
    run.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(run) if writes else nullcontext():
        if writes:
            # Another number of processes makes batches of another size.
            processes = {"processes": arguments.world_size} if arguments.world_size > 1 else {}
            before = {**asdict(recipe), "seed": seed, **options, **processes}
            runs.prepare(run, before, resume=resume, defaults=DEFAULTS)
        with arguments.main_process_first(desc="reading the reviews"):
            if body.classifies:
                check_metric(str(arguments.metric_for_best_model), inputs.reviews.label_names)
            digests = inputs.found_digests if finished else inputs.digests
            if writes:
                tokenizer = None if finished else json.loads(inputs.tokenizer.backend_tokenizer.to_str())
                runs.check_contents(run, digests, tokenizer=tokenizer)
            encoded = {} if finished else _encode(body.parts(inputs), inputs)
        if finished:
            logger.info(f"{run} is finished; nothing is left to train")
            return read_json(run / runs.METRICS), publish(run, hub) if hub is not None and writes else None

        set_seed(seed)
        model = body.make_model(inputs, encoded)
        facts = inputs.start(model, seed)
        stop = StopAtSignal()
        early = [EarlyStoppingCallback(early_stopping_patience=recipe.patience)] if body.classifies else []
        trainer = SafeTrainer(
            model=model,
            args=arguments,
            train_dataset=encoded["train"],
            eval_dataset=encoded["validation"],
            processing_class=inputs.tokenizer,
            # The stop comes last: another callback may ask for an evaluation in the same step.
            callbacks=[Clock(), *early, stop],
            compute_metrics=_compute_metrics if body.classifies else None,
            data_collator=PaddingCollator(
                inputs.tokenizer.pad_token_id, pad_to=recipe.max_length if recipe.naive_padding else None
            ),
        )
        logger.info(
            f"training {recipe.name} on {arguments.device}: {len(encoded['train']):,} reviews of "
            f"{inputs.reviews.source}, {model.num_parameters():,} parameters, {len(inputs.tokenizer):,} tokens"
        )
        start = time.perf_counter()
        with stop.listening():
            base = facts.get("base_model", {})
            if "head" in base.get("kept", ()):
                facts["base_validation"] = body.validate(trainer, inputs, encoded)
            _train_to_the_best(trainer, run, resume=resume, base=facts.get("base_validation"))
        if not trainer.state.best_global_step:
            facts["dataset"]["notes"].append(f"no epoch was better than {base['name']}, which is kept")
        metrics = {
            "preset": recipe.name,
            "seed": seed,
            **facts,
            "parameters": model.num_parameters(),
            "trainable_parameters": model.num_parameters(only_trainable=True),
            # Of this session alone, evaluation and checkpoints included; `train_seconds` has the steps of all of them.
            "fit_seconds": round(time.perf_counter() - start, 1),
            **body.measure(trainer, inputs, encoded),
            **_training_facts(trainer),
            "training": describe_optimization(arguments),
            "options": options,
            "device": str(arguments.device),
            "processes": arguments.world_size,
            "threads": threads,
            "versions": runs.versions(*_PACKAGES),
        }
        if writes:
            with telling_of_a_full_disk(run, "the training itself is done"):
                trainer.accelerator.unwrap_model(trainer.model).save_pretrained(run)
                inputs.tokenizer.save_pretrained(run)
                body.describe(run, asdict(recipe), metrics)
                # Last: it marks the run as finished.
                write_json(metrics, run / runs.METRICS)
        trainer.accelerator.wait_for_everyone()
    return metrics, publish(run, hub) if hub is not None and writes else None


def _encode(parts: Mapping[str, Dataset], inputs: Inputs) -> dict[str, Dataset]:
    """Tokenize reviews; those that are held out, whose order decides nothing, come by their length."""
    recipe = inputs.recipe
    lengths = dict.fromkeys(parts, recipe.max_length) | {"train": recipe.train_max_length or recipe.max_length}
    encoded = {name: encode_reviews(part, inputs.tokenizer, max_length=lengths[name]) for name, part in parts.items()}
    return {name: part if name == "train" else longest_first(part) for name, part in encoded.items()}


class Clock(TrainerCallback, ExportableState):
    """Seconds of training steps and their data loading, by the wall and of all threads; survives a resume.

    Evaluation and saving do not count. What other processes do to the machine hardly changes the processor's seconds.
    """

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self.seconds, self.cpu_seconds = seconds, cpu_seconds
        self._restart()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}, "attributes": {}}

    def _restart(self, *args: Any, **kwargs: Any) -> None:
        self._mark, self._cpu_mark = time.perf_counter(), time.process_time()

    on_epoch_begin = on_evaluate = on_save = _restart

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Count the step."""
        self.seconds -= self._mark
        self.cpu_seconds -= self._cpu_mark
        self._restart()
        self.seconds += self._mark
        self.cpu_seconds += self._cpu_mark


def _train_to_the_best(trainer: Trainer, run: Path, *, resume: bool, base: Mapping[str, Any] | None) -> None:
    """Train, or continue to train, and leave the best checkpoint's weights in the model, as they are in its file.

    With a `base` of the same labels, of which this was measured, the weights of the start are a candidate, too.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    start = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()} if base else {}
    checkpoint = runs.newest_whole_checkpoint(run) if resume else None
    state = TrainerState.load_from_json(str(checkpoint / runs.STATE)) if checkpoint else None
    if resume:
        logger.info(f"resuming from {checkpoint}" if checkpoint else f"no checkpoint to resume in {run}; starting anew")
    # After its last checkpoint, it stopped before writing its results.
    if state and (state.global_step >= state.max_steps or _stored(state, "TrainerControl").get("should_training_stop")):
        trainer.state = state
    else:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    step = trainer.state.best_global_step
    if not step:
        raise RuntimeError(f"the training in {run} ended without an evaluation; is there at least one whole epoch?")
    weights, state = load_file(runs.checkpoint_at(run, step) / runs.WEIGHTS), trainer.state
    if base:
        before = {"eval_loss": base["loss"], "eval_accuracy": base["accuracy"], "epoch": 0, "step": 0}
        state.log_history.insert(0, before)
        score, sign = base[str(trainer.args.metric_for_best_model)], 1 if trainer.args.greater_is_better else -1
        if sign * score >= sign * (state.best_metric or 0):
            state.best_metric, state.best_global_step, weights = score, 0, start
    trainer.accelerator.unwrap_model(trainer.model).float().load_state_dict(weights)


def _stored(state: TrainerState, callback: str) -> dict[str, Any]:
    """What a checkpoint holds of a callback."""
    # In a loaded state it is a mapping by class name; in a state that never was on disk, a list.
    callbacks: Any = state.stateful_callbacks
    return dict(callbacks[callback]["args"]) if isinstance(callbacks, dict) and callback in callbacks else {}


def exact_batches(trainer: Trainer, reviews: Dataset) -> Iterator[tuple[Any, dict[str, Tensor]]]:
    """Encoded reviews in batches, each with the trained model as it computes in float32.

    Every process gets all reviews, so that none is counted twice.
    """
    # What accelerate wraps around `forward` for mixed precision goes with the wrapper.
    exact: Any = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False, keep_torch_compile=False)
    exact.to(trainer.args.device).eval()
    # cuDNN's LSTM rounds to 10 bits unless told not to.
    cuda = torch.cuda.is_available()
    if cuda and hasattr(torch.backends, "fp32_precision"):  # torch 2.9; the older switches may not be mixed with it
        torch.backends.fp32_precision = "ieee"
    elif cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for start in range(0, len(reviews), trainer.args.eval_batch_size):
        rows = range(start, min(start + trainer.args.eval_batch_size, len(reviews)))
        batch = trainer.data_collator([reviews[row] for row in rows])
        yield exact, {name: tensor.to(exact.device) for name, tensor in batch.items()}


def free_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of two labels, that of the second one, as the first is zero. *Shape:* (reviews,) or (reviews, labels)."""
    return logits[:, 1] if logits.shape[1] == 2 else logits


def _compute_metrics(prediction: Any) -> dict[str, float]:
    """The metrics of an epoch, from the logits of each review."""
    measured = evaluate_logits(free_logits(prediction.predictions), prediction.label_ids)
    # The loss takes the place of the Trainer's, which is of batches that processes were filled up with. The Trainer has
    # its own counts, and trackers take numbers only.
    return {name: value for name, value in measured.items() if isinstance(value, float)}


def _training_facts(trainer: Trainer) -> dict[str, Any]:
    """Epochs, time and speed, over all sessions of a resumed run; what was measured at the end of each epoch."""
    state, history = trainer.state, []
    # A resume makes callbacks anew; a training that was over already has the clock in its last checkpoint only.
    clocks = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, Clock)]
    clock = max([*clocks, Clock(**_stored(state, "Clock"))], key=lambda clock: clock.seconds)
    best, losses, ends = 0.0, [], [0]
    for entry in state.log_history:
        if "loss" in entry:
            losses.append(entry["loss"])
            ends.append(int(entry["step"]))
        elif "eval_loss" in entry:
            row = {"epoch": _plain(entry["epoch"]), "validation_loss": entry["eval_loss"]}
            if "eval_accuracy" in entry:
                row["validation_accuracy"] = entry["eval_accuracy"]
            if losses:
                # An entry covers the steps since the one before it, which may be fewer where a training was stopped.
                row["train_loss"] = float(np.average(losses, weights=np.diff(ends)))
            history.append(row)
            losses, ends = [], ends[-1:]
            best = row["epoch"] if entry["step"] == state.best_global_step else best
    return {
        "best_epoch": best,
        "epochs": _plain(state.epoch or 0),
        "train_seconds": round(clock.seconds, 1),
        "train_cpu_seconds": round(clock.cpu_seconds, 1),
        "train_tokens_per_second": round(state.num_input_tokens_seen / clock.seconds),
        "history": history,
    }


def _plain(epochs: float) -> int | float:
    """Whole epochs without a decimal point."""
    return int(epochs) if float(epochs).is_integer() else round(epochs, 2)
