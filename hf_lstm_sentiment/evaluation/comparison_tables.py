"""The tables of a comparison, as Markdown and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .pages import data_uri, render
from .statistics import count, p_value, percent

_PICTURES = {
    "accuracy.png": (
        "Accuracy by seed, and how it grew",
        "A dot per seed and the mean of each version on the test reviews; validation accuracy by epoch, a line a seed.",
    ),
    "padding.png": (
        "What padding does to a network that reads it",
        "What is left of the signal behind padding, what of the gradient reaches the last word, and who gets it right.",
    ),
}


class Table(NamedTuple):
    """A table of a comparison.

    Attributes:
        title: What it shows.
        note: How to read it.
        head: Names of the columns.
        rows: Cells, as text.
    """

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def tables(results: Mapping[str, Any]) -> list[Table]:
    """The tables of a comparison.

    Args:
        results: The content of `comparison.json`.
    """
    return [_versions(results), _neighbours(results), _differences(results)]


def _versions(results: Mapping[str, Any]) -> Table:
    rows = []
    for name, found in results["presets"].items():
        glove = found.get("glove")
        epochs = ", ".join(f"{best} of {n}" for n, best in zip(found["epochs"], found["best_epoch"], strict=True))
        rows.append(
            [
                name,
                _listed(found["seeds"]),
                percent(found["validation_accuracy"]),
                percent(found["test_accuracy"]),
                count(found["false_positives"]),
                count(found["false_negatives"]),
                epochs,
                "{:,} of {:,}".format(glove["matched"], glove["vocabulary"]) if glove else "none",
                f"{found['train_cpu_seconds']['mean'] / 60:.0f} min",
            ]
        )
    dataset = results["dataset"]
    return Table(
        "The versions",
        f"{dataset['test']:,} test reviews, {dataset['validation']:,} validation reviews of {dataset['source']}; mean "
        "± standard deviation over seeds. The time is that of the processor in training steps, mean of a run.",
        [
            "version",
            "seeds",
            "best validation",
            "test",
            "false positives",
            "false negatives",
            "best epoch",
            "GloVe",
            "training",
        ],
        rows,
    )


def _neighbours(results: Mapping[str, Any]) -> Table:
    rows = []
    for pair in results["neighbours"]:
        d = pair["difference"]
        tests = [
            f"{seed}: {test['only_a']:,} / {test['only_b']:,}, {p_value(test['p_value'])}"
            for seed, test in pair["mcnemar"].items()
        ]
        rows.append(
            [
                f"{pair['a']} to {pair['b']}",
                f"{100 * d['difference']:+.2f} points ({100 * d['low']:+.2f} to {100 * d['high']:+.2f})",
                f"{_listed(pair['seeds']['a'])} to {_listed(pair['seeds']['b'])}",
                "; ".join(tests) or "no seed of both",
            ]
        )
    return Table(
        "Neighbours, on the same test reviews",
        "The difference of the mean accuracies with its 95 % interval from a paired bootstrap over reviews, of the "
        "seeds named; McNemar's exact test by seed, with the reviews that only the first and only the second one gets "
        "right.",
        ["from, to", "difference on test", "seeds", "McNemar"],
        rows,
    )


def _differences(results: Mapping[str, Any]) -> Table:
    names = list(results["presets"])
    return Table(
        "What differs",
        "Every setting of the recipes that is not the same for all; the others follow below.",
        ["setting", *names],
        [[key, *(str(values[name]) for name in names)] for key, values in results["settings"]["differs"].items()],
    )


def same(results: Mapping[str, Any]) -> str:
    """The settings that all versions share, in one sentence.

    Args:
        results: The content of `comparison.json`.
    """
    return ", ".join(f"{key} {value}" for key, value in results["settings"]["same"].items()) + "."


def markdown(results: Mapping[str, Any]) -> str:
    """The tables of a comparison, as Markdown.

    Args:
        results: The content of `comparison.json`.
    """
    blocks = []
    for table in tables(results):
        lines = [table.head, ["---"] * len(table.head), *table.rows]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        blocks.append(f"{table.title}. {table.note}\n\n{body}")
    return "\n\n".join([*blocks, f"The same for all: {same(results)}"])


def page(results: Mapping[str, Any], directory: Path) -> str:
    """The comparison as one page that needs no other file.

    Args:
        results: The content of `comparison.json`.
        directory: Holds the pictures.
    """
    pictures = [
        {"title": title, "note": note, "source": data_uri(directory / name)}
        for name, (title, note) in _PICTURES.items()
        if (directory / name).is_file()
    ]
    names = list(results["presets"])
    return render(
        "comparison.html",
        title=f"Comparison: {', '.join(names)}",
        lead="The same reviews, split, lengths and optimiser for all; what differs is listed below.",
        tables=tables(results),
        pictures=pictures,
        same=same(results),
        versions=", ".join(f"{name} {number}" for name, number in results["versions_of_packages"].items()) + ".",
    )


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
