"""A model in ONNX form, in float32 and in int8, each compared with the model that it came from."""

import os
import shutil
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from ..model.pretrained_models import FOLDER
from ..utils.files import user_path, write_json
from .classifier import Classifier, find_checkpoint, probabilities
from .onnx_graph import OnnxNetwork, onnx_bytes

# Where transformers.js looks for them.
MODEL, INT8 = "model.onnx", "model_quantized.onnx"
# Tokens of the made-up reviews by which an export is compared with torch.
LENGTHS = (0, 1, 1, 5, 7, 33, 64, 300)
# Float32 sums in another order; a mistake in the graph makes differences above a tenth.
_TOLERANCE = 1e-4


def export_onnx(
    run: str | os.PathLike[str],
    *,
    output_dir: str | os.PathLike[str] | None = None,
    reviews: str | os.PathLike[str] | None = None,
    max_reviews: int | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """Write a model in ONNX form, with all that programs without torch need to classify texts.

    A folder `onnx` then holds `model.onnx` (float32), `model_quantized.onnx` (weights of the word vectors and the LSTM
    in 8 bits), `tokenizer.json` (which here cuts and pads by itself), `classify.py` (an example that runs) and
    `export.json` (what is returned). Beside `config.json` and the tokenizer, as in a run directory, it is also where
    transformers.js looks.

    Args:
        run: A directory with a checkpoint and its tokenizer; or a model that comes with the package, by its name.
        output_dir: In which directory to make the folder, with copies of the configuration and of the tokenizer; in
            that of the run where None. Files of an earlier export are replaced.
        reviews: Labelled reviews to measure the loss of accuracy on, as for `load_reviews`: their test part.
        max_reviews: Measure on a stratified sample of so many of them.
        columns: `text_column` and `label_column`, as for `load_reviews`.

    Returns:
        What was measured: "bytes" by file; "largest_difference" of a logit from torch's, on made-up reviews; with
        `reviews`, which and how many ("reviews"), "accuracy", and "changed_answers" (the share that gets another label
        than from torch).

    Raises:
        FileNotFoundError: There is no such directory.
        ModuleNotFoundError: An optional dependency is missing; the message holds the command that installs it.
        RuntimeError: The exported model does not compute what the original does.
        ValueError: A `naive_padding` model, reviews that cannot be used, a checkpoint of another kind, or a model of
            the package without `output_dir`.
    """
    source = Path(find_checkpoint(run))
    if not (source / "config.json").is_file():
        raise FileNotFoundError(f"{source} holds no model; pass a run directory, such as runs/v2_glove-seed42")
    if output_dir is None and source.parent == FOLDER:
        raise ValueError(f"{run} comes with the package, which stays as it is; name a directory with output_dir")
    classifier = Classifier.from_pretrained(source)
    files = {MODEL: onnx_bytes(classifier.network), INT8: onnx_bytes(classifier.network, int8=True)}
    labelled = None
    if reviews is not None:
        from ..data.reviews import load_reviews

        labelled = load_reviews(reviews, max_test_samples=max_reviews, **columns).test
    target = source if output_dir is None else user_path(output_dir, "the output")
    folder = target / "onnx"
    folder.mkdir(parents=True, exist_ok=True)
    if target.resolve() != source.resolve():
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(source / name, target / name)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    # This one cuts reviews as in training and pads a batch to its longest.
    tokenizer, padding = Tokenizer.from_str(classifier.tokenizer.to_str()), classifier.config.pad_token_id or 0
    tokenizer.enable_truncation(max_length=classifier.max_length)
    tokenizer.enable_padding(pad_id=padding, pad_token=tokenizer.id_to_token(padding))
    tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copyfile(Path(__file__).with_name("onnx_classify.py"), folder / "classify.py")

    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(classifier.config.vocab_size, (n,), generator=generator).tolist() for n in LENGTHS]
    expected, exported, differences = classifier.logits_of_ids(ids), copy(classifier), {}
    for name, content in files.items():
        exported.compute = OnnxNetwork(content)
        # NaN, too, is a difference.
        differences[name] = float(np.abs(exported.logits_of_ids(ids, batch_size=4) - expected).max())
    if not differences[MODEL] <= _TOLERANCE:
        raise RuntimeError(
            f"{folder / MODEL} differs from the model by {differences[MODEL]:.1e} in a logit; allowed: "
            f"{_TOLERANCE}. Do not use it"
        )
    sizes = {path.name: path.stat().st_size for path in (source / "model.safetensors", folder / MODEL, folder / INT8)}
    measured: dict[str, Any] = {"bytes": sizes, "largest_difference": differences}
    if labelled is not None:
        from .onnx_classify import OnnxClassifier

        texts = list(labelled["text"])
        scores = {"torch": probabilities(classifier.logits(texts))}
        scores |= {name: probabilities(OnnxClassifier(folder, model=name).logits(texts)) for name in files}
        answers = {name: own.argmax(axis=1) for name, own in scores.items()}
        measured |= {
            "reviews": f"{len(texts):,} test reviews of {reviews}",
            "accuracy": {name: float((own == labelled["label"]).mean()) for name, own in answers.items()},
            "changed_answers": {name: float((answers[name] != answers["torch"]).mean()) for name in files},
        }
    write_json(measured, folder / "export.json")
    return measured


def summary(export: Mapping[str, Any]) -> str:
    """Say what :func:`export_onnx` measured, for a console."""
    lines = [f"{name:<20} {size:>12,} bytes" for name, size in export["bytes"].items()]
    for name, difference in export["largest_difference"].items():
        lines.append(
            f"{name}: logits differ from torch by at most {difference:.1e} (reviews of up to {max(LENGTHS)} tokens)"
        )
    if accuracy := export.get("accuracy"):
        lines.append(f"{export['reviews']}: torch {accuracy['torch']:.2%}")
        for name, changed in export["changed_answers"].items():
            loss = f"{accuracy[name]:.2%} ({accuracy[name] - accuracy['torch']:+.2%})"
            lines.append(f"  {name}: {loss}, {changed:.2%} of the answers changed")
    return "\n".join(lines)
