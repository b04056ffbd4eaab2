"""The command `hf-lstm-sentiment pretrain`: `accelerate launch scripts/pretrain.py`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["pretrain", *sys.argv[1:]]))
