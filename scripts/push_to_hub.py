"""Publish a finished run: `python scripts/push_to_hub.py runs/v2_glove-seed42 --repo_id user/name`.

`--dry_run` lists what would be sent; it needs neither the network nor a token. `--for_serving` adds the
model as ONNX and a handler for Inference Endpoints.
"""

from __future__ import annotations

import argparse
import logging
import sys
from tempfile import TemporaryDirectory

from hf_lstm_sentiment.hub.publishable import publishable_files
from hf_lstm_sentiment.hub.push import check_repo_id, push_run


def main() -> None:
    """Parse the command line, publish, print where to and how to load it."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="A run directory that scripts/train.py has finished.")
    parser.add_argument("--repo_id", required=True, help="USER/NAME or ORGANIZATION/NAME; made if it is not there.")
    parser.add_argument(
        "--private", action="store_true", default=None, help="Make a private repository, if it is not there yet."
    )
    parser.add_argument("--revision", help="Branch to commit to; main by default.")
    parser.add_argument("--create_pr", action="store_true", help="Open a pull request instead of committing.")
    parser.add_argument("--tag", help="Name of the tag; the package's version by default.")
    parser.add_argument("--commit_message", help="One line; preset, seed and test accuracy by default.")
    parser.add_argument(
        "--for_serving",
        action="store_true",
        help="Add onnx/, for runtimes without torch and for browsers, and the handler.py of Inference Endpoints.",
    )
    parser.add_argument("--dry_run", action="store_true", help="Only list what would be sent.")
    arguments = vars(parser.parse_args())

    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    logging.getLogger("hf_lstm_sentiment").setLevel(logging.INFO)

    try:
        if arguments.pop("dry_run"):
            check_repo_id(arguments["repo_id"])
            with TemporaryDirectory() as folder:
                files = publishable_files(arguments["run"], export_to=folder if arguments["for_serving"] else None)
                sizes = {name: path.stat().st_size for name, path in files.items()}
            for name, size in sizes.items():
                print(f"{size:>14,}  {name}")
            total = f"{sum(sizes.values()):>14,}  bytes in {len(sizes)} files"
            print(f"{total} would go to {arguments['repo_id']}; nothing was sent")
            return
        pushed = push_run(**arguments)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command starts again")
    tagged = f", tag {pushed.tag}" if pushed.tag else ""
    print(f"{pushed.url}\n{len(pushed.files)} files, commit {pushed.commit}{tagged}\n\n{pushed.snippet}", end="")


if __name__ == "__main__":
    main()
