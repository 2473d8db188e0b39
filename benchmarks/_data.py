"""Where public data sets are: the folder that RANKOPT_DATA names, else shared/data beside the checkout."""

import os
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(os.environ.get("RANKOPT_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def data_bytes(x: Any) -> int:
    """Bytes of a dense array, or of the entries and indices of a compressed sparse one."""
    return x.nbytes if isinstance(x, np.ndarray) else x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
