"""The training as an estimator of scikit-learn."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..data.labels import place_of
from ..inference.classifier import Classifier, probabilities
from ..utils.imports import require
from ..utils.messages import check_texts
from .presets import Preset
from .train import train

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d
except ModuleNotFoundError:
    require("sklearn", extra="train")
    raise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(eq=False, repr=False)
class SentimentClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of texts for scikit-learn: `cross_val_score(SentimentClassifier(), texts, labels)`.

    A fifth of the texts validates: it chooses the best epoch and calibrates. What the parameters mean and what is
    refused is told by :func:`train`, which fits it.

    Args:
        model_name_or_path: The trained classifier to start from; None starts with new weights.
        preset: "finetune" where None; without a model to start from, "v2_glove".
        epochs: Passes over the texts, at most; the preset's where None, and so are the next ones.
        learning_rate: The highest one.
        extend_vocab: Words to add to the vocabulary.
        glove: Word vectors.
        freeze_encoder: Train the head alone.
        class_weights: "balanced", or a number for each label, in the order of `classifier_.labels`.
        seed: Of everything that is random, the split too.
        output_dir: The run directory, for one fit; a temporary one, removed in the end, where None.

    Attributes:
        classes_: The labels, sorted.
        classifier_: The :class:`Classifier` that was trained.
        metrics_: What was measured of it, as in `metrics.json`. The test part is one text of each label at least, and
            says little: measure with other texts.
    """

    model_name_or_path: str | os.PathLike[str] | None = "reviews"
    _: KW_ONLY
    preset: str | Preset | None = None
    epochs: float | None = None
    learning_rate: float | None = None
    extend_vocab: int | None = None
    glove: str | os.PathLike[str] | None = None
    freeze_encoder: bool | None = None
    class_weights: str | Sequence[float] | None = None
    seed: int = 42
    output_dir: str | os.PathLike[str] | None = None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = False, True, True
        return tags

    def fit(self, X: Iterable[str], y: ArrayLike) -> Self:  # noqa: N803
        """Train.

        Args:
            X: The texts.
            y: The label of each: texts, whole numbers or booleans.

        Raises:
            ValueError, TypeError, OSError: As :func:`train`.
        """
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        targets = column_or_1d(y, warn=True)
        try:
            check_classification_targets(targets)
            classes, counts = np.unique(targets, return_counts=True)
        except TypeError as error:
            raise ValueError(f"y has labels of several kinds, or misses some ({error}); give each text one") from error
        given = self.get_params(deep=False)
        given |= {"num_train_epochs": given.pop("epochs"), "split_seed": self.seed}
        given = {name: value for name, value in given.items() if value is not None}
        with TemporaryDirectory() as folder, redirect_stdout(None):  # the Trainer prints what it logs
            given = {"output_dir": Path(folder) / "run", **given}
            # The least that a run is tested on; whoever cross-validates tests on other texts.
            share = 1 / max(2, counts.min())
            result = train(texts=_strings(X), labels=targets, test_fraction=share, disable_tqdm=True, **given)
            self.classifier_ = Classifier.from_pretrained(result.run_directory)
        if len(classes) > len(names := self.classifier_.labels):
            raise ValueError(f"the labels {classes.tolist()} mean only {list(names)}; give each meaning one label")
        self.metrics_ = result.metrics
        self.classes_ = classes
        return self

    def predict_proba(self, X: Iterable[str]) -> NDArray[np.float64]:  # noqa: N803
        """Compute the probability of every class. *Shape:* (texts, classes), in the order of `classes_`."""
        check_is_fitted(self)
        logits = self.classifier_.logits(_strings(X))
        places = [place_of(value, self.classifier_.labels) for value in self.classes_.tolist()]
        return probabilities(logits)[:, places]

    def predict(self, X: Iterable[str]) -> NDArray[Any]:  # noqa: N803
        """Find the most probable class of each text. *Shape:* (texts,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])


def _strings(texts: Iterable[Any]) -> Any:
    """A list without the strings of numpy, which are not quite those of Python; a table or one string is refused."""
    check_texts(texts)
    return [str(text) if isinstance(text, str) else text for text in texts]
