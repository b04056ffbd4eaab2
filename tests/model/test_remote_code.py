import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_lstm_sentiment
from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification, SentimentLSTMModel
from tests.model.test_configuration import AUTO_MAP

PACKAGE = Path(hf_lstm_sentiment.__file__).parent / "model"
TRAVELLING = ["configuration_sentiment_lstm.py", "modeling_sentiment_lstm.py", "packed_lstm.py"]
HEAVY = ["datasets", "evaluate", "matplotlib", "sklearn"]

# Each script runs in a process of its own: where the package has been imported, its classes win over remote ones.
WITHOUT_PACKAGE = """
import importlib.abc, json, sys
from pathlib import Path


class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hf_lstm_sentiment":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent())
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

folder = Path(sys.argv[1])


def outputs(checkpoint):
    batch = load_file(folder / "batch.safetensors")
    with torch.no_grad():
        classifier = AutoModelForSequenceClassification.from_pretrained(checkpoint, trust_remote_code=True)
        encoder = AutoModel.from_pretrained(checkpoint, trust_remote_code=True)
        return {"logits": classifier(**batch).logits, "pooler_output": encoder(**batch).pooler_output}
"""

REFUSE_THEN_TRUST = """
refusals = []
for auto in (AutoConfig, AutoModel, AutoModelForSequenceClassification):
    for arguments in ({}, {"trust_remote_code": False}):
        try:
            auto.from_pretrained(folder / "marked", **arguments)
        except ValueError as error:
            refusals.append(str(error))
report = {"refusals": refusals}
report["executed_untrusted"] = (folder / "mark").exists() or any("_sentiment_lstm" in name for name in sys.modules)
AutoModel.from_pretrained(folder / "marked", trust_remote_code=True)
report["executed_trusted"] = (folder / "mark").exists()

save_file(outputs(folder / "saved"), folder / "first.safetensors")

save_file(outputs(folder / "base"), folder / "bare.safetensors")
_, info = AutoModelForSequenceClassification.from_pretrained(
    folder / "base", trust_remote_code=True, output_loading_info=True
)
report["missing"] = sorted(info["missing_keys"])

model = AutoModelForSequenceClassification.from_pretrained(folder / "saved", trust_remote_code=True)
report["class"] = [type(model).__name__, type(model).__module__]
model.resize_token_embeddings(50)
report["trainable"] = model.get_input_embeddings().weight.requires_grad

# What a checkpoint pulled from a repository carries.
model = AutoModelForSequenceClassification.from_pretrained(folder / "saved", trust_remote_code=True)
model.config.auto_map = {name: "somebody/a-model--" + target for name, target in model.config.auto_map.items()}
model.save_pretrained(folder / "again")
save_file(outputs(folder / "again"), folder / "second.safetensors")
print()  # The prompt for trust leaves its line open.
print(json.dumps(report))
"""

