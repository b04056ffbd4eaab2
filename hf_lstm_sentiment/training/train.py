"""A preset and reviews in, a run directory out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from transformers import Trainer

from ..data.labels import SENTIMENT_NAMES
from ..data.reviews import READING
from ..evaluation.calibration import cross_validate_temperature, fit_temperature, measure_coverage
from ..evaluation.metrics import evaluate_logits
from ..evaluation.plots import plot_confusion_matrix, plot_coverage, plot_training_curves
from ..hub.model_card import EXAMPLES, make_model_card
from ..hub.push import CARD, PushedRun
from ..inference.classifier import Classifier
from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from ..utils.files import user_path
from ..utils.imports import require
from ..utils.messages import check_count, shown
from .inputs import Inputs
from .presets import DEFAULTS, PRESETS, Preset, find_preset
from .trainer import Body, exact_batches, free_logits, run_recipe

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

# What of a preset is chosen for each training.
_FLAGS = ("extend_vocab", "freeze_encoder", "class_weights")
# What a preset does that has no use for a source.
_UNUSED = {
    "glove": "does not start from word vectors",
    "soft_labels": "has no teachers",
    "pretrained": "does not start from a language model",
}


@dataclass(frozen=True)
class TrainingResult:
    """What a training left behind.

    Attributes:
        run_directory: Model, tokenizer, card, metrics and plots.
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
        metrics = self.metrics
        validation, test, dataset = metrics["validation"], metrics["test"], metrics["dataset"]
        if "macro_f1" in test:
            detail = f"macro F1 {test['macro_f1']:.2%}"
        else:
            confusion = test["confusion_matrix"]
            detail = f"{confusion['fp']:,} false positives, {confusion['fn']:,} false negatives"
        facts = {
            "validation accuracy": f"{validation['accuracy']:.2%}  ({dataset['validation']:,} reviews)",
            "test accuracy": f"{test['accuracy']:.2%}  ({dataset['test']:,} reviews, {detail}, calibration error "
            f"{test['expected_calibration_error']:.3f})",
        }
        # A few of thousands decide nothing; the card tells of every one.
        if (shared := dataset["in_train_too"]["test"]) > 0.01 * dataset["test"]:
            apart = test.get("without_overlap")
            without = f"; test accuracy without them {apart['accuracy']:.2%}" if apart else ""
            facts["overlap"] = f"{shared:,} test reviews are trained on, too{without}"
        if glove := metrics.get("glove"):
            tokens = f"{glove['matched']:,} of {glove['vocabulary']:,} tokens ({glove['coverage']:.2%})"
            facts["word vectors"] = f"{tokens}, {glove['source']}"
        if before := metrics.get("base_validation"):
            facts["before training"] = f"{before['accuracy']:.2%} validation accuracy"
        lines = [
            f"\n{metrics['preset']}, seed {metrics['seed']}: best epoch {metrics['best_epoch']} of "
            f"{metrics['epochs']}, {metrics['train_seconds']:,.0f} s of training, "
            f"{metrics['train_tokens_per_second']:,} tokens a second on {metrics['device']}",
            *(f"  {what:<20} {said}" for what, said in facts.items()),
            *(f"  note                 {note}" for note in dataset["notes"]),
            *(f"  {label:<8} {score:.3f}     {text}" for text, label, score in self.examples),
            f"Model, card, metrics and plots: {os.path.relpath(self.run_directory)}",
        ]
        if self.pushed is not None:
            tag = f", tag {self.pushed.tag}" if self.pushed.tag else ""
            lines.append(f"On the Hub: {self.pushed.url}, commit {self.pushed.commit}{tag}\n\n{self.pushed.snippet}")
        return "\n".join(lines)


