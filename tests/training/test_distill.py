from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace

import datasets
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hf_lstm_sentiment import PRESETS, load_reviews, teach, train
from hf_lstm_sentiment.training import distill as teaching
from hf_lstm_sentiment.training.distill import weigh
from hf_lstm_sentiment.training.ngram_teacher import document_vectors, ngrams_and_vectors
from hf_lstm_sentiment.utils.run_directory import WEIGHTS
from tests.reviews import TINY, make_reviews, save_with_unlabeled, write_csv

PARTS = ("train", "validation", "unlabeled")
QUIET = {"disable_tqdm": True}
STUDENT = replace(
    PRESETS["imdb"],
    name="student",
    description="A student of a test.",
    pretrained=None,
    vocab_words=80,
    embedding_size=8,
    hidden_size=16,
    max_length=64,
    train_max_length=10,
    validation_fraction=0.2,
    learning_rate=2e-2,
    warmup_steps=0,
    batch_size=16,
    embedding_dropout=0.1,
    classifier_dropout=0.1,
    epochs=8,
    patience=8,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_with_unlabeled(tmp_path_factory.mktemp("data") / "reviews")


@pytest.fixture(scope="module")
def taught(source, tmp_path_factory):
    return teach(dataset=source, output_dir=tmp_path_factory.mktemp("taught") / "teachers", validation_fraction=0.2)


@pytest.fixture(scope="module")
def reviews(source):
    return load_reviews(source, unlabeled=True)


def blank(row):
    return {"text": "a review of three words"}


def talk(row, index):
    """A text of one of two kinds, which share no word."""
    words = random.Random(index).choices(range(200), k=40)
    return {"text": " ".join(f"{'ab'[index % 2]}{word}" for word in words)}


def test_reviews_of_the_same_words_have_similar_vectors(reviews):
    spoken = replace(
        reviews, **{part: getattr(reviews, part).map(talk, with_indices=True) for part in PARTS if part != "validation"}
    )
    vectors = document_vectors(spoken, min_count=3, epochs=40)
    assert vectors.shape == (160 + 40 + 150, 200)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit @ unit.T
    # Training and unlabeled reviews take turns; between them lie those of the validation.
    for part in (slice(0, 160), slice(200, 350)):
        for other in (slice(0, 160), slice(200, 350)):
            block = alike[part, other]
            assert block[::2, ::2].mean() > block[::2, 1::2].mean() + 0.1


def test_the_n_grams_know_what_the_words_say(reviews):
    validation, unlabeled = ngrams_and_vectors(reviews, np.zeros((350, 2), dtype=np.float32)).values()
    assert (validation.shape, unlabeled.shape) == ((40,), (150,))
    assert np.mean((validation > 0) == np.asarray(reviews.validation["label"][:])) > 0.9
    # The labels of the unlabeled reviews alternate, as they were made.
    assert np.mean((unlabeled > 0) == np.arange(150) % 2) > 0.9


def test_the_vectors_are_read_too(reviews):
    labels = [*reviews.train["label"][:], *reviews.validation["label"][:], *(i % 2 for i in range(150))]
    nothing = replace(reviews, **{part: getattr(reviews, part).map(blank) for part in PARTS})
    telling = np.stack([np.asarray(labels), np.ones(350)], axis=1).astype(np.float32)
    validation, unlabeled = ngrams_and_vectors(nothing, telling).values()
    assert ((validation > 0) == np.asarray(reviews.validation["label"][:])).all()
    assert ((unlabeled > 0) == np.arange(150) % 2).all()


def test_soft_labels_are_the_weighted_teachers(taught):
    stored = load_file(taught.directory / "soft_labels.safetensors")
    logits = [load_file(taught.directory / f"{name}.safetensors")["unlabeled"] for name in taught.metrics["teachers"]]
    weights = [teacher["weight"] for teacher in taught.metrics["teachers"].values()]
    total = sum(weight * z for weight, z in zip(weights, logits, strict=True))
    odds = np.log(stored["probability"] / (1 - stored["probability"]))
    assert np.ptp(odds - total) < 1e-3
    assert stored["row"].tolist() == list(range(150))
    assert "ngrams_and_vectors" in taught.summary()
    assert "150 reviews" in taught.summary()


def test_weights_prefer_the_teacher_who_knows():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    knows, guesses = 2.0 * labels - 1 + rng.normal(0, 0.5, 500), rng.normal(0, 1, 500)
    weights, bias, held_out = weigh(np.stack([knows, guesses], axis=1).astype(np.float32), labels)
    assert weights[0] > 10 * abs(weights[1])
    assert abs(bias) < 0.5
    assert 0.9 < np.mean(held_out == labels) < 1


def test_a_stopped_teaching_goes_on_with_the_next_teacher(taught, source, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    lesson = {"dataset": source, "output_dir": tmp_path / "teachers", "validation_fraction": 0.2}
    with monkeypatch.context() as patch:
        patch.setattr(teaching, "ngrams_and_vectors", stop)
        with pytest.raises(KeyboardInterrupt):
            teach(**lesson)
    monkeypatch.setattr(teaching, "document_vectors", stop)
    with pytest.raises(FileExistsError, match="holds teachers; pass --resume"):
        teach(**lesson)
    again = teach(**lesson, resume=True)
    assert again.metrics["cross_validated_accuracy"] == taught.metrics["cross_validated_accuracy"]
    whole = load_file(taught.directory / "soft_labels.safetensors")["probability"]
    assert np.array_equal(load_file(tmp_path / "teachers" / "soft_labels.safetensors")["probability"], whole)


def test_teachers_of_another_lesson_are_not_mixed_in(taught, source):
    with pytest.raises(ValueError, match="split_seed was 42 and is 7"):
        teach(dataset=source, output_dir=taught.directory, validation_fraction=0.2, split_seed=7, resume=True)


def test_teachers_of_reordered_reviews_are_not_mixed_in(taught, source, tmp_path):
    directory = shutil.copytree(taught.directory, tmp_path / "teachers")
    settings = json.loads((directory / "settings.json").read_text())
    other = change_unlabeled(source, tmp_path / "other", lambda part: part.select(range(149, -1, -1)))
    settings["dataset"] = str(other)
    (directory / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"fitted on other reviews or .*: unlabeled.*another --output_dir"):
        teach(dataset=settings["dataset"], output_dir=directory, validation_fraction=0.2, resume=True)


def test_data_without_unlabeled_reviews_are_refused(tmp_path):
    part = datasets.Dataset.from_dict({"text": ["a", "b"] * 10, "label": [0, 1] * 10})
    datasets.DatasetDict({"train": part}).save_to_disk(tmp_path / "data")
    with pytest.raises(ValueError, match="no unlabeled reviews"):
        teach(dataset=tmp_path / "data", output_dir=tmp_path / "teachers")


@pytest.fixture(scope="module")
def student(taught, source, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "student"
    return train(STUDENT, dataset=source, soft_labels=taught.directory, output_dir=run, **QUIET)


def test_a_student_learns_from_its_teachers(student):
    assert student.metrics["test"]["accuracy"] > 0.9
    assert student.metrics["dataset"]["unlabeled"] == 150
    # 160 labeled and 150 unlabeled reviews are 20 batches of 16.
    state = json.loads((student.run_directory / "checkpoints" / "checkpoint-160" / "trainer_state.json").read_text())
    assert state["max_steps"] == 160
    assert set(student.metrics["teachers"]["teachers"]) == {"ngrams_and_vectors"}
    assert student.metrics["teachers"]["fitted_on"] == {"teachers": "train", "weights": "validation"}
    unseen = student.metrics["teachers"]["cross_validated_accuracy"]
    assert f"{unseen:.2%} (cross-validated: their weights" in (student.run_directory / "README.md").read_text()


def best_loss(result):
    return result.metrics["history"][result.metrics["best_epoch"] - 1]["validation_loss"]


def test_the_head_is_calibrated(tmp_path):
    # Labels that contradict the words, so that no model classifies all reviews correctly.
    noisy = [*make_reviews(160), *((f"great {i}", i % 2) for i in range(80))]
    preset = replace(TINY, calibrate=True)
    result = train(preset, dataset=write_csv(tmp_path / "reviews.csv", noisy), output_dir=tmp_path / "run", **QUIET)
    assert result.metrics["temperature"] != 1
    # Fitted on the validation reviews, it flatters them; each fold of them scaled by the others tells more.
    unseen = result.metrics["calibration"]["cross_validated"]["nll"]
    assert result.metrics["validation"]["loss"] < min(unseen, best_loss(result))
    card = (result.run_directory / "README.md").read_text()
    assert f"folded into the head; cross-validated, their loss is {unseen:.4f}" in card


def test_separated_validation_reviews_do_not_scale_the_head(student):
    assert student.metrics["validation"]["accuracy"] == 1
    assert "temperature" not in student.metrics
    assert student.metrics["validation"]["loss"] == pytest.approx(best_loss(student), abs=1e-6)


def test_a_student_can_teach_and_is_asked_again_once_it_was_trained_anew(student, source, tmp_path, caplog):
    run = shutil.copytree(student.run_directory, tmp_path / "student")
    lesson = {"dataset": source, "output_dir": tmp_path / "again", "validation_fraction": 0.2, "students": [run]}
    once = teach(**lesson)
    assert set(once.metrics["teachers"]) == {"ngrams_and_vectors", "student"}
    first = load_file(once.directory / "student.safetensors")["unlabeled"]
    weights = {name: -tensor if "classifier" in name else tensor for name, tensor in load_file(run / WEIGHTS).items()}
    save_file(weights, run / WEIGHTS, metadata={"format": "pt"})
    caplog.set_level("INFO")
    teach(**lesson, resume=True)
    np.testing.assert_allclose(load_file(tmp_path / "again" / "student.safetensors")["unlabeled"], -first, atol=1e-5)
    assert "student: its weights have changed" in caplog.text
    assert "ngrams_and_vectors: there already" in caplog.text


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"split_seed": 7}, ValueError, "may know the validation or test reviews"),
        ({"students": 2}, ValueError, "two students are called student"),
        ({"students": 0}, FileNotFoundError, "none is no finished run; train it first"),
    ],
)
def test_a_student_that_cannot_teach_is_refused(change, error, message, student, source, tmp_path):
    runs = {0: [tmp_path / "none"], 2: [student.run_directory] * 2}
    lesson = {"validation_fraction": 0.2, **change}
    lesson["students"] = runs.get(change.get("students"), [student.run_directory])
    with pytest.raises(error, match=message):
        teach(dataset=source, output_dir=tmp_path / "teachers", **lesson)


