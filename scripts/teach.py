"""The command `hf-lstm-sentiment distill`: `python scripts/teach.py`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["distill", *sys.argv[1:]]))
