"""The command `hf-lstm-sentiment compare`: `accelerate launch scripts/compare.py`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
