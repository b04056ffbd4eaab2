"""The command `hf-lstm-sentiment push`: `python scripts/push_to_hub.py RUN --repo_id USER/NAME`."""

import sys

from hf_lstm_sentiment.cli import main

if __name__ == "__main__":
    sys.exit(main(["push", *sys.argv[1:]]))
