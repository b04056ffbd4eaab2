"""From a finished run to the checkpoint that ships inside the package: half the bytes, the same decisions."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import runs, shipped
from .publishable import CARD, CONFIG, publishable_files

# What a package of Python code can carry without anyone minding.
MAX_BYTES = 6_000_000
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_CARD_SECTION = """
## These weights

This copy holds the weights as float16; `dtype` in its `config.json` has them computed in float32. The figures above
were measured before they were rounded. With the package installed, this is the folder
`hf_lstm_sentiment.pretrained("{name}")`:

```python
from transformers import pipeline
import hf_lstm_sentiment

classify = pipeline("text-classification", model=hf_lstm_sentiment.pretrained("{name}"))
```
"""


def make_release(
    run: str | os.PathLike[str], *, name: str = shipped.DEFAULT, output_dir: str | os.PathLike[str] | None = None
) -> Path:
    """Write the checkpoint of a finished run as it ships inside the package.

    It holds what a push to the Hub would publish, with the weights as float16. Its configuration says float32, so that
    whoever loads it computes in float32, which every processor does fast. It is written beside its place and moved
    there in the end; a checkpoint that lies there is replaced.

    Args:
        run: The run directory.
        name: What `pretrained` will know it by.
        output_dir: Folder that holds the checkpoints, by their names; the package's own where None.

    Returns:
        Where it is.

    Raises:
        FileNotFoundError: There is no such run directory.
        FileExistsError: Something else has the checkpoint's place.
        ValueError: The run cannot be published, the name is none, a weight is not finite or too large for float16, or
            the file of the weights would be larger than `MAX_BYTES`.
    """
    run = Path(run).expanduser()
    if not _NAME.fullmatch(name):
        raise ValueError(f"name is {name!r}; allowed: lower-case letters, digits, '_' and '-', such as 'imdb'")
    files = publishable_files(run)
    target = (shipped.FOLDER if output_dir is None else Path(output_dir).expanduser()) / name
    if target.resolve() == run.resolve():
        raise FileExistsError(f"{target} is the run itself; pass another --output_dir")
    if target.exists() and not runs.is_finished(target):
        raise FileExistsError(f"{target} is there and is no checkpoint; move it away, or pass another --output_dir")
    weights = _halved(run / runs.WEIGHTS)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{name}."))
    try:
        made = temporary / name
        for file in files:
            (made / file).parent.mkdir(parents=True, exist_ok=True)
            if file != runs.WEIGHTS:
                shutil.copyfile(run / file, made / file)
        save_file(weights, made / runs.WEIGHTS, metadata={"format": "pt"})
        # safetensors makes files that only their owner reads.
        (made / runs.WEIGHTS).chmod(0o644)
        size = (made / runs.WEIGHTS).stat().st_size
        if size > MAX_BYTES:
            raise ValueError(
                f"the weights of {run} take {size:,} bytes as float16; allowed: at most {MAX_BYTES:,}; train a model "
                "with fewer words or cells"
            )
        runs.write_json({**runs.read_json(made / CONFIG), "dtype": "float32"}, made / CONFIG)
        with (made / CARD).open("a", encoding="utf-8") as card:
            card.write(_CARD_SECTION.format(name=name))
        _move(made, target, replaced=temporary / "replaced")
    finally:
        shutil.rmtree(temporary)
    return target


def _move(made: Path, target: Path, *, replaced: Path) -> None:
    """Put a folder into its place; what is there already stays there if that fails."""
    if target.exists():
        target.rename(replaced)
    try:
        made.rename(target)
    except OSError:
        if replaced.exists():
            replaced.rename(target)
        raise


def _halved(path: Path) -> dict[str, Tensor]:
    """The weights as float16; refused where one of them is not a number there."""
    halved = {}
    for name, tensor in load_file(path).items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} holds numbers that are not finite; the training went astray")
        halved[name] = tensor.half().contiguous()
        if not halved[name].isfinite().all():
            largest, allowed = float(tensor.abs().max()), torch.finfo(torch.float16).max
            raise ValueError(
                f"{path}: {name} holds {largest:g}, which float16 does not; allowed: up to {allowed:g}; train with a "
                "smaller learning rate or with weight decay"
            )
    return halved
