"""How good a sentiment classifier is: metrics for `evaluate` that need no Hub, and all at once.

Labels are 0 (NEGATIVE) and 1 (POSITIVE). Every metric is a fraction, not a percentage, and a plain
Python number, ready for JSON. A metric that is not defined for the data is absent from the result,
never zero and never NaN.

```python
metrics = evaluate.combine([Accuracy(), F1(), ROCAUC()])
metrics.compute(predictions=[0, 1], prediction_scores=[0.2, 0.9], references=[0, 1])
```
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..utils.imports import require

try:
    import evaluate
    from datasets import Features, Value
    from sklearn.metrics import (
        accuracy_score,
        confusion_matrix,
        f1_score,
        precision_score,
        recall_score,
        roc_auc_score,
    )
except ModuleNotFoundError:
    require("datasets", "evaluate", "sklearn", extra="train")
    raise


@dataclass(frozen=True)
class CalibrationBins:
    """Confidence against accuracy, in bins of equal width; what a reliability diagram shows.

    Attributes:
        edges: Limits of the bins, from 0 to 1. A bin holds its upper edge, not its lower one.
            *Shape:* (bins + 1,)
        counts: Reviews per bin. *Shape:* (bins,)
        confidence: Mean confidence of the reviews in a bin, NaN where there are none.
            *Shape:* (bins,)
        accuracy: Fraction of them that is labelled correctly, NaN where there are none.
            *Shape:* (bins,)
        expected_calibration_error: See `ExpectedCalibrationError`.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    expected_calibration_error: float


