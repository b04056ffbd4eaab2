from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks as checks
from transformers.utils.logging import warning_once

from hf_lstm_sentiment import Classifier, SentimentClassifier
from tests.reviews import BAD, GOOD, TINY

# Each text tells its label in every second word.
TEXTS = [f"{(BAD, GOOD)[i % 2][i % 5]} word{i % 7} {('mark0', 'mark1')[i % 2]} nr{i}" for i in range(80)]
LABELS = np.arange(80) % 2
PRESET = replace(TINY, batch_size=4)


def tiny(**parameters):
    return SentimentClassifier(None, preset=PRESET, **parameters)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return tiny(output_dir=tmp_path_factory.mktemp("runs") / "run").fit(TEXTS, LABELS)


def test_checks_of_scikit_learn_pass_or_say_that_they_are_left_out():
    # These need no data. All others pass numbers in two dimensions, which `check_estimator` knows of an estimator of
    # texts, and leaves them out; the tests below check with texts what they check.
    names = "estimator_cloneable estimator_tags_renamed valid_tag_types estimator_repr mixin_order set_params "
    names += "no_attributes_set_in_init do_not_raise_errors_in_init_or_set_params parameters_default_constructible "
    for name in f"{names} get_params_invariance".split():
        getattr(checks, f"check_{name}")("SentimentClassifier", SentimentClassifier())
    with pytest.warns(checks.SkipTestWarning, match="requires input"):
        results = checks.check_estimator(SentimentClassifier())
    assert {result["status"] for result in results} == {"passed"}


def test_it_fits_texts_and_keeps_its_parameters(fitted, capsys, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    warning_once.cache_clear()
    model = tiny(epochs=2)
    before = model.get_params()
    with pytest.raises(NotFittedError):
        model.predict(TEXTS)
    texts, labels = np.array(TEXTS), LABELS.copy()
    assert model.fit(texts, labels) is model
    assert model.get_params() == before
    assert [*texts] == TEXTS
    assert (labels == LABELS).all()
    assert model.metrics_["epochs"] == 2
    assert "mtime" not in caplog.text
    # Whatever is public and was learned ends with an underscore.
    assert {name for name in vars(model) if name not in before} == {"classes_", "classifier_", "metrics_"}
    assert clone(fitted).get_params() == fitted.get_params()
    assert "loss" not in capsys.readouterr().out


def test_predictions_depend_on_a_text_alone(fitted):
    assert fitted.score(TEXTS, LABELS) > 0.9
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (80, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(fitted.predict_proba(TEXTS[::-1]), probabilities[::-1], atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(TEXTS[7:9]), probabilities[7:9], atol=1e-6)
    with pytest.raises(TypeError, match="texts is a DataFrame; pass its column"):
        fitted.predict(pd.DataFrame({"text": TEXTS}))
    assert (fitted.predict(TEXTS) == fitted.classes_[probabilities.argmax(axis=1)]).all()


@pytest.mark.parametrize(
    ("names", "model_labels"),
    [
        # Upper case comes first for numpy, and after the others for the data.
        (["Zebra", "apple"], ("apple", "Zebra")),
        ([7, -2, 30], ("-2", "7", "30")),
    ],
)
def test_classes_of_any_kind_are_told_apart_and_sorted(names, model_labels):
    texts = [f"mark{i % len(names)} word{i % 7} nr{i}" for i in range(80)]
    labels = np.array([names[i % len(names)] for i in range(80)])
    model = tiny().fit(texts, labels)
    assert model.classes_.tolist() == sorted(names)
    assert model.classifier_.labels == model_labels
    assert (model.predict(texts) == labels).all()
    assert model.predict(texts).dtype == labels.dtype


def test_in_cross_validation_a_pipeline_and_a_search():
    pipeline = Pipeline([("strip", FunctionTransformer(lambda texts: [t.strip() for t in texts])), ("model", tiny())])
    assert min(cross_val_score(pipeline, TEXTS, LABELS, cv=2)) > 0.6
    half = ShuffleSplit(n_splits=1, test_size=0.5, random_state=0)
    search = GridSearchCV(tiny(), {"learning_rate": [2e-2, 1e-9]}, cv=half, refit=False).fit(TEXTS, LABELS)
    assert search.best_params_ == {"learning_rate": 2e-2}


def test_a_run_directory_is_kept_where_one_is_named_and_fits_are_equal(fitted):
    kept = Classifier.from_pretrained(fitted.output_dir)
    # Booleans mean the same two sentiments as 0 and 1.
    again = tiny().fit(TEXTS, LABELS > 0)
    assert kept.fingerprint() == fitted.classifier_.fingerprint() == again.classifier_.fingerprint()
    assert again.predict(TEXTS).dtype == bool
    with pytest.raises(FileExistsError, match="holds a finished run"):
        fitted.fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (TEXTS, None, "requires y to be passed"),
        (TEXTS, np.ones(80, dtype=int), "both classes are needed"),
        (TEXTS, np.linspace(0, 1, 80), "Unknown label type: continuous"),
        (TEXTS, LABELS[:5], "80 texts and 5 labels"),
        (TEXTS, np.eye(2, dtype=int)[LABELS], "1d array"),
        (np.zeros((80, 2)), LABELS, "text 0 is .* every text must be a string"),
        ("one text", LABELS, "texts is one string; pass a list"),
        (TEXTS, ["a", None] * 40, "y has labels of several kinds, or misses some"),
        (TEXTS, ["good", "bad", "rotten", "good"] * 20, r"'good', 'rotten'\] mean only \['NEGATIVE', 'POSIT"),
    ],
)
def test_what_is_no_texts_with_labels_is_refused(texts, labels, message):
    with pytest.raises((ValueError, TypeError), match=message):
        tiny().fit(texts, labels)


def test_it_starts_from_a_trained_model(fitted):
    base = fitted.output_dir
    model = SentimentClassifier(base, preset=PRESET, epochs=1, learning_rate=1e-9, class_weights="balanced", seed=7)
    model.fit(TEXTS, LABELS)
    assert model.metrics_["seed"] == model.metrics_["dataset"]["split_seed"] == 7
    assert model.metrics_["base_model"]["name"] == str(base)
    np.testing.assert_allclose(model.predict_proba(TEXTS), fitted.predict_proba(TEXTS), atol=1e-5)
