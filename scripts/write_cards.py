"""Write model cards anew from the `metrics.json` beside them: `python scripts/write_cards.py`.

By default those of the recorded runs in `model_cards/` and of the models that come with the package. Nothing is
measured: a card says what its `metrics.json` says, in the words of the present template.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from hf_lstm_sentiment import PRESETS
from hf_lstm_sentiment.hub.model_card import make_model_card
from hf_lstm_sentiment.hub.push import CARD
from hf_lstm_sentiment.model import pretrained_models as shipped
from hf_lstm_sentiment.utils.files import read_json
from hf_lstm_sentiment.utils.run_directory import METRICS

RECORDS = Path(__file__).parents[1] / "model_cards"


def main() -> None:
    """Parse the command line and write the cards."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="Folder with a metrics.json of a preset.")
    arguments = parser.parse_args()
    folders = [Path(run) for run in arguments.runs]
    if not folders:
        folders = [path.parent for path in sorted(RECORDS.glob(f"*/seed-*/{METRICS}"))]
        folders += [shipped.FOLDER / name for name in shipped.held()]
    try:
        for folder in folders:
            metrics = read_json(folder / METRICS)
            if metrics["preset"] not in PRESETS:
                raise ValueError(f"{folder} is of the preset {metrics['preset']!r}; allowed: {', '.join(PRESETS)}")
            is_shipped = folder.resolve().parent == shipped.FOLDER.resolve()
            preset = asdict(PRESETS[metrics["preset"]])
            card = make_model_card(preset, metrics, shipped_as=folder.name if is_shipped else None)
            card.save(folder / CARD)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{len(folders)} cards written")


if __name__ == "__main__":
    main()
