"""The command `hf-lstm-sentiment export`: `python scripts/export_onnx.py RUN`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
