"""The command `hf-lstm-sentiment report`: `python scripts/report.py RUN`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