def calibration_bins(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    bins: int = 15,
) -> CalibrationBins:
    """Sort reviews by how sure the classifier was, and see how often it was right.

    The confidence in a review is `max(p, 1 - p)`, the probability of the label decided for, which
    is POSITIVE if `p > 0.5`. It is at least 0.5, so only the upper bins are ever filled.

    Args:
        probabilities: Probability of POSITIVE per review. *Shape:* (n,)
        labels: 0 or 1 per review. *Shape:* (n,)
        bins: Bins of equal width that the interval from 0 to 1 is cut into.

    Returns:
        What is in each bin, and the expected calibration error.

    Raises:
        ValueError: A probability outside of 0 to 1, a label other than 0 and 1, different lengths,
            no reviews, or `bins` below 1.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; allowed: a whole number of at least 1")
    p = _scores(probabilities, "probabilities")
    y = _labels(labels, "labels")
    _check_lengths({"probabilities": p, "labels": y})

    confidence = np.maximum(p, 1 - p)
    correct = (p > 0.5) == (y == 1)
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(index, minlength=bins)
    confidence_sums = np.bincount(index, weights=confidence, minlength=bins)
    correct_sums = np.bincount(index, weights=correct, minlength=bins)
    divisors = np.where(counts > 0, counts, np.nan)
    # A bin's size cancels against the denominators of its accuracy and of its mean confidence.
    error = float(np.abs(correct_sums - confidence_sums).sum() / len(p))
    return CalibrationBins(
        edges=edges,
        counts=counts,
        confidence=confidence_sums / divisors,
        accuracy=correct_sums / divisors,
        expected_calibration_error=error,
    )


class _SentimentMetric(evaluate.Metric):  # type: ignore[misc]
    """What the metrics below share: inputs are checked before they are stored, and no files.

    Left to itself, `evaluate` turns a label 0.7 into 0 and the text "1" into 1 without a word.

    Args:
        keep_in_memory: Collect in memory instead of below `cache_dir`; False with `num_process`
            above 1.
        kwargs: Everything else that `evaluate.Metric` takes.
    """

    _input: ClassVar[str] = "predictions"
    _citation: ClassVar[str] = ""

    def __init__(self, *, keep_in_memory: bool = True, **kwargs: Any) -> None:
        super().__init__(keep_in_memory=keep_in_memory, **kwargs)

    def _build_data_dir(self) -> str:
        # The base class creates the directory even if nothing will ever be written to it.
        return "" if self.keep_in_memory else str(super()._build_data_dir())

    def _info(self) -> evaluate.MetricInfo:
        kinds = {"predictions": "int64", "prediction_scores": "float64", "references": "int64"}
        return evaluate.MetricInfo(
            description=inspect.getdoc(type(self)) or "",
            citation=self._citation,
            inputs_description=f"Inputs: {self._input} and references, one number per review.",
            # No `format`: with "numpy", datasets returns 64-bit floats as 32-bit ones.
            features=Features({name: Value(kinds[name]) for name in (self._input, "references")}),
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add reviews to those that `compute` will look at.

        Raises:
            ValueError: An input is missing or empty, has a value that is not allowed or a length of
                its own. Nothing has been added then.
        """
        batch = {"predictions": predictions, "references": references, **kwargs}
        super().add_batch(**{**kwargs, **self._checked(batch)})

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one review to those that `compute` will look at.

        Raises:
            ValueError: An input is missing or has a value that is not allowed.
        """
        example = {"predictions": prediction, "references": reference, **kwargs}
        batch = {name: None if value is None else [value] for name, value in example.items()}
        checked = {name: column.item() for name, column in self._checked(batch).items()}
        super().add(**{**kwargs, **checked})

    def _checked(self, inputs: dict[str, Any]) -> dict[str, NDArray[Any]]:
        names = (self._input, "references")
        for name in names:
            if inputs.get(name) is None:
                raise ValueError(f"{name} are missing; {self.name} needs {' and '.join(names)}")
        check = _scores if self._input == "prediction_scores" else _labels
        checked = {
            self._input: check(inputs[self._input], self._input),
            "references": _labels(inputs["references"], "references"),
        }
        _check_lengths(checked)
        return checked

    def _finalize(self) -> None:
        if len(self) == 0:
            needed = f"{self._input} and references"
            raise ValueError(f"{self.name} got no reviews; pass {needed} to compute or add_batch")
        super()._finalize()

    def _compute(
        self,
        *,
        references: Any,
        predictions: Any = None,
        prediction_scores: Any = None,
    ) -> dict[str, Any]:
        # `evaluate.combine` hands the scores to the metrics of labels, too.
        values = prediction_scores if self._input == "prediction_scores" else predictions
        return self._measure(np.asarray(values), np.asarray(references))

    def _measure(self, values: NDArray[Any], references: NDArray[Any]) -> dict[str, Any]:
        raise NotImplementedError


class Accuracy(_SentimentMetric):
    """Fraction of the reviews whose predicted label is the right one.

    Computed from `predictions` and `references`, labels 0 or 1. Result: `{"accuracy": float}`.
    """

    def _measure(self, values: NDArray[Any], references: NDArray[Any]) -> dict[str, Any]:
        return {"accuracy": float(accuracy_score(references, values))}


class Precision(_SentimentMetric):
    """Fraction of the reviews predicted POSITIVE that are: tp / (tp + fp).

    Zero if none was predicted POSITIVE (`zero_division=0` in scikit-learn).

    Computed from `predictions` and `references`, labels 0 or 1. Result: `{"precision": float}`.
    """

    def _measure(self, values: NDArray[Any], references: NDArray[Any]) -> dict[str, Any]:
        return {"precision": float(precision_score(references, values, zero_division=0))}


class Recall(_SentimentMetric):
    """Fraction of the POSITIVE reviews that are predicted so: tp / (tp + fn).

    Zero if there are none (`zero_division=0` in scikit-learn).

    Computed from `predictions` and `references`, labels 0 or 1. Result: `{"recall": float}`.
    """

    def _measure(self, values: NDArray[Any], references: NDArray[Any]) -> dict[str, Any]:
        return {"recall": float(recall_score(references, values, zero_division=0))}


class F1(_SentimentMetric):
    """Harmonic mean of precision and recall: 2 tp / (2 tp + fp + fn).

    Zero if no review is POSITIVE and none was predicted so (`zero_division=0` in scikit-learn).

    Computed from `predictions` and `references`, labels 0 or 1. Result: `{"f1": float}`.
    """

    def _measure(self, values: NDArray[Any], references: NDArray[Any]) -> dict[str, Any]:
        return {"f1": float(f1_score(references, values, zero_division=0))}


class ConfusionMatrix(_SentimentMetric):
    """How many reviews of each label were predicted to have which.

    Computed from `predictions` and `references`, labels 0 or 1. Result:
    `{"confusion_matrix": {"tn": int, "fp": int, "fn": int, "tp": int}}`; "fp" are NEGATIVE reviews
    predicted POSITIVE, "fn" the other way round.
    """

    def _measure(self, values: NDArray[Any], references: NDArray[Any]) -> dict[str, Any]:
        cells = confusion_matrix(references, values, labels=[0, 1]).ravel().tolist()
        return {"confusion_matrix": dict(zip(("tn", "fp", "fn", "tp"), cells, strict=True))}


class ROCAUC(_SentimentMetric):
    """Probability that a POSITIVE review scores higher than a NEGATIVE one.

    It is the area under the ROC curve; equal scores count half.

    Computed from `prediction_scores`, the probabilities of POSITIVE, and `references`, labels 0 or
    1. Result: `{"roc_auc": float}`; `{}` if all references are of one label, for which the area is
    not defined.
    """

    _input = "prediction_scores"

    def _measure(self, values: NDArray[Any], references: NDArray[Any]) -> dict[str, Any]:
        if references.min() == references.max():
            return {}
        return {"roc_auc": float(roc_auc_score(references, values))}


class ExpectedCalibrationError(_SentimentMetric):
    r"""Mean distance between how sure the classifier is and how often it is right.

    Computed from `prediction_scores`, the probabilities p of POSITIVE, and `references`, labels 0
    or 1. Result: `{"expected_calibration_error": float}`, from 0 (calibrated) to 1.

    The n reviews are sorted by their confidence `max(p, 1 - p)` into 15 bins of equal width over
    0 to 1, the m-th of which, B_m, holds the confidences in ((m - 1) / 15, m / 15]:

        ECE = \sum_m |B_m| / n * |accuracy(B_m) - mean confidence(B_m)|

    Equation 3 of Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural
    Networks", https://arxiv.org/abs/1706.04599, after Naeini, Cooper and Hauskrecht (2015),
    "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """

    _input = "prediction_scores"
    _citation = (
        "Chuan Guo, Geoff Pleiss, Yu Sun and Kilian Q. Weinberger (2017). "
        "On Calibration of Modern Neural Networks. https://arxiv.org/abs/1706.04599"
    )

    def _measure(self, values: NDArray[Any], references: NDArray[Any]) -> dict[str, Any]:
        error = calibration_bins(values, references).expected_calibration_error
        return {"expected_calibration_error": error}