def train(
    preset: str | Preset | None = None,
    *,
    dataset: str | os.PathLike[str] | None = None,
    texts: Iterable[str] | None = None,
    labels: str | Mapping[str, str] | Iterable[Any] | None = None,
    glove: str | os.PathLike[str] | None = None,
    soft_labels: str | os.PathLike[str] | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    model_name_or_path: str | os.PathLike[str] | None = None,
    extend_vocab: int | None = None,
    freeze_encoder: bool | None = None,
    class_weights: str | Sequence[float] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    seed: int = 42,
    resume: bool = False,
    num_threads: int | None = None,
    **options: Any,
) -> TrainingResult:
    """Train a preset and write a run directory that can be pushed to the Hub as it is.

    Early stopping and the choice of the best epoch look at the validation reviews only. The test reviews are read
    once, at the end, by the best checkpoint.

    Args:
        preset: A name out of `PRESETS`, or a preset of your own; where None, "finetune" with `model_name_or_path`, and
            "v2_glove" without.
        dataset: Where the reviews come from, as for `load_reviews`; the preset's source where None.
        texts: The reviews themselves, in the place of a dataset: a list, a column of a table or the like.
        labels: With `texts`, the label of each: texts, whole numbers or booleans. With a dataset, what its labels mean,
            as for `load_reviews`.
        glove: Where the word vectors come from, as for `load_glove`; the preset's source where None. A preset that
            learns its vectors from scratch does not use it, and says so.
        soft_labels: The directory of the teachers, as :func:`teach` wrote it; the preset's where None. For presets
            that learn from teachers only.
        pretrained: The directory of the language model, as :func:`pretrain` wrote it; the preset's where None. For
            presets that start from one only.
        model_name_or_path: A trained classifier to start from: one that comes with the package ("reviews"), a run
            directory, or a repository of the Hub, also `NAME@REVISION`. Its tokenizer, its sizes and the length that it
            reads take the place of the preset's. Its head is kept where the labels are the same, and where no epoch is
            better then, so are all of its weights.
        extend_vocab: Add so many words of the new reviews to its vocabulary, the most frequent ones. They start from
            the vectors of `glove` where it holds them, else at random.
        freeze_encoder: Train the head alone.
        class_weights: What a review counts in the loss, by its label: "balanced", by which all labels count alike, or
            a number for each label in their order, also as one text with commas. Every review counts 1 where None.
        output_dir: The run directory; `runs/PRESET-seedSEED` where None.
        seed: Seed of the initial weights, of dropout and of the order of the reviews.
        resume: Continue from the newest whole checkpoint in the run directory; start if there is none; return the
            results if the run is finished.
        num_threads: CPU threads of each process; its share of the machine's cores where None. The last bits of a
            result depend on it.
        options: How the reviews are read, split and sampled, as for `load_reviews`: `text_column`, `label_column`,
            `separator`, `column_names`, `encoding`, `test_fraction`, `split_seed`, `max_train_samples`,
            `max_validation_samples` and `max_test_samples`. And fields of `transformers.TrainingArguments` that differ
            from the preset. With `push_to_hub`, the finished run is published by `push_run`, in one commit;
            `hub_model_id` (the run directory's name where not given), `hub_private_repo`, `hub_revision` and
            `hub_token` say where.

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
    passed = {**options, **locals()}
    require("accelerate", "datasets", "evaluate", "jinja2", "matplotlib", "psutil", "sklearn", extra="train")
    usual = "v2_glove" if model_name_or_path is None else "finetune"
    recipe = find_preset(usual if preset is None else preset)
    body = _Classification(recipe)
    flags = {name: passed[name] for name in _FLAGS if passed[name] is not None}
    if class_weights is not None and not isinstance(class_weights, str):
        weights = [class_weights] if isinstance(class_weights, int | float | Mapping) else class_weights
        flags["class_weights"] = ",".join(map(str, weights))
    recipe = replace(recipe, **flags)
    if recipe.extend_vocab or extend_vocab is not None:
        check_count("extend_vocab", recipe.extend_vocab)
    sources = {name: os.fspath(passed[name]) for name in ("dataset", *_UNUSED) if passed[name] is not None}
    for name, why in _UNUSED.items():
        used: object = getattr(recipe, name)
        if name == "glove" and (model_name_or_path or recipe.model_name_or_path):
            # Only new words of a base model have a use for vectors.
            used = recipe.own_vocabulary or recipe.extend_vocab
        if name in sources and not used:
            logger.warning(f"preset {recipe.name} {why}; {name}={sources.pop(name)} is not used")
    if model_name_or_path is not None:
        # It takes the place of the language model that a preset starts from otherwise.
        sources = {"pretrained": None, **sources, "model_name_or_path": os.fspath(model_name_or_path)}
    recipe = replace(recipe, **sources)
    if texts is not None:
        for name in ("dataset", *READING):
            if name != "labels" and passed.get(name) is not None:
                raise ValueError(f"{name} is {passed[name]!r}, and texts are given; leave one of them out")
        recipe = replace(recipe, dataset="texts given in Python")
    elif isinstance(labels, str | Mapping | None):
        options["labels"] = labels
    else:
        raise TypeError(f"labels is {shown(labels)}, and there are no texts; pass them too, or what the labels mean")
    run = user_path(f"runs/{recipe.name}-seed{seed}" if output_dir is None else output_dir, "the output").resolve()
    given: Any = None if texts is None else (texts, labels)
    plan = {"seed": seed, "flags": flags, "texts": given, "resume": resume, "num_threads": num_threads}
    metrics, pushed = run_recipe(body, recipe, run, **plan, **options)
    # With what was written to disk, as a user will.
    examples = list(EXAMPLES.values())
    answers = zip(examples, Classifier.from_pretrained(run)(examples), strict=True)
    return TrainingResult(run, metrics, tuple((text, label, score) for text, (label, score) in answers), pushed)


class _Classification(Body):
    def __init__(self, recipe: Preset) -> None:
        # One that is not the package's the card spells out.
        spelled = {} if recipe == PRESETS.get(recipe.name) else asdict(recipe)
        self._own = {name: spelled[name] for name in DEFAULTS if name in spelled and spelled[name] != DEFAULTS[name]}

    def parts(self, inputs: Inputs) -> dict[str, Dataset]:
        reviews = inputs.reviews
        return {"train": inputs.training_reviews(), "validation": reviews.validation, "test": reviews.test}

    def make_model(self, inputs: Inputs, encoded: Mapping[str, Dataset]) -> SentimentLSTMForSequenceClassification:
        return SentimentLSTMForSequenceClassification(inputs.config())

    def validate(self, trainer: Trainer, inputs: Inputs, encoded: Mapping[str, Dataset]) -> dict[str, Any]:
        logits, labels = _exact_logits(trainer, encoded["validation"])
        seen = np.isin(encoded["validation"]["row"][:], inputs.reviews.overlap["validation"])
        return evaluate_logits(logits, labels, overlap=seen)

    def measure(self, trainer: Trainer, inputs: Inputs, encoded: Mapping[str, Dataset]) -> dict[str, Any]:
        logits, labels = _exact_logits(trainer, encoded["validation"])
        _check_score(trainer, evaluate_logits(logits, labels))
        facts: dict[str, Any] = {"recipe": self._own} if self._own else {}
        if inputs.recipe.calibrate and (temperature := fit_temperature(logits, labels)) is not None:
            unseen = cross_validate_temperature(logits, labels)
            # No decision changes: the head's weights are divided (Guo et al. 2017).
            head = trainer.accelerator.unwrap_model(trainer.model).classifier
            with torch.no_grad():
                head.weight /= temperature
                head.bias /= temperature
            # The figures of the validation reviews are those that it was fitted on.
            calibration = {"fitted_on": "validation", "reviews": len(labels), "cross_validated": unseen}
            facts |= {"temperature": temperature, "calibration": calibration}
        if inputs.reviews.label_names != SENTIMENT_NAMES:
            facts["labels"] = list(inputs.reviews.label_names)
        if weights := trainer.accelerator.unwrap_model(trainer.model).config.class_weights:
            facts["class_weights"] = weights
        for part in ("validation", "test"):
            logits, labels = _exact_logits(trainer, encoded[part])
            facts[part] = measure_part(logits, labels, encoded[part]["row"][:], inputs.reviews.overlap[part])
        return facts

    def describe(self, run: Path, recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        describe_run(run, recipe, metrics)


def measure_part(logits: ArrayLike, labels: ArrayLike, rows: ArrayLike, overlap: ArrayLike) -> dict[str, Any]:
    """Measure held-out reviews for `metrics.json`: their logits, labels and rows, and rows that are trained on, too."""
    measured = evaluate_logits(logits, labels, overlap=np.isin(rows, overlap))
    return {**measured, "coverage": measure_coverage(logits, labels)}


def describe_run(run: Path, recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Draw the plots and write the card of a run, by the fields of its preset and the content of `metrics.json`."""
    plots, dataset, test = run / "plots", metrics["dataset"], metrics["test"]
    unlabeled = f" labeled and {dataset['unlabeled']:,} unlabeled" if "teachers" in metrics else ""
    read = f"{dataset['train']:,}{unlabeled} training and {dataset['validation']:,} validation reviews"
    best, title = metrics["best_epoch"], f"{recipe['name']}: {read}"
    plot_training_curves(metrics["history"], plots / "training_curves.png", title=title, best_epoch=best)
    title = f"{recipe['name']}: test reviews"
    # Of hundreds of labels there is none.
    if (confusion := test.get("confusion_matrix")) is not None:
        names = metrics.get("labels", SENTIMENT_NAMES)
        plot_confusion_matrix(confusion, plots / "confusion_matrix.png", title=title, names=names)
    plot_coverage(test["coverage"], plots / "coverage.png", title=title)
    make_model_card(recipe, metrics).save(run / CARD)


def _exact_logits(trainer: Trainer, reviews: Dataset) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits as `Classifier.logits` has them, in float32, and labels.

    *Shapes:* (reviews,) of two labels or (reviews, labels), and (reviews,).
    """
    logits = []
    for exact, batch in exact_batches(trainer, reviews):
        with torch.inference_mode():
            output = exact(**{name: batch[name] for name in ("input_ids", "attention_mask")})
        logits.append(free_logits(output.logits.float().cpu().numpy()))
    return np.concatenate(logits), reviews["label"][:]


def _check_score(trainer: Trainer, measured: Mapping[str, Any]) -> None:
    """Check that the best weights have the score that they were chosen for.

    The last digits differ where another processor or another precision chose; a decision may then turn, too.
    """
    state = trainer.state
    name = str(trainer.args.metric_for_best_model).removeprefix("eval_")
    again, recorded = measured.get(name), state.best_metric
    if again is None or recorded is None or abs(again - recorded) > 0.01 + 2.5 / measured["reviews"]:
        raise RuntimeError(
            f"the checkpoint of step {state.best_global_step} was chosen for a validation {name} of {recorded}, but "
            f"has {again} when loaded again; its weights cannot be trusted"
        )
