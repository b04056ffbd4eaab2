"""The files of a finished run that go to the Hub, and the checks that they can."""

from __future__ import annotations

import os
import re
from pathlib import Path

from huggingface_hub import ModelCard
from safetensors import SafetensorError, safe_open

from ..model import configuration_sentiment_lstm
from ..model.configuration_sentiment_lstm import AUTO_MAP, SentimentLSTMConfig
from ..utils.files import read_json, user_path
from ..utils.run_directory import METRICS, WEIGHTS, is_finished

CARD, CONFIG = "README.md", "config.json"
CODE = ("configuration_sentiment_lstm.py", "modeling_sentiment_lstm.py", "packed_lstm.py")
PLOT = re.compile(r"plots/[^/.][^/]*\.png")
# Where transformers.js looks for them.
ONNX = ("onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/tokenizer.json")
_REQUIRED = (CARD, CONFIG, METRICS, WEIGHTS, "tokenizer.json", "tokenizer_config.json")
_CODE = Path(configuration_sentiment_lstm.__file__).parent
_HANDLER = Path(__file__).with_name("handler.py")
_ACCESS_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b")


def publishable_files(
    run: str | os.PathLike[str], *, export_to: str | os.PathLike[str] | None = None
) -> dict[str, Path]:
    """Find what of a finished run goes to the Hub, and check that it can; the files by their names in the repository.

    These are the weights, the configuration, the two tokenizer files, the card, `metrics.json`, the plots in `plots/`,
    and this package's code files, which `trust_remote_code=True` runs. Everything else is not uploaded: checkpoints,
    the optimizer's state, reports, hidden files and every pickle. With `export_to`, an empty folder, the model is
    exported into it, and `onnx/` and the `handler.py` of Inference Endpoints go along.
    """
    run = user_path(run, "the run")
    if not run.is_dir():
        raise FileNotFoundError(f"{run} is no directory; pass a run directory, such as runs/v2_glove-seed42")
    if not is_finished(run):
        raise ValueError(
            f"{run} is no finished run, {METRICS} is missing; hf-lstm-sentiment train --resume finishes it"
        )
    missing = [name for name in _REQUIRED if not (run / name).is_file()]
    if missing:
        raise ValueError(f"{run} lacks {', '.join(missing)}; restore what was deleted, or train into a new directory")
    plots = [path.relative_to(run).as_posix() for path in run.glob("plots/*.png")]
    files = {name: run / name for name in (*_REQUIRED, *filter(PLOT.fullmatch, plots))}
    for path in files.values():
        if not path.resolve().is_relative_to(run.resolve()):
            raise ValueError(f"{path} is a link that leads out of the run; put the file itself there")
    config = read_json(run / CONFIG)
    kind, code = config.get("model_type"), config.get("auto_map")
    if (kind, code) != (SentimentLSTMConfig.model_type, AUTO_MAP):
        raise ValueError(
            f"{run / CONFIG} is of a model of type {kind!r} with the code {code}; allowed: a "
            f"{SentimentLSTMConfig.model_type!r} as its save_pretrained writes it"
        )
    _check_weights_and_card(run)
    for name in (CARD, CONFIG, METRICS, "tokenizer_config.json"):
        if _ACCESS_TOKEN.search(files[name].read_bytes()):
            raise ValueError(f"{files[name]} holds something like an access token of the Hub; take it out, revoke it")
    files |= {name: _CODE / name for name in CODE}
    if export_to is not None:
        from ..inference.onnx import export_onnx

        export_onnx(run, output_dir=export_to)
        files |= {name: Path(export_to, name) for name in ONNX} | {_HANDLER.name: _HANDLER}
    return dict(sorted(files.items()))


def _check_weights_and_card(run: Path) -> None:
    """Refuse damaged weights, and a card without metadata."""
    try:
        with safe_open(run / WEIGHTS, framework="pt") as weights:
            weights.keys()
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{run / WEIGHTS} is damaged or no safetensors file: {error}") from error
    try:
        metadata = ModelCard((run / CARD).read_text(encoding="utf-8")).data.to_dict()
    except Exception as error:  # the parser of the metadata has errors of its own
        raise ValueError(f"the metadata of {run / CARD} cannot be read: {' '.join(str(error).split())}") from error
    if not metadata:
        raise ValueError(f"{run / CARD} has no metadata; it starts with them, between two lines of ---")
