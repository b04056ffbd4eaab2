"""The checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "pretrained"
DEFAULT = "imdb"


def pretrained(name: str = DEFAULT) -> str:
    """Where a checkpoint lies that came with the package; `pipeline`, `from_pretrained` and `predict` take it.

    Args:
        name: Its name: "imdb", for movie reviews.

    Returns:
        A directory with weights, configuration, tokenizer and card.

    Raises:
        ValueError: The package holds no checkpoint of this name.
    """
    held = sorted(path.parent.name for path in _FOLDER.glob("*/model.safetensors"))
    if name not in held:
        raise ValueError(f"pretrained model {name!r} is not in the package; it holds {', '.join(held) or 'none'}")
    return str(_FOLDER / name)