IMPORT_PACKAGE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import hf_lstm_sentiment
# An entry of None stands for a name that must not be imported.
print(json.dumps(sorted(name for name, module in sys.modules.items() if module is not None)))
"""


def run_afresh(script, argument, folder):
    """Run a script in a process that sees neither the working tree nor the network, and read its answer."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "HF_MODULES_CACHE": str(folder / "modules")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(argument)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """Checkpoints, and what two processes made of them that do not have the package."""
    folder = tmp_path_factory.mktemp("remote")
    config = SentimentLSTMConfig(
        vocab_size=40,
        embedding_size=6,
        hidden_size=5,
        num_hidden_layers=2,
        bidirectional=True,
        pooling="max",
        freeze_embeddings=True,
    )
    torch.manual_seed(0)
    model = SentimentLSTMForSequenceClassification(config)
    for checkpoint in ("saved", "marked"):
        model.save_pretrained(folder / checkpoint)
    for name in TRAVELLING:
        with (folder / "marked" / name).open("a") as source:
            source.write(f"\nopen({str(folder / 'mark')!r}, 'w').close()\n")
    SentimentLSTMModel(config).save_pretrained(folder / "base")

    ids = torch.randint(1, 40, (4, 9))
    batch = {"input_ids": ids, "attention_mask": (torch.arange(9) < torch.tensor([[9], [4], [0], [1]])).long()}
    save_file(batch, folder / "batch.safetensors")
    # Loaded here too: where weights lie in memory can change the last bit of a product.
    model = SentimentLSTMForSequenceClassification.from_pretrained(folder / "saved")
    base = SentimentLSTMModel.from_pretrained(folder / "base")
    with torch.no_grad():
        expected = {
            "logits": model(**batch).logits,
            "pooler_output": model.sentiment_lstm(**batch).pooler_output,
            "base": base(**batch).pooler_output,
        }
    report = run_afresh(WITHOUT_PACKAGE + REFUSE_THEN_TRUST, folder, folder)
    return folder, report, expected


def test_without_trust_nothing_runs(remote):
    _, report, _ = remote
    assert len(report["refusals"]) == 6
    assert all("trust_remote_code=True" in refusal for refusal in report["refusals"])
    assert not report["executed_untrusted"]
    assert report["executed_trusted"], "the mark does not tell whether code ran"


def test_remote_classes_do_what_those_of_the_package_do(remote):
    folder, report, expected = remote
    name, module = report["class"]
    assert name == "SentimentLSTMForSequenceClassification"
    assert module.startswith("transformers_modules.")
    assert not report["trainable"]
    assert len(expected["logits"].unique()) > 2
    for answers in ("first", "second"):
        remote_outputs = load_file(folder / f"{answers}.safetensors")
        for name in ("logits", "pooler_output"):
            assert torch.equal(remote_outputs[name], expected[name])
    assert torch.equal(load_file(folder / "bare.safetensors")["pooler_output"], expected["base"])
    assert report["missing"] == ["classifier.bias", "classifier.weight"]


@pytest.mark.parametrize("checkpoint", ["saved", "base", "again"])
def test_checkpoint_carries_its_code_and_the_way_to_it(remote, checkpoint):
    folder, _, _ = remote
    assert json.loads((folder / checkpoint / "config.json").read_text())["auto_map"] == AUTO_MAP
    names = {path.name for path in (folder / checkpoint).iterdir()}
    assert names == {"config.json", "model.safetensors", *TRAVELLING}
    for name in TRAVELLING:
        assert (folder / checkpoint / name).read_bytes() == (PACKAGE / name).read_bytes()


@pytest.mark.parametrize("name", TRAVELLING)
def test_travelling_files_import_only_what_everyone_has(name):
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            # transformers follows this form of a relative import, and no other.
            assert node.level == 1
            assert f"{node.module}.py" in TRAVELLING
            continue
        elif isinstance(node, ast.ImportFrom):
            imported = [node.module]
        else:
            continue
        for module in imported:
            assert module.partition(".")[0] in {"torch", "transformers", *sys.stdlib_module_names}, module


def test_importing_the_package_imports_little(tmp_path):
    modules = run_afresh(IMPORT_PACKAGE, PACKAGE.parent, tmp_path)
    assert not {name.partition(".")[0] for name in modules} & set(HEAVY)
    # Neither the models nor transformers, which together take longer to import than torch.
    assert {name for name in modules if name.startswith("hf_lstm_sentiment")} == {
        "hf_lstm_sentiment",
        "hf_lstm_sentiment.model",
        "hf_lstm_sentiment.model.registration",
    }
    assert "transformers" not in modules


def test_public_names():
    for name in hf_lstm_sentiment.__all__:
        assert getattr(hf_lstm_sentiment, name) is not None
        assert name in dir(hf_lstm_sentiment)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        hf_lstm_sentiment.no_such_name  # noqa: B018
