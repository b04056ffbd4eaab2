"""`python -m hf_lstm_sentiment`, for `accelerate launch -m` and `torchrun -m`: the console command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
