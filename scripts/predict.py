"""The command `hf-lstm-sentiment predict`: `python scripts/predict.py reviews.csv scored.csv`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
