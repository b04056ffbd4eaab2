"""How good a sentiment classifier is, as one metric for `evaluate` that needs no Hub."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..inference.classifier import sigmoid
from ..utils.imports import require
from .calibration import calibration_bins, cross_entropy
from .statistics import as_labels, as_logits, check_lengths

try:
    import evaluate
    from datasets import Features, Value
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score, recall_score, roc_auc_score
except ModuleNotFoundError:
    require("datasets", "evaluate", "sklearn", extra="train")
    raise


class SentimentMetrics(evaluate.Metric):  # type: ignore[misc]
    """Everything that is measured of a classifier's logits of POSITIVE; see `evaluate_logits`.

    Args:
        keep_in_memory: Collect in memory instead of below `cache_dir`; False with `num_process` above 1.
        kwargs: Everything else that `evaluate.Metric` takes.
    """

    def __init__(self, *, keep_in_memory: bool = True, **kwargs: Any) -> None:
        super().__init__(keep_in_memory=keep_in_memory, **kwargs)

    def _build_data_dir(self) -> str:
        # The base class creates the directory even if nothing will ever be written to it.
        return "" if self.keep_in_memory else str(super()._build_data_dir())

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, precision, recall, F1, ROC-AUC, calibration error, confusion matrix and loss.",
            citation="Chuan Guo, Geoff Pleiss, Yu Sun and Kilian Q. Weinberger (2017). On Calibration of Modern "
            "Neural Networks. https://arxiv.org/abs/1706.04599",
            inputs_description="predictions: the logit of POSITIVE per review; references: 0 or 1 per review.",
            # No `format`: with "numpy", datasets returns 64-bit floats as 32-bit ones.
            features=Features({"predictions": Value("float64"), "references": Value("int64")}),
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add reviews, checked: left to itself, `evaluate` turns a label 0.7 into 0 without a word."""
        z, y = as_logits(predictions, "logits"), as_labels(references, "labels")
        check_lengths(logits=z, labels=y)
        super().add_batch(predictions=z, references=y, **kwargs)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one review, likewise."""
        # `evaluate.combine` names the columns.
        example = {"predictions": prediction, "references": reference, **kwargs}
        self.add_batch(**{name: [value] for name, value in example.items()})

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, Any]:
        z, y = np.asarray(predictions), np.asarray(references)
        predicted, probabilities = (z > 0).astype(np.int64), sigmoid(z)
        cells = confusion_matrix(y, predicted, labels=[0, 1]).ravel().tolist()
        return {
            "accuracy": float(accuracy_score(y, predicted)),
            "precision": float(precision_score(y, predicted, zero_division=0)),
            "recall": float(recall_score(y, predicted, zero_division=0)),
            "f1": float(f1_score(y, predicted, zero_division=0)),
            "confusion_matrix": dict(zip(("tn", "fp", "fn", "tp"), cells, strict=True)),
            **({"roc_auc": float(roc_auc_score(y, probabilities))} if y.min() != y.max() else {}),
            "expected_calibration_error": calibration_bins(probabilities, y).expected_calibration_error,
            "loss": cross_entropy(z, y),
            "reviews": len(y),
        }


def evaluate_logits(logits: ArrayLike, labels: ArrayLike, *, overlap: ArrayLike | None = None) -> dict[str, Any]:
    r"""Measure a classifier by its logits.

    A logit z stands for the probability of POSITIVE, p = 1 / (1 + exp(-z)). The prediction is POSITIVE if p > 0.5,
    that is z > 0. The loss is the mean binary cross-entropy in nats, taken from the logits in 64 bits:

        loss = 1/n \sum_i log(1 + exp(-s_i z_i)),  s_i = 1 if review i is POSITIVE, else -1

    Args:
        logits: Logit of POSITIVE per review. *Shape:* (n,)
        labels: 0 (NEGATIVE) or 1 (POSITIVE) per review. *Shape:* (n,)
        overlap: Whether a review stands word for word in what was trained on, too, where that is known. *Shape:* (n,)

    Returns:
        "accuracy", "precision", "recall" and "f1" as scikit-learn computes them, as fractions, zero where there is
        nothing to divide by; "roc_auc", absent where all labels are the same; "expected_calibration_error" in 15 bins,
        see `calibration_bins`; "confusion_matrix" with "tn", "fp" (NEGATIVE reviews predicted POSITIVE), "fn" and
        "tp"; "loss"; and "reviews", the number n. Where some reviews overlap, and not all, "without_overlap" holds
        "reviews" and "accuracy" of the others. All are plain Python numbers.

    Raises:
        ValueError: A logit that is not finite, a label other than 0 and 1, different lengths, or no reviews.
    """
    if np.ndim(logits) == 2 and np.shape(logits)[1] == 2:
        raise ValueError(f"logits have shape {np.shape(logits)}; pass logits[:, 1] - logits[:, 0] instead")
    measured = dict(SentimentMetrics().compute(predictions=logits, references=labels))
    kept = np.zeros(0, bool) if overlap is None else ~np.asarray(overlap, dtype=bool)
    if kept.any() and not kept.all():
        correct = (np.asarray(logits) > 0) == (np.asarray(labels) == 1)
        measured["without_overlap"] = {"reviews": int(kept.sum()), "accuracy": float(correct[kept].mean())}
    return measured