def evaluate_logits(logits: ArrayLike, labels: ArrayLike) -> dict[str, Any]:
    r"""Measure everything that this module knows, and the loss.

    A logit z stands for the probability of POSITIVE, p = 1 / (1 + exp(-z)). The decision is
    POSITIVE if p > 0.5, that is z > 0. The loss is the mean binary cross-entropy in nats; it is
    taken from the logits, in 64 bits, and so stays exact where p rounds to 0 or 1:

        loss = 1/n \sum_i log(1 + exp(-s_i z_i)),  s_i = 1 if review i is POSITIVE, else -1

    Args:
        logits: Logit of POSITIVE per review. *Shape:* (n,)
        labels: 0 or 1 per review. *Shape:* (n,)

    Returns:
        "accuracy", "precision", "recall", "f1", "roc_auc", "expected_calibration_error" and
        "confusion_matrix" as the classes of this module have them ("roc_auc" is absent if all
        labels are the same), "loss", and "reviews", the number n.

    Raises:
        ValueError: A logit that is not finite, a label other than 0 and 1, different lengths, or no
            reviews.
    """
    if np.ndim(logits) == 2 and np.shape(logits)[1] == 2:
        shape = np.shape(logits)
        raise ValueError(f"logits have shape {shape}; pass logits[:, 1] - logits[:, 0] instead")
    z = _vector(logits, "logits").astype(np.float64)
    _check_values(z, np.isfinite(z), "logits", "finite numbers")
    y = _labels(labels, "labels")
    _check_lengths({"logits": z, "labels": y})

    of_labels = [Accuracy(), Precision(), Recall(), F1(), ConfusionMatrix()]
    of_scores = [ROCAUC(), ExpectedCalibrationError()]
    measured: dict[str, Any] = evaluate.combine(of_labels + of_scores).compute(
        predictions=(z > 0).astype(np.int64),
        prediction_scores=np.exp(-np.logaddexp(0, -z)),
        references=y,
    )
    loss = float(np.logaddexp(0, np.where(y == 1, -z, z)).mean())
    return {**measured, "loss": loss, "reviews": len(y)}


def _labels(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = _vector(values, name)
    _check_values(array, (array == 0) | (array == 1), name, "0 (NEGATIVE) and 1 (POSITIVE)")
    return array.astype(np.int64)


def _scores(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = _vector(values, name)
    _check_values(array, (array >= 0) & (array <= 1), name, "probabilities, 0 to 1")
    return array.astype(np.float64)


def _vector(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1:
        shape = array.shape
        raise ValueError(f"{name} have shape {shape}; allowed: (n,), one number per review")
    if not array.size:
        raise ValueError(f"{name} are empty; allowed: one number per review, at least one review")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} are of type {array.dtype}; allowed: numbers")
    return array


def _check_values(
    array: NDArray[Any],
    valid: NDArray[np.bool_],
    name: str,
    allowed: str,
) -> None:
    if not valid.all():
        first, count = int(np.argmin(valid)), int((~valid).sum())
        wrong = f"{array[first].item()} at position {first}, {count} wrong values in all"
        raise ValueError(f"{name} hold {wrong}; allowed: {allowed}")


def _check_lengths(columns: dict[str, NDArray[Any]]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        both = " and ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"{both}; allowed: the same number of each, one per review")
