"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET [-max_total_time=300]` (pip install atheris).

Only errors that are meant for a reader may come out; anything else is a finding, kept in the tests of its room.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris
import torch

with atheris.instrument_imports(include=["hf_lstm_sentiment"]):
    from hf_lstm_sentiment import SentimentLSTMConfig
    from hf_lstm_sentiment.data import glove, readers
    from hf_lstm_sentiment.inference import classifier as inference
    from hf_lstm_sentiment.inference import files as scoring
    from hf_lstm_sentiment.model import loading as checkpoints
    from hf_lstm_sentiment.model import tokenization

from tests.demo_model import save_model
from tests.mutations import mutated

FOLDER = Path(tempfile.mkdtemp())
MEANT = (ValueError, TypeError, OSError)


def file(name, data):
    path = FOLDER / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def file_of_a_kind(kinds, data):
    """A file whose kind the first byte chooses."""
    return file(f"a{kinds[data[0] % len(kinds)] if data else kinds[0]}", data[1:])


def fuzz_glove(data):
    path = file_of_a_kind((".txt", ".txt.gz", ".zip"), data)
    with suppress(*MEANT):
        vectors = glove.load_glove(path, ["good", "bad", "1", ""])
        assert len(vectors.words) == len(vectors.vectors)
        assert all(map(all, abs(vectors.vectors) < float("inf")))


def fuzz_rows(data):
    """The reader of predict's files."""
    path = file_of_a_kind((".csv", ".tsv", ".jsonl", ".txt", ".json"), data)
    with suppress(*MEANT):
        scoring.predict_file(path, FOLDER / "out.jsonl", model=CLASSIFIER, text_column="text", progress=False)
        lines = (FOLDER / "out.jsonl").read_text("utf-8").split("\n")
        assert all("label" in json.loads(line) for line in lines if line)
    (FOLDER / "out.jsonl").unlink(missing_ok=True)
    shutil.rmtree(FOLDER / "out.jsonl.parts", ignore_errors=True)


def fuzz_tokenizer(data):
    text = atheris.FuzzedDataProvider(data).ConsumeUnicode(2_000)
    scheme = "words" if len(data) % 2 else "whitespace"
    with suppress(*MEANT):
        tokenizer = tokenization.train_tokenizer([text, "word"], scheme=scheme)
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids, ascii(text)
        assert tokenizer.pad_token_id not in ids, ascii(text)


def fuzz_config(data):
    file("config/config.json", b'{"model_type": "sentiment_lstm", ' + data)
    with suppress(*MEANT):
        config = checkpoints.read_config(str(FOLDER / "config"), None)
        config.validate_ranges()
        assert isinstance(config, SentimentLSTMConfig)
        assert set(config.id2label) == set(range(config.num_labels))


def fuzz_json(data):
    """The reader of json and jsonl files."""
    path = file("a.json" if data[:1] < b"\x80" else "a.jsonl", data[1:])
    try:
        for read in readers.open_rows(path, readers.FileForm()).read():
            assert isinstance(read.row, dict)
            json.dumps(read.row, ensure_ascii=False).encode()
    except MEANT as error:
        if not str(error).startswith("a.json"):
            raise AssertionError(error) from error


def fuzz_checkpoint(data):
    """Configurations and tokenizers that are JSON and not what they should be."""
    choices = atheris.FuzzedDataProvider(data)

    def choose(values):
        return values[choices.ConsumeIntInRange(0, len(values) - 1)]

    changed = choose(sorted(CHECKPOINT))
    for name, content in CHECKPOINT.items():
        whole = mutated(content, choose) if name == changed else content
        file(f"checkpoint/{name}", json.dumps(whole).encode())
    with suppress(*MEANT):
        classifier = inference.Classifier.from_pretrained(FOLDER / "checkpoint")
        assert all(0.5 <= score <= 1 for _, score in classifier(["a good film", "", "b \u00e9\U0001f600"]))


if __name__ == "__main__":
    target = sys.argv.pop(1)
    torch.set_num_threads(1)
    CLASSIFIER = inference.Classifier.from_pretrained(save_model(FOLDER / "checkpoint"))
    NAMES = ("config.json", "tokenizer.json", "tokenizer_config.json")
    CHECKPOINT = {name: json.loads((FOLDER / "checkpoint" / name).read_text("utf-8")) for name in NAMES}
    atheris.Setup(sys.argv, globals()[f"fuzz_{target}"])
    atheris.Fuzz()
