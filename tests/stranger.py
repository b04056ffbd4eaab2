"""Run in a process of its own that cannot import this package: what a stranger does with a published model.

    python -I stranger.py FOLDER FACTS OVERLAY STEP ...

FOLDER holds a batch and takes the tensors that come of it; FACTS (JSON) name the repository and its revisions; OVERLAY,
unless empty, is a directory of other versions of packages; each STEP is a function below. The last line printed is a
report, as JSON.
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

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoConfig, AutoModel, AutoTokenizer, pipeline  # noqa: E402
from transformers import AutoModelForSequenceClassification as AutoClassifier  # noqa: E402

torch.set_num_threads(1)
REPO, TAG = FACTS["repo"], FACTS["tag"]
AGAIN = "user/pulled"
TRUSTED = {"trust_remote_code": True}
TEXTS = ["a wonderful film", "", "boring and dull word1", "word " * 600]
LABELS = [1, 0, 0, 1]
BATCH = load_file(FOLDER / "batch.safetensors")


def logits(model):
    with torch.no_grad():
        return model.eval()(**BATCH).logits


def pipeline_answers(classify, **options):
    one_by_one = classify(TEXTS, truncation=True, **options)
    batched = classify(TEXTS, truncation=True, batch_size=3, **options)
    return [one_by_one, batched, classify(TEXTS[0], truncation=True, **options)]


def pulled():
    tokenizer = AutoTokenizer.from_pretrained(REPO, revision=TAG, **TRUSTED)
    return AutoClassifier.from_pretrained(REPO, revision=TAG, **TRUSTED), tokenizer


def distrust():
    refusals = []
    for load in (
        AutoConfig.from_pretrained,
        AutoModel.from_pretrained,
        AutoClassifier.from_pretrained,
        lambda name, **options: pipeline("text-classification", model=name, **options),
    ):
        for options in ({}, {"trust_remote_code": False}, {"revision": TAG}):
            try:
                load(REPO, **options)
            except ValueError as error:
                refusals.append(str(error))
    code = [str(path) for path in Path(os.environ["HF_HOME"]).rglob("*_lstm*.py")]
    modules = [name for name in sys.modules if "sentiment_lstm" in name or "packed_lstm" in name]
    return {"refusals": refusals, "code before trust": code, "modules before trust": modules}


def revisions():
    asked = {"main": {}, "tag": {"revision": TAG}}
    asked |= {name: {"revision": FACTS[name]} for name in ("first", "second")}
    asked["code of the first"] = {"code_revision": FACTS["first"]}
    tensors, modules, base = {}, {}, {}
    for name, revision in asked.items():
        model = AutoClassifier.from_pretrained(REPO, **revision, **TRUSTED)
        tensors[name], modules[name] = logits(model), type(model).__module__
        encoder = AutoModel.from_pretrained(REPO, **revision, **TRUSTED)
        config = AutoConfig.from_pretrained(REPO, **revision, **TRUSTED)
        base[name] = [type(encoder).__name__, type(config).__name__, config.pooling]
        with torch.no_grad():
            tensors[f"{name} base"] = encoder.eval()(**BATCH).pooler_output
    save_file(tensors, FOLDER / f"stranger-{transformers.__version__}.safetensors")
    return {"modules": modules, "base": base, "transformers": transformers.__version__}


def classify():
    classifier = pipeline("text-classification", model=REPO, revision=TAG, **TRUSTED)
    model, tokenizer = pulled()
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits.softmax(-1).tolist()
    mask = tokenizer(["wonderful", ""], padding=True)["attention_mask"]
    return {
        "answers": pipeline_answers(classifier),
        "all labels": pipeline_answers(classifier, top_k=None),
        "expected": expected,
        "tokenizer": [type(tokenizer).__module__, tokenizer.model_max_length, mask],
    }


def publish_again():
    model, tokenizer = pulled()
    for part in (model, tokenizer):
        part.save_pretrained(FOLDER / "pulled")
        part.push_to_hub(AGAIN)
    return {}


def evaluate_it():
    import datasets
    import evaluate

    datasets.config.HF_DATASETS_CACHE = FOLDER / "datasets"

    class Accuracy(evaluate.Metric):
        def _info(self):
            features = datasets.Features(dict.fromkeys(("predictions", "references"), datasets.Value("int64")))
            return evaluate.MetricInfo(description="", citation="", features=features)

        def _compute(self, predictions, references):
            right = sum(p == r for p, r in zip(predictions, references, strict=True))
            return {"accuracy": right / len(references)}

    model, tokenizer = pulled()
    examples = datasets.Dataset.from_dict({"text": TEXTS * 4, "label": LABELS * 4})
    measured = evaluate.evaluator("text-classification").compute(
        model, examples, tokenizer=tokenizer, metric=Accuracy(), label_mapping=model.config.label2id
    )
    return {"evaluated": measured["accuracy"]}


def fine_tune():
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    model, tokenizer = pulled()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    labelled = zip(TEXTS * 4, LABELS * 4, strict=True)
    rows = [{**tokenizer(text, truncation=True), "label": label} for text, label in labelled]
    quiet = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False}
    arguments = TrainingArguments(str(FOLDER / "tuned"), max_steps=2, learning_rate=1e-2, **quiet)
    parts = {"data_collator": DataCollatorWithPadding(tokenizer), "processing_class": tokenizer}
    trainer = Trainer(model, arguments, train_dataset=rows, **parts)
    loss = trainer.train().training_loss
    unchanged = [name for name, value in model.state_dict().items() if torch.equal(value, before[name])]
    padding = model.get_input_embeddings().weight[0]
    trainer.save_model(str(FOLDER / "tuned"))
    tuned = AutoClassifier.from_pretrained(FOLDER / "tuned", **TRUSTED)
    return {
        "tuned": [loss, trainer.state.global_step, unchanged],
        "padding stays zero": not padding.any().item(),
        "tuned loads": torch.equal(logits(tuned), logits(model)),
    }


def load_again():
    sources = {"hub": AGAIN, "directory": FOLDER / "pulled"}
    tensors = {name: logits(AutoClassifier.from_pretrained(source, **TRUSTED)) for name, source in sources.items()}
    save_file(tensors, FOLDER / "again.safetensors")
    classifier = pipeline("text-classification", model=AGAIN, **TRUSTED)
    return {"again": pipeline_answers(classifier), "again module": type(classifier.model).__module__}


def run_snippets():
    """The code that the script prints, and that in the card, as their readers run it."""
    from huggingface_hub import ModelCard

    (block,) = (part for part in ModelCard.load(REPO).text.split("```")[1::2] if part.startswith("python\n"))
    snippets = {"script": FACTS["snippet"], "card": block.removeprefix("python\n").replace("PATH_OR_USER/NAME", REPO)}
    report = {}
    for name, code in snippets.items():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, scope := {})
        report[f"{name} printed"] = printed.getvalue().strip()
        report[f"{name} answers"] = str(scope["classify"]("A moving film.", truncation=True))
        report[f"{name} module"] = type(scope["classify"].model).__module__
    return report


def read_card():
    from huggingface_hub import HfApi, ModelCard
    from huggingface_hub.repocard_data import model_index_to_eval_results

    card = ModelCard.load(REPO)
    card.validate()
    name, results = model_index_to_eval_results(card.data.to_dict()["model-index"])
    info = HfApi().model_info(REPO)
    return {
        "card": [name, {result.metric_type: result.metric_value for result in results}],
        "widget": card.data.to_dict()["widget"],
        "info": [info.sha, info.library_name, info.pipeline_tag, sorted(s.rfilename for s in info.siblings)],
    }


REPORT = {}
for step in sys.argv[4:]:
    REPORT.update(globals()[step]())
print()  # A prompt for trust leaves its line open.  # noqa: T201
print(json.dumps(REPORT))  # noqa: T201
