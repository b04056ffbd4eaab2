"""Run in a process of its own that cannot import this package: what a stranger does with a published model.

    python -I stranger.py FOLDER FACTS OVERLAY STEP ...

FOLDER holds a batch and what the package makes of it; FACTS (JSON) name the repository, its revisions, and what it must
answer; OVERLAY, unless empty, is a directory of other versions of packages; each STEP is a function below, which fails
where something is not as it should be.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import io
import json
import os
import sys
from pathlib import Path

FOLDER, FACTS = Path(sys.argv[1]), json.loads(sys.argv[2])
if sys.argv[3]:
    sys.path.insert(0, sys.argv[3])


class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hf_lstm_sentiment":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent())
with contextlib.suppress(ModuleNotFoundError):
    import hf_lstm_sentiment  # noqa: F401

    raise SystemExit("the package can be imported, so this would not test remote code")

import pytest  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoConfig, AutoModel, AutoTokenizer, pipeline  # noqa: E402
from transformers import AutoModelForSequenceClassification as AutoClassifier  # noqa: E402

torch.set_num_threads(1)
REPO, TAG, AGAIN = FACTS["repo"], FACTS["tag"], "user/pulled"
TRUSTED = {"trust_remote_code": True}
TEXTS, SCORES = FACTS["texts"], FACTS["scores"]
BEST = [max(scores, key=scores.get) for scores in SCORES]


def logits(model):
    with torch.no_grad():
        return model.eval()(**load_file(FOLDER / "batch.safetensors")).logits


def pulled():
    tokenizer = AutoTokenizer.from_pretrained(REPO, revision=TAG, **TRUSTED)
    return AutoClassifier.from_pretrained(REPO, revision=TAG, **TRUSTED), tokenizer


def assert_answers(classify):
    """One by one, in batches of unequal length, and alone, a pipeline answers what the package predicts."""
    for options in ({}, {"batch_size": 3}):
        for answers, scores in zip(classify(TEXTS, truncation=True, top_k=None, **options), SCORES, strict=True):
            assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(scores, abs=1e-6)
        assert [answer["label"] for answer in classify(TEXTS, truncation=True, **options)] == BEST
    assert classify(TEXTS[0], truncation=True)[0]["label"] == BEST[0]


def assert_comes_from(model, revision, repo="user.model"):
    assert type(model).__module__ == f"transformers_modules.{repo}.{revision}.modeling_sentiment_lstm"


def distrust():
    """Who does not trust runs nothing."""
    for load in (
        AutoConfig.from_pretrained,
        AutoModel.from_pretrained,
        AutoClassifier.from_pretrained,
        lambda name, **options: pipeline("text-classification", model=name, **options),
    ):
        for options in ({}, {"trust_remote_code": False}, {"revision": TAG}):
            with pytest.raises(ValueError, match="trust_remote_code=True"):
                load(REPO, **options)
    assert not [*Path(os.environ["HF_HOME"]).rglob("*_lstm*.py")]
    assert not [name for name in sys.modules if "sentiment_lstm" in name or "packed_lstm" in name]


def revisions():
    """Weights and code are those of the revision that was asked for, and bit for bit those of the package."""
    first, second = FACTS["first"], FACTS["second"]
    for options, weights, code in (
        ({}, "second", second),
        ({"revision": TAG}, "first", first),
        ({"revision": first}, "first", first),
        ({"revision": second}, "second", second),
        ({"code_revision": first}, "second", first),
    ):
        model = AutoClassifier.from_pretrained(REPO, **options, **TRUSTED)
        assert torch.equal(logits(model), load_file(FOLDER / f"local-{weights}.safetensors")["logits"]), options
        assert_comes_from(model, code)
        encoder = AutoModel.from_pretrained(REPO, **options, **TRUSTED)
        config = AutoConfig.from_pretrained(REPO, **options, **TRUSTED)
        assert [type(encoder).__name__, type(config).__name__] == ["SentimentLSTMModel", "SentimentLSTMConfig"]
        assert config.pooling == "max"


def classify():
    assert transformers.__version__.startswith(FACTS.get("transformers", ""))
    assert_answers(pipeline("text-classification", model=REPO, revision=TAG, **TRUSTED))
    # The tokenizer needs no remote code.
    tokenizer = AutoTokenizer.from_pretrained(REPO, revision=TAG, **TRUSTED)
    assert type(tokenizer).__module__.startswith("transformers.")
    assert tokenizer.model_max_length == FACTS["max_length"]
    assert tokenizer(["wonderful", ""], padding=True)["attention_mask"] == [[1], [0]]


def evaluate_it():
    import datasets
    import evaluate

    datasets.config.HF_DATASETS_CACHE = FOLDER / "datasets"

    class Accuracy(evaluate.Metric):
        def _info(self):
            features = datasets.Features(dict.fromkeys(("predictions", "references"), datasets.Value("int64")))
            return evaluate.MetricInfo(description="", citation="", features=features)

        def _compute(self, predictions, references):
            return {"accuracy": sum(map(int.__eq__, predictions, references)) / len(references)}

    model, tokenizer = pulled()
    examples = datasets.Dataset.from_dict({"text": TEXTS * 4, "label": [1, 0, 0, 1] * 4})
    measured = evaluate.evaluator("text-classification").compute(
        model, examples, tokenizer=tokenizer, metric=Accuracy(), label_mapping=model.config.label2id
    )
    assert measured["accuracy"] == sum(map(int.__eq__, map(model.config.label2id.get, BEST), [1, 0, 0, 1])) / 4


def fine_tune():
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    model, tokenizer = pulled()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = [{**tokenizer(text, truncation=True), "label": i % 2} for i, text in enumerate(TEXTS * 4)]
    quiet = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False}
    arguments = TrainingArguments(str(FOLDER / "tuned"), max_steps=2, learning_rate=1e-2, **quiet)
    parts = {"data_collator": DataCollatorWithPadding(tokenizer), "processing_class": tokenizer}
    trainer = Trainer(model, arguments, train_dataset=rows, **parts)
    assert 0 < trainer.train().training_loss < 5
    assert not [name for name, value in model.state_dict().items() if torch.equal(value, before[name])]
    assert not model.get_input_embeddings().weight[0].any(), "padding has no vector"
    trainer.save_model(str(FOLDER / "tuned"))
    tuned = AutoClassifier.from_pretrained(FOLDER / "tuned", **TRUSTED)
    assert torch.equal(logits(tuned), logits(model))


def publish_again():
    for part in pulled():
        part.save_pretrained(FOLDER / "pulled")
        part.push_to_hub(AGAIN)


def load_again():
    expected = load_file(FOLDER / "local-first.safetensors")["logits"]
    for source in (AGAIN, FOLDER / "pulled"):
        assert torch.equal(logits(AutoClassifier.from_pretrained(source, **TRUSTED)), expected)
    classifier = pipeline("text-classification", model=AGAIN, **TRUSTED)
    assert_answers(classifier)
    assert type(classifier.model).__module__.startswith("transformers_modules.user.pulled.")


def run_snippets():
    """The code that the command prints, and that in the card, as their readers run it."""
    from huggingface_hub import ModelCard

    card = ModelCard.load(REPO)
    card.validate()
    assert card.data.eval_results
    (block,) = (part for part in card.text.split("```")[1::2] if part.startswith("python\n"))
    in_card = block.removeprefix("python\n").replace("PATH_OR_USER/NAME", REPO)
    for code, revision in ((FACTS["snippet"], FACTS["first"]), (in_card, FACTS["second"])):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, scope := {})
        answer = scope["classify"]("A moving film.", truncation=True)
        assert "'label'" in str(answer)
        assert printed.getvalue().strip() in ("", str(answer))
        assert_comes_from(scope["classify"].model, revision)


for step in sys.argv[4:]:
    globals()[step]()
