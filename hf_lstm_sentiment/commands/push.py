"""Publish a finished run on the Hub, in one commit; --dry_run needs neither the network nor a token."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory

from .console import new_parser, parsed, say, show_log


def main(words: Sequence[str]) -> None:
    """Parse the command line, publish, print where to and how to load it."""
    examples = ("% runs/mine --repo_id USER/NAME --dry_run", "% runs/mine --repo_id USER/NAME --private --for_serving")
    parser = new_parser("push", __doc__, *examples, usage="RUN --repo_id USER/NAME")
    parser.add_argument("run", metavar="RUN", help="A run directory that train has finished.")
    arguments = parsed(
        parser,
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
    from ..hub.publishable import publishable_files
    from ..hub.push import check_repo_id, push_run

    show_log()
    if arguments.pop("dry_run"):
        check_repo_id(arguments["repo_id"])
        with TemporaryDirectory() as folder:
            files = publishable_files(arguments["run"], export_to=folder if arguments["for_serving"] else None)
            sizes = {name: path.stat().st_size for name, path in files.items()}
        for name, size in sizes.items():
            say(f"{size:>14,}  {name}")
        total = f"{sum(sizes.values()):>14,}  bytes in {len(sizes)} files"
        say(f"{total} would go to {arguments['repo_id']}; nothing was sent")
        return
    try:
        pushed = push_run(**arguments)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command starts again") from None
    tagged = f", tag {pushed.tag}" if pushed.tag else ""
    say(f"{pushed.url}\n{len(pushed.files)} files, commit {pushed.commit}{tagged}\n\n{pushed.snippet.rstrip()}")
