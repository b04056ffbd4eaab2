"""The checkpoints that come with the package."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "pretrained"
DEFAULT = "reviews"


def held() -> list[str]:
    """List the checkpoints that came with the package; a name with a dot in front is one that is being written."""
    return sorted(
        path.parent.name for path in FOLDER.glob("*/model.safetensors") if not path.parent.name.startswith(".")
    )


def pretrained(name: str = DEFAULT) -> str:
    """Find a checkpoint that came with the package; `pipeline`, `from_pretrained` and `predict` take it.

    Args:
        name: Its name: "reviews", for English reviews of any kind.

    Returns:
        A directory with weights, configuration, tokenizer and card.

    Raises:
        ValueError: The package holds no checkpoint of this name.
    """
    names = held()
    if name not in names:
        raise ValueError(
            f"pretrained model {name!r} is not in the package; it holds {', '.join(names) or 'none'}; name another "
            "model: a run directory or a repository of the Hub"
        )
    return str(FOLDER / name)
