"""What travels to the Hub with a checkpoint, and what an import of the package brings along."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import hf_lstm_sentiment
from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification, SentimentLSTMModel
from tests.model.test_configuration import AUTO_MAP

PACKAGE = Path(hf_lstm_sentiment.__file__).parent / "model"
TRAVELLING = ["configuration_sentiment_lstm.py", "modeling_sentiment_lstm.py", "packed_lstm.py"]
HEAVY = ["datasets", "evaluate", "matplotlib", "sklearn"]

IMPORT_PACKAGE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import hf_lstm_sentiment
# An entry of None stands for a name that must not be imported.
print(json.dumps(sorted(name for name, module in sys.modules.items() if module is not None)))
"""


@pytest.mark.parametrize("cls", [SentimentLSTMModel, SentimentLSTMForSequenceClassification])
def test_a_checkpoint_carries_its_code_and_the_way_to_it(cls, tmp_path):
    cls(SentimentLSTMConfig(vocab_size=5, embedding_size=2, hidden_size=2)).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == AUTO_MAP
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", *TRAVELLING}
    for name in TRAVELLING:
        assert (tmp_path / name).read_bytes() == (PACKAGE / name).read_bytes()


@pytest.mark.parametrize("name", TRAVELLING)
def test_travelling_files_import_only_what_everyone_has(name):
    imported = []
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            # transformers follows this form of a relative import, and no other.
            assert (node.level, f"{node.module}.py" in TRAVELLING) == (1, True)
        elif isinstance(node, ast.ImportFrom):
            imported.append(node.module)
    roots = {module.partition(".")[0] for module in imported}
    assert roots <= {"torch", "transformers", *sys.stdlib_module_names}


def test_importing_the_package_imports_little(tmp_path):
    command = [sys.executable, "-I", "-c", IMPORT_PACKAGE, str(PACKAGE.parents[1])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
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
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        hf_lstm_sentiment.no_such_name  # noqa: B018
