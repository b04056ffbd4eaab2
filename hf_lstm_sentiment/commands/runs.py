"""What is done with a finished run: report, push, export."""

import os
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from .console import new_parser, parsed, say, show_log


def report(words: Sequence[str]) -> None:
    """Analyze the errors of a finished run on its test reviews, as one page."""
    examples = ("% runs/v2_glove-seed42", "% runs/v2_glove-seed42 --against runs/v1-seed42 --output_dir report")
    given = parsed(
        new_parser("report", report.__doc__, *examples, run="A finished run directory, such as runs/v2_glove-seed42."),
        words,
        ("against", "RUN", None, "Another one on the same reviews: what is fixed, what breaks."),
        ("dataset", "DATASET", None, "Where the reviews of the run are now, if they were moved."),
        ("output_dir", "DIR", None, "Where to write; report in the run directory by default."),
        ("excerpts", "N", 5, "Reviews shown of each kind of error; %(default)s."),
    )
    show_log()
    from ..evaluation.report import write_report

    say(f"Report: {os.path.relpath(write_report(**given))}")


def push(words: Sequence[str]) -> None:
    """Publish a finished run on the Hub, in one commit; --dry_run needs neither the network nor a token."""
    examples = ("% runs/mine --repo_id USER/NAME --dry_run", "% runs/mine --repo_id USER/NAME --private --for_serving")
    run = "A run directory that train has finished."
    given = parsed(
        new_parser("push", push.__doc__, *examples, usage="RUN --repo_id USER/NAME", run=run),
        words,
        ("repo_id", "NAME", ..., "USER/NAME or ORGANIZATION/NAME; made if it is not there."),
        ("private", "", None, "Make a private repository, if it is not there yet."),
        ("revision", "NAME", None, "Branch to commit to; main by default."),
        ("create_pr", "", False, "Open a pull request instead of committing."),
        ("tag", "NAME", None, "Name of the tag; the package's version by default."),
        ("commit_message", "TEXT", None, "One line; preset, seed and test accuracy by default."),
        ("for_serving", "", False, "Add onnx/, for runtimes without torch, and the handler.py of Inference Endpoints."),
        ("dry_run", "", False, "Only list what would be sent."),
    )
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    from ..hub.push import publishable_files, push_run

    show_log()
    if given.pop("dry_run"):
        validate_repo_id(given["repo_id"])
        with TemporaryDirectory() as folder:
            files = publishable_files(given["run"], export_to=folder if given["for_serving"] else None)
            sizes = {name: path.stat().st_size for name, path in files.items()}
        for name, size in sizes.items():
            say(f"{size:>14,}  {name}")
        total = f"{sum(sizes.values()):>14,}  bytes in {len(sizes)} files"
        say(f"{total} would go to {given['repo_id']}; nothing was sent")
        return
    try:
        pushed = push_run(**given)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command starts again") from None
    tagged = f", tag {pushed.tag}" if pushed.tag else ""
    say(f"{pushed.url}\n{len(pushed.files)} files, commit {pushed.commit}{tagged}\n\n{pushed.snippet.rstrip()}")


def export(words: Sequence[str]) -> None:
    """Export a run to ONNX, in float32 and int8, into a folder that classifies texts without torch."""
    examples = ("% runs/v2_glove-seed42", "% reviews --output_dir exported --reviews reviews.csv --max_reviews 1000")
    run = "A run directory, or a model that comes with the package (reviews)."
    given = parsed(
        new_parser("export", export.__doc__, *examples, run=run),
        words,
        ("output_dir", "DIR", None, "Where to make the folder onnx; in RUN by default."),
        ("reviews", "DATASET", None, "Labelled reviews, as for train; the test part measures what is lost."),
        ("max_reviews", "N", None, "Measure on a sample of so many reviews."),
        *("text_column", "label_column"),
    )
    from transformers.utils.logging import disable_progress_bar

    from ..inference.onnx import export_onnx, summary

    disable_progress_bar()
    try:
        say(summary(export_onnx(**given)))
    except RuntimeError as error:
        raise ValueError(str(error)) from error
