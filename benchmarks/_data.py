"""Where public data sets are: the folder that RANKOPT_DATA names, else shared/data beside the checkout."""

import os
from pathlib import Path

DATA = Path(os.environ.get("RANKOPT_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
