"""How good a sentiment classifier is, as one metric for `evaluate` that needs no Hub."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..inference.classifier import decisions
from ..utils.imports import require
from .calibration import calibration_bins, cross_entropy, probabilities_of
from .statistics import checked_columns

try:
    import evaluate
    from datasets import Features, Sequence, Value
    from sklearn import metrics
except ModuleNotFoundError:
    require("datasets", "evaluate", "sklearn", extra="train")
    raise

TOP_K = (2, 3, 5)
"""Of more labels than that, how often the label of a review is among so many most probable ones."""
MATRIX_LABELS = 200
"""Of more labels there is no confusion matrix, which would be tens of thousands of counts."""


class SentimentMetrics(evaluate.Metric):  # type: ignore[misc]
    """Everything that is measured of a classifier's logits, in memory alone; see `evaluate_logits`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(keep_in_memory=True, **kwargs)

    def _build_data_dir(self) -> str:
        # The base class creates the directory even if nothing will ever be written to it.
        return ""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, precision, recall, F1, ROC-AUC, calibration error, confusion matrix and loss.",
            citation="https://arxiv.org/abs/1706.04599",
            inputs_description="predictions: the logit of POSITIVE, or those of all labels; references: their places.",
            # No `format`: with "numpy", datasets returns 64-bit floats as 32-bit ones.
            features=[
                Features({"predictions": kind, "references": Value("int64")})
                for kind in (Value("float64"), Sequence(Value("float64")))
            ],
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add reviews, checked: left to itself, `evaluate` turns a label 0.7 into 0 without a word."""
        z, y = checked_columns(predictions, references)
        super().add_batch(predictions=z, references=y, **kwargs)

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, Any]:
        z, y = np.asarray(predictions), np.asarray(references)
        predicted, probabilities = decisions(z), probabilities_of(z)
        return {
            "accuracy": float(metrics.accuracy_score(y, predicted)),
            **(_of_two(y, predicted, probabilities) if z.ndim == 1 else _of_many(y, predicted, z)),
            "expected_calibration_error": calibration_bins(probabilities, y).expected_calibration_error,
            "loss": cross_entropy(z, y),
            "reviews": len(y),
        }


def _of_two(y: NDArray[np.int64], predicted: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, Any]:
    cells = metrics.confusion_matrix(y, predicted, labels=[0, 1]).ravel().tolist()
    shares = metrics.precision_recall_fscore_support(y, predicted, average="binary", zero_division=0)
    return {
        **dict(zip(("precision", "recall", "f1"), map(float, shares[:3]), strict=True)),
        "confusion_matrix": dict(zip(("tn", "fp", "fn", "tp"), cells, strict=True)),
        **({"roc_auc": float(metrics.roc_auc_score(y, probabilities))} if y.min() != y.max() else {}),
    }


def _of_many(y: NDArray[np.int64], predicted: NDArray[np.int64], z: NDArray[np.float64]) -> dict[str, Any]:
    labels = np.arange(z.shape[1])
    columns = metrics.precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    counts = metrics.confusion_matrix(y, predicted, labels=labels)
    tops = [k for k in TOP_K if k < len(labels)]
    return {
        "macro_f1": float(metrics.f1_score(y, predicted, average="macro", zero_division=0)),
        **{f"top_{k}_accuracy": float(metrics.top_k_accuracy_score(y, z, k=k, labels=labels)) for k in tops},
        "per_class": [dict(zip(("precision", "recall", "f1", "reviews"), row, strict=True)) for row in rows],
        **({"confusion_matrix": counts.tolist()} if len(labels) <= MATRIX_LABELS else {}),
    }


def evaluate_logits(logits: ArrayLike, labels: ArrayLike, *, overlap: ArrayLike | None = None) -> dict[str, Any]:
    r"""Measure a classifier by its logits.

    Of two labels, a logit z stands for the probability of POSITIVE, p = 1 / (1 + exp(-z)), and POSITIVE is predicted if
    z > 0; of K > 2, each has a logit, and the softmax of a row is their probabilities. Labels are places, 0 (NEGATIVE)
    or 1 (POSITIVE), or 0 to K - 1. `overlap` says whether a review stands word for word in what was trained on, too,
    where that is known. *Shape:* (n,) or (n, K), (n,) and (n,)

    Returns:
        Plain Python numbers; shares are fractions, zero where there is nothing to divide by, as scikit-learn computes
        them. "accuracy"; "expected_calibration_error" in 15 bins, see `calibration_bins`; "loss", the mean
        cross-entropy in nats, from the logits in 64 bits; "reviews", the number n. Where some reviews overlap, and not
        all, "without_overlap" holds "reviews" and "accuracy" of the others.

        Of two labels: "precision", "recall" and "f1" of POSITIVE; "roc_auc", absent where all labels are the same;
        "confusion_matrix" with "tn", "fp" (NEGATIVE reviews predicted POSITIVE), "fn" and "tp".

        Of more: "macro_f1", over the labels that some review has or gets; "top_2_accuracy" and so on for :data:`TOP_K`;
        "per_class", for each label its "precision", "recall", "f1" and "reviews"; and of up to :data:`MATRIX_LABELS`
        labels "confusion_matrix", for each one a row of how often which was predicted.
    """
    measured = dict(SentimentMetrics().compute(predictions=logits, references=labels))
    kept = np.zeros(0, bool) if overlap is None else ~np.asarray(overlap, dtype=bool)
    if kept.any() and not kept.all():
        correct = decisions(logits) == np.asarray(labels)
        measured["without_overlap"] = {"reviews": int(kept.sum()), "accuracy": float(correct[kept].mean())}
    return measured
