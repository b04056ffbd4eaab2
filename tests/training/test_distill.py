from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace

import datasets
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hf_lstm_sentiment import PRESETS, Classifier, load_reviews, teach, train
from hf_lstm_sentiment.evaluation.calibration import fit_temperature
from hf_lstm_sentiment.training import distill as teaching
from hf_lstm_sentiment.training.distill import weigh
from hf_lstm_sentiment.training.teachers import MINILM, document_vectors, ngrams_and_vectors
from hf_lstm_sentiment.utils.files import read_json
from hf_lstm_sentiment.utils.run_directory import WEIGHTS
from tests.reviews import TINY, make_reviews, refused, write_csv

SIZES = {"vocab_words": 80, "embedding_size": 8, "hidden_size": 16, "max_length": 64, "train_max_length": 10}
DROPOUT = {"embedding_dropout": 0.1, "classifier_dropout": 0.1}
FITTED = {"learning_rate": 2e-2, "warmup_steps": 0, "batch_size": 16, "epochs": 8, "patience": 8}
STUDENT = replace(
    PRESETS["imdb"], name="student", pretrained=None, validation_fraction=0.2, **SIZES, **DROPOUT, **FITTED
)


@pytest.fixture(scope="module")
def taught(source, tmp_path_factory):
    return teach(dataset=source, output_dir=tmp_path_factory.mktemp("taught") / "teachers", validation_fraction=0.2)


@pytest.fixture
def lesson(source, tmp_path):
    return {"dataset": source, "output_dir": tmp_path / "teachers", "validation_fraction": 0.2}


@pytest.fixture
def copied(taught, tmp_path):
    return shutil.copytree(taught.directory, tmp_path / "teachers")


@pytest.fixture(scope="module")
def reviews(source):
    return load_reviews(source, unlabeled=True)


def talk(row, index):
    """A text of one of two kinds, which share no word."""
    words = random.Random(index).choices(range(200), k=40)
    return {"text": " ".join(f"{'ab'[index % 2]}{word}" for word in words)}


def test_reviews_of_the_same_words_have_similar_vectors(reviews):
    spoken = replace(reviews, **{p: getattr(reviews, p).map(talk, with_indices=True) for p in ("train", "unlabeled")})
    vectors = document_vectors(spoken, min_count=3, epochs=40)
    assert vectors.shape == (160 + 40 + 150, 200)
    # Training and unlabeled reviews take turns; between them lie those of the validation.
    unit = np.delete(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), slice(160, 200), axis=0)
    alike = unit @ unit.T
    assert alike[::2, ::2].mean() > alike[::2, 1::2].mean() + 0.1


@pytest.mark.parametrize("read", ["n-grams", "vectors"])
def test_the_regression_reads_n_grams_and_vectors(reviews, read):
    # The labels of the unlabeled reviews alternate, as they were made.
    known, made = np.asarray(reviews.validation["label"][:]), np.arange(150) % 2
    vectors = np.zeros((350, 2), dtype=np.float32)
    if read == "vectors":
        parts = ("train", "validation", "unlabeled")
        vectors[:] = np.stack([[*reviews.train["label"][:], *known, *made], np.ones(350)], axis=1)
        reviews = replace(reviews, **{part: getattr(reviews, part).map(lambda _: {"text": "three"}) for part in parts})
    validation, unlabeled = ngrams_and_vectors(reviews, vectors).values()
    assert (validation.shape, unlabeled.shape) == ((40,), (150,))
    assert min(np.mean((validation > 0) == known), np.mean((unlabeled > 0) == made)) > 0.9


def test_weights_prefer_the_teacher_who_knows():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    logits = np.stack([2.0 * labels - 1 + rng.normal(0, 0.5, 500), rng.normal(0, 1, 500)], axis=1)
    weights, bias, held_out = weigh(logits.astype(np.float32), labels)
    assert weights[0] > 10 * abs(weights[1])
    assert abs(bias) < 0.5
    assert 0.9 < np.mean(held_out == labels) < 1


