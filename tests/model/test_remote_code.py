"""What travels to the Hub with a checkpoint, and what an import of the package brings along."""

import ast
import json
import sys
from pathlib import Path

import pytest

import hf_lstm_sentiment
from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification, SentimentLSTMModel
from hf_lstm_sentiment.hub.push import CODE
from hf_lstm_sentiment.model.configuration_sentiment_lstm import AUTO_MAP

PACKAGE = Path(hf_lstm_sentiment.__file__).parent / "model"
TRAVELLING = list(CODE)


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


def test_public_names():
    for name in hf_lstm_sentiment.__all__:
        assert getattr(hf_lstm_sentiment, name) is not None
        assert name in dir(hf_lstm_sentiment)
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        hf_lstm_sentiment.no_such_name  # noqa: B018