def test_soft_labels_of_another_split_are_refused(taught, source, tmp_path):
    with pytest.raises(ValueError, match="split_seed was 42 and is 7"):
        train(STUDENT, dataset=source, soft_labels=taught.directory, split_seed=7, output_dir=tmp_path / "run", **QUIET)


def change_unlabeled(source, folder, change):
    parts = datasets.load_from_disk(source)
    parts["unsupervised"] = change(parts["unsupervised"])
    parts.save_to_disk(folder)
    return folder


def test_soft_labels_of_other_reviews_are_refused(taught, source, tmp_path):
    texts = [text + "!" * (i == 7) for i, text in enumerate(datasets.load_from_disk(source)["unsupervised"]["text"])]
    other = change_unlabeled(
        source, tmp_path / "other", lambda part: part.remove_columns("text").add_column("text", texts)
    )
    with pytest.raises(ValueError, match=r"soft_labels\.safetensors is about other unlabeled reviews"):
        train(STUDENT, dataset=other, soft_labels=taught.directory, output_dir=tmp_path / "run", **QUIET)


def test_a_kill_between_the_two_files_of_the_teachers_is_noticed(taught, source, tmp_path):
    directory = shutil.copytree(taught.directory, tmp_path / "teachers")
    stored = load_file(directory / "soft_labels.safetensors")
    save_file({**stored, "probability": 1 - stored["probability"]}, directory / "soft_labels.safetensors")
    student = {"dataset": source, "soft_labels": directory, "output_dir": tmp_path / "run", **QUIET}
    with pytest.raises(ValueError, match=r"is not the file that teachers\.json is about; finish it with .* --resume"):
        train(STUDENT, **student)
    teach(dataset=source, output_dir=directory, validation_fraction=0.2, resume=True)
    (directory / "teachers.json").rename(tmp_path / "teachers.json")
    with pytest.raises(FileNotFoundError, match=r"teachers\.json is missing; make it with hf-lstm-sentiment distill"):
        train(STUDENT, **student)
