"""Stop a training without losing it: at a signal, or when a checkpoint cannot be written."""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import IntervalStrategy

from ..utils import run_directory as runs
from ..utils.messages import first_line

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingStopped(KeyboardInterrupt):
    """A training that was stopped by a signal; `resume` continues it from a step that is saved, if there is one."""

    def __init__(self, number: int, step: int | None = None) -> None:
        safe = f"step {step} is saved" if step is not None else "what came after the last checkpoint is lost"
        super().__init__(f"stopped by {signal.Signals(number).name}; {safe}")
        self.number = number


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """Handle a signal that comes before a training or after it, by raising :class:`TrainingStopped`."""
    raise TrainingStopped(number)


class StopAtSignal(TrainerCallback):
    """Ends a training at the first step after a signal, with a checkpoint.

    A second signal, and one that comes before the first step or after the last one, ends it at once.
    """

    # The number of the signal that this process was told, and of that at which all processes stop.
    _told = _agreed = 0
    _training = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM, where this is the main thread, which alone may."""
        alone = threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, self._receive) for number in _SIGNALS if alone}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._told or not self._training:
            raise TrainingStopped(number)
        self._told = number
        # A launcher tells all processes, one after another: where another one was told first, this is not the second.
        if not self._agreed:
            # Not through logging: whatever was running may be in the middle of a line of it.
            os.write(2, b"\nstopping after this step; once more stops at once, without saving\n")

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Signals wait for a step from here on."""
        self._training = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint if any process got a signal."""
        told = self._told
        if args.world_size > 1:
            # Saving is done together, so all must stop at the same step.
            highest = torch.tensor(told, device=args.device)
            torch.distributed.all_reduce(highest, op=torch.distributed.ReduceOp.MAX)
            told = int(highest)
        self._agreed = told
        # After the last step of an epoch its evaluation comes, and the checkpoint after that: one from before would
        # continue with the next epoch, never evaluating this one.
        over = state.global_step >= state.max_steps or float(state.epoch or 0).is_integer()
        if told and (args.eval_strategy != IntervalStrategy.EPOCH or not over):
            # The loss since the last entry of the log would else be missing from the history.
            control.should_save = control.should_log = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End the training once the checkpoint is there."""
        if self._agreed:
            raise TrainingStopped(self._agreed, state.global_step)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """End here if the signal came after the last step."""
        self._training = False
        if number := self._agreed or self._told:
            raise TrainingStopped(number, state.global_step)


class _LengthGroupedSampler(LengthGroupedSampler):
    """Batches of similar length, drawn anew in each epoch from a seed of its own.

    The one of transformers draws from the global generator, which dropout moves in each process at its own pace:
    reviews would be missed, and a training that continues in the middle of an epoch would draw another order.
    """

    def __init__(self, sampler: LengthGroupedSampler, seed: int) -> None:
        super().__init__(sampler.batch_size, lengths=sampler.lengths)
        self._seed = seed

    def set_epoch(self, epoch: int) -> None:
        self.generator = torch.Generator().manual_seed(self._seed + epoch)


def _is_not_of_quick_epochs(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("mtime may not be reliable")


class SafeTrainer(Trainer):
    """A Trainer that tells a full disk from a defect, pickles no arguments, and resumes in the middle of an epoch."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        checkpoint = runs.checkpoint_at(Path(str(self.args.output_dir)).parent, self.state.global_step)
        # transformers warns of a file system whose times are false when two epochs took less than a second.
        logging.getLogger("transformers.trainer_utils").addFilter(_is_not_of_quick_epochs)
        with telling_of_a_full_disk(checkpoint, "the checkpoint before it is whole", remove=True):
            super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # As the base class, but for the arguments, a pickle that nothing of ours reads.
        if self.args.should_save:
            model: Any = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            target = str(output_dir or self.args.output_dir)
            model.save_pretrained(target, state_dict=state_dict)
            if self.processing_class is not None:
                self.processing_class.save_pretrained(target)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # Each process writes one; the state of the training alone comes after it.
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            runs.record_files(Path(output_dir))

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler[Any] | None:
        sampler = super()._get_train_sampler(*args, **kwargs)
        if isinstance(sampler, LengthGroupedSampler):
            seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
            return _LengthGroupedSampler(sampler, seed)
        return sampler


@contextmanager
def telling_of_a_full_disk(path: Path, state: str, *, remove: bool = False) -> Iterator[None]:
    """Turn failures to write a directory into one kind of error, an OSError that says what is whole."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch's writer of files raises a RuntimeError, and so does a lost process.
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):
            raise
        if remove:
            shutil.rmtree(path, ignore_errors=True)
        free = shutil.disk_usage(path.parent).free / 1e6
        raise OSError(
            f"{path} could not be written ({first_line(error)}); {free:,.1f} MB are free there; {state}. Make room, "
            "then run the same command with --resume"
        ) from error
