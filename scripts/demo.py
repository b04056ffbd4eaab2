"""The command `hf-lstm-sentiment demo`: `python scripts/demo.py`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