def test_soft_labels_are_the_weighted_logits(taught, reviews):
    stored = load_file(taught.directory / "soft_labels.safetensors")
    teachers = taught.metrics["teachers"]
    logits = [load_file(taught.directory / f"{name}.safetensors")["unlabeled"] for name in teachers]
    total = sum(teacher["weight"] * z for teacher, z in zip(teachers.values(), logits, strict=True))
    odds = np.log(stored["probability"] / (1 - stored["probability"]))
    assert np.ptp(odds - total) < 1e-3
    assert stored["row"].tolist() == list(range(150))
    assert "ngrams_and_vectors" in taught.summary()
    assert "150 reviews" in taught.summary()


def test_a_stopped_teaching_goes_on_with_the_next_teacher(taught, lesson, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teaching, "ngrams_and_vectors", stop)
        with pytest.raises(KeyboardInterrupt):
            teach(**lesson)
    monkeypatch.setattr(teaching, "document_vectors", stop)
    refused(lambda: teach(**lesson), "holds teachers; pass --resume")
    again = teach(**lesson, resume=True)
    assert again.metrics["cross_validated_accuracy"] == taught.metrics["cross_validated_accuracy"]
    there, here = (load_file(folder / "soft_labels.safetensors") for folder in (taught.directory, again.directory))
    assert np.array_equal(there["probability"], here["probability"])


def test_teachers_of_other_settings_or_reviews_are_not_mixed_in(copied, lesson, tmp_path):
    refused(lambda: teach(**lesson, split_seed=7, resume=True), "split_seed was 42 and is 7")
    # Under the name that they had, the unlabeled reviews are there in another order.
    other = change_unlabeled(lesson["dataset"], tmp_path / "other", lambda part: part.select(range(149, -1, -1)))
    settings = {**read_json(copied / "settings.json"), "dataset": str(other)}
    (copied / "settings.json").write_text(json.dumps(settings))
    refused(lambda: teach(**{**lesson, "dataset": other}, resume=True), "unlabeled was .*another --output_dir")


