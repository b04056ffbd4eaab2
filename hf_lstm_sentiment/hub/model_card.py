"""The model card, generated from what the training measured."""

import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..evaluation.statistics import percent
from ..model.configuration_sentiment_lstm import NEGATIVE, POSITIVE

# The names of the metrics in the card, in the order of its table: of two labels, with the second one, and of more.
_NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision ({})",
    "recall": "Recall ({})",
    "f1": "F1 ({})",
    "roc_auc": "Area under the ROC curve",
    "expected_calibration_error": "Expected calibration error",
    "loss": "Loss (binary cross-entropy, nats)",
}
_NAMES_OF_MANY = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1 (every label counts the same)",
    **{f"top_{k}_accuracy": f"Accuracy of the {k} most probable labels" for k in (2, 3, 5)},
    "expected_calibration_error": "Expected calibration error",
    "loss": "Loss (cross-entropy, nats)",
}
# Labels that a table lists, and pairs of confused ones.
_ROWS, _PAIRS = 20, 5
_EXAMPLE = "Slow at first, but worth it in the end."
# What the model's page on the Hub offers to try.
EXAMPLES = {
    "Positive": "A warm, funny film with a wonderful cast. I loved every minute of it.",
    "Negative": "The plot makes no sense and the acting is terrible. A waste of two hours.",
    "Mixed": _EXAMPLE,
}
# What would form HTML, or leave its place in a sentence or a table of Markdown.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "'", "|": "&#124;", "[": "&#91;"})


def make_model_card(
    preset: Mapping[str, Any], metrics: Mapping[str, Any], *, shipped_as: str | None = None
) -> ModelCard:
    """Write the card of a training from its preset and the content of its `metrics.json`.

    `shipped_as` is the name under which `pretrained` finds a model that comes with the package. The measured numbers
    are in the card's `model-index` metadata, too.
    """
    # In the metadata names of files and labels are values, which YAML quotes; in the page they become text.
    data, metrics = _card_data(preset, metrics), _escaped(metrics)
    labels, test = metrics.get("labels", (NEGATIVE, POSITIVE)), metrics["test"]
    card: ModelCard = ModelCard.from_template(
        data,
        template_str=files(__package__).joinpath("model_card.md").read_text(encoding="utf-8"),
        title=data.model_name,
        preset=preset,
        metrics=metrics,
        base_id=data.base_model,
        is_imdb=_are_imdb_reviews(metrics["dataset"]),
        is_sentiment="labels" not in metrics,
        labels=labels,
        shown_classes=_worst_classes(labels, test.get("per_class", [])),
        confusions=_most_confused(labels, test.get("confusion_matrix", [])) if len(labels) > 2 else [],
        options={name: shlex.quote(str(value)) for name, value in metrics["options"].items()},
        shipped_as=shipped_as,
        names={key: name for key, name in _names(labels).items() if key in test or len(labels) == 2},
        example=_EXAMPLE if "labels" not in metrics else "The text to classify.",
        percent=percent,
    )
    return card


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
    return copy or source == "stanfordnlp/imdb" or source.endswith(" (IMDB training reviews)")


def _names(labels: Sequence[str]) -> dict[str, str]:
    """The names of what is measured."""
    return {key: name.format(labels[1]) for key, name in (_NAMES if len(labels) == 2 else _NAMES_OF_MANY).items()}


def _worst_classes(labels: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The labels with what was measured of each; of many, those with the lowest F1 that some review has."""
    found = list(zip(labels, rows, strict=False))
    if len(found) <= _ROWS:
        return found
    return sorted((pair for pair in found if pair[1]["reviews"]), key=lambda pair: pair[1]["f1"])[:_ROWS]


def _most_confused(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[tuple[int, str, str]]:
    """How many reviews of a label were classified as another one, the most frequent first."""
    cells = [(n, labels[i], labels[j]) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
    return sorted(cells, key=lambda cell: -cell[0])[:_PAIRS]


def _card_data(preset: Mapping[str, Any], metrics: Mapping[str, Any]) -> ModelCardData:
    dataset, test, base = metrics["dataset"], metrics["test"], metrics.get("base_model", {})
    held_out, is_imdb, is_sentiment = "test" in dataset["held_out"], _are_imdb_reviews(dataset), "labels" not in metrics
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
        for key, name in _names(metrics.get("labels", (NEGATIVE, POSITIVE))).items()
        if key in test
    ]
    has_glove = "glove" in metrics or "glove" in metrics.get("pretraining", {})
    return ModelCardData(
        # Of other reviews nobody said it.
        language="en" if is_imdb else None,
        license="mit",
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=[*["sentiment-analysis"] * is_sentiment, "lstm", "custom_code", *["glove"] * has_glove],
        datasets=["stanfordnlp/imdb"] if is_imdb else None,
        metrics=["accuracy", *(["precision", "recall", "f1", "roc_auc"] if "f1" in test else ["f1"])],
        model_name=f"{'Sentiment LSTM' if is_sentiment else 'LSTM classifier'}: {preset['name']}",
        eval_results=results,
        # Only a repository of the Hub has a commit; a directory may look like one.
        base_model=base["name"].partition("@")[0] if "revision" in base else None,
        widget=[{"example_title": title, "text": text} for title, text in EXAMPLES.items()] if is_sentiment else None,
    )
