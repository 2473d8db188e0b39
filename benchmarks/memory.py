"""Peak memory of fits of CCA and LDA on wide data, beyond the data: in matrices of d x d double-precision numbers.

A tenth of the data is what the promise allows on top of eight such matrices; it is taken off. Memory is what numpy
allocates, scipy's work arrays included, in a process of its own for each fit.
"""

import argparse
import multiprocessing
import tracemalloc
import warnings

import numpy as np

from problems import CCA, LDA

from ._table import publish

FITS = {
    "CCA, direct": lambda x, y: CCA(5, solver="direct", reg=1e-3).fit(x, y),
    "CCA, auto, no ridge": lambda x, y: CCA(5).fit(x, y),
    "LDA": lambda x, y: LDA().fit(x, np.arange(len(x)) % 10),
    "LDA, shrinkage": lambda x, y: LDA(shrinkage=0.1).fit(x, np.arange(len(x)) % 10),
}


def peak(name, n, d, dtype):
    """Bytes of the data and of the peak."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((n, d), dtype=dtype) + 3 for _ in range(2))
    FITS[name](x[:20, :10].copy(), y[:20, :10].copy())  # imports
    tracemalloc.start()
    FITS[name](x, y)
    return x.nbytes * (1 + name.startswith("CCA")), tracemalloc.get_traced_memory()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="*", default=[1000, 2000, 4000])
    arguments = parser.parse_args()
    rows = []
    for d in arguments.widths:
        for n in (2 * d, 8 * d) if d <= 2000 else (2 * d,):
            for name in FITS:
                for dtype in ("float64", "float32"):
                    with multiprocessing.get_context("spawn").Pool(1) as pool:
                        data, most = pool.apply(peak, (name, n, d, np.dtype(dtype)))
                    rows.append({
                        "fit": name,
                        "rows": n,
                        "columns, of a view": d,
                        "dtype": dtype,
                        "data, MB": data / 1e6,
                        "peak, MB": most / 1e6,
                        "beyond a tenth of the data, in d x d": (most - 0.1 * data) / (8 * d**2),
                    })  # fmt: skip
                    print(rows[-1], flush=True)
    publish("memory", "Peak memory beyond the data", rows, page=True)


if __name__ == "__main__":
    main()