@pytest.fixture(scope="module")
def student(taught, source, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "student"
    return train(STUDENT, dataset=source, soft_labels=taught.directory, output_dir=run, disable_tqdm=True)


def best_loss(result):
    return result.metrics["history"][result.metrics["best_epoch"] - 1]["validation_loss"]


def test_a_student_learns_from_its_teachers(student):
    metrics, run = student.metrics, student.run_directory
    assert metrics["test"]["accuracy"] > 0.9
    assert metrics["dataset"]["unlabeled"] == 150
    # 160 labeled and 150 unlabeled reviews are 20 batches of 16.
    assert read_json(run / "checkpoints" / "checkpoint-160" / "trainer_state.json")["max_steps"] == 160
    teachers = metrics["teachers"]
    assert set(teachers["teachers"]) == {"ngrams_and_vectors"}
    assert teachers["fitted_on"] == {"teachers": "train", "weights": "validation"}
    unseen = f"{teachers['cross_validated_accuracy']:.2%} (cross-validated: their weights"
    assert unseen in (run / "README.md").read_text()
    # Validation reviews that are separated do not scale the head.
    assert metrics["validation"]["accuracy"] == 1
    assert "temperature" not in metrics
    assert metrics["validation"]["loss"] == pytest.approx(best_loss(student), abs=1e-6)


def test_the_head_is_calibrated(fit, tmp_path):
    # Labels that contradict the words, so that no model classifies all reviews correctly.
    noisy = [*make_reviews(160), *((f"great {i}", i % 2) for i in range(80))]
    path = write_csv(tmp_path / "reviews.csv", noisy)
    result = fit(replace(TINY, calibrate=True), dataset=path)
    assert abs(result.metrics["temperature"] - 1) > 0.05
    # What was saved needs no temperature any more.
    held_out = load_reviews(path).validation
    logits = Classifier.from_pretrained(result.run_directory).logits(held_out["text"][:])
    assert fit_temperature(logits, np.asarray(held_out["label"][:])) == pytest.approx(1, abs=0.01)
    # Fitted on the validation reviews, it flatters them; each fold of them scaled by the others tells more.
    unseen = result.metrics["calibration"]["cross_validated"]["nll"]
    assert result.metrics["validation"]["loss"] < min(unseen, best_loss(result))
    card = (result.run_directory / "README.md").read_text()
    assert f"folded into the head; cross-validated, their loss is {unseen:.4f}" in card


def test_a_student_can_teach_and_is_asked_again_once_it_was_trained_anew(student, lesson, tmp_path, caplog):
    run = shutil.copytree(student.run_directory, tmp_path / "student")
    once = teach(**lesson, students=[run])
    assert set(once.metrics["teachers"]) == {"ngrams_and_vectors", "student"}
    first = load_file(once.directory / "student.safetensors")["unlabeled"]
    weights = {name: -tensor if "classifier" in name else tensor for name, tensor in load_file(run / WEIGHTS).items()}
    save_file(weights, run / WEIGHTS, metadata={"format": "pt"})
    metrics = read_json(run / "metrics.json")
    (run / "metrics.json").write_text(json.dumps({**metrics, "base_model": {"may_know": ["old.csv"]}}))
    caplog.set_level("INFO")
    teach(**lesson, students=[run], resume=True)
    assert "started from a model of old.csv: reviews of these flatter its figures" in caplog.text
    np.testing.assert_allclose(load_file(once.directory / "student.safetensors")["unlabeled"], -first, atol=1e-5)
    assert "student: its weights have changed" in caplog.text
    assert "ngrams_and_vectors: there already" in caplog.text


@pytest.mark.parametrize(
    ("students", "options", "message"),
    [
        (["student"], {"split_seed": 7}, "may know the validation or test reviews"),
        (["student", "student"], {}, "two teachers are called student; rename the directory"),
        # Its answers would be in the place of what the teachers give together.
        (["soft_labels"], {}, "two teachers are called soft_labels"),
        (["none"], {}, "none is no finished run; train it first"),
        ([], {"output_dir": "."}, "not an empty folder; name another one"),
        ([], {"dataset": "tests/fuzz.csv"}, "fuzz.csv: no such file"),
        ([], {"dataset": "few.csv"}, "no unlabeled reviews"),
        ([], {"teacher": "no/such/place"}, f"--teacher no/such/place: .*allowed: a directory, .* or {MINILM}"),
        ([], {"teacher": "not a name!"}, "--teacher not a name!: .*allowed: a directory"),
        ([], {"short_texts": "a.csv"}, "pass a teacher too"),
    ],
)
def test_what_cannot_teach_is_refused(students, options, message, student, lesson, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "few.csv", make_reviews(20))
    runs = [student.run_directory if name == "student" else tmp_path / name for name in students]
    refused(lambda: teach(**{**lesson, "students": runs, **options}), message)
    assert not (tmp_path / "teachers.json").exists()


def shouted(row, index):
    return {"text": row["text"] + "!" * (index == 7)}


def change_unlabeled(source, folder, change):
    parts = datasets.load_from_disk(source)
    parts["unsupervised"] = change(parts["unsupervised"])
    parts.save_to_disk(folder)
    return folder


def test_soft_labels_of_another_split_or_of_other_reviews_are_refused(fit, taught, source, tmp_path):
    learn = {"preset": STUDENT, "dataset": source, "soft_labels": taught.directory}
    refused(lambda: fit(**learn, split_seed=7), "split_seed was 42 and is 7")
    shout = change_unlabeled(source, tmp_path / "other", lambda part: part.map(shouted, with_indices=True))
    refused(lambda: fit(**{**learn, "dataset": shout}), r"soft_labels\.safetensors is about other unlabeled reviews")


def test_a_kill_between_the_two_files_of_the_teachers_is_noticed(fit, copied, lesson, tmp_path):
    stored = load_file(copied / "soft_labels.safetensors")
    save_file({**stored, "probability": 1 - stored["probability"]}, copied / "soft_labels.safetensors")
    learn = {"preset": STUDENT, "dataset": lesson["dataset"], "soft_labels": copied}
    refused(lambda: fit(**learn), r"is not the file that teachers\.json is about; finish it with .* --resume")
    teach(**lesson, resume=True)
    (copied / "teachers.json").rename(tmp_path / "teachers.json")
    refused(lambda: fit(**learn), r"teachers\.json is missing; make it with hf-lstm-sentiment distill")
