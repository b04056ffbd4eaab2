"""The command `hf-lstm-sentiment train`: `accelerate launch scripts/train.py --preset quickstart`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
