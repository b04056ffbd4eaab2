"""Put a finished run into the package: `python scripts/make_pretrained.py runs/imdb-seed42`.

`scripts/measure.py --against runs/imdb-seed42` then tells how many decisions the rounding to float16 changed.
"""

from __future__ import annotations

import argparse
import sys

from hf_lstm_sentiment.release import make_release
from hf_lstm_sentiment.shipped import DEFAULT


def main() -> None:
    """Parse the command line, write the checkpoint, print where it is and how large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="A finished run directory.")
    parser.add_argument("--name", default=DEFAULT, help="What it will be called; %(default)s.")
    parser.add_argument("--output_dir", metavar="DIR", help="Folder to write it below; the package's own by default.")
    try:
        made = make_release(**vars(parser.parse_args()))
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(f"{made}: {(made / 'model.safetensors').stat().st_size:,} bytes of weights, float16")


if __name__ == "__main__":
    main()
