"""The command `hf-lstm-sentiment explain`: `python scripts/explain.py "Slow at first."`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["explain", *sys.argv[1:]]))
