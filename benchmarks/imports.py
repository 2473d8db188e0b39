"""Time of importing the packages in a fresh process, beside numpy alone and the peers."""

import json
import statistics
import subprocess
import sys

from ._table import publish

SCRIPT = """
import json, sys, time
began = time.perf_counter()
import {module}
seconds = time.perf_counter() - began
heavy = [name for name in ("torch", "pymanopt", "geoopt", "sklearn", "matplotlib") if name in sys.modules]
print(json.dumps([seconds, heavy]))
"""
MODULES = ("numpy", "manifolds", "rankopt", "problems", "pymanopt", "geoopt", "sklearn.cross_decomposition")


def import_time(module):
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT.format(module=module)], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout.splitlines()[-1])


def main():
    runs = {module: [import_time(module) for _ in range(5)] for module in MODULES}
    numpy_seconds = statistics.median(seconds for seconds, _ in runs["numpy"])
    rows = []
    for module, measured in runs.items():
        seconds = statistics.median(s for s, _ in measured)
        heavy = ", ".join(name for name in measured[0][1] if not module.startswith(name))
        rows.append(
            {
                "import": module,
                "seconds": seconds,
                "ratio to numpy": seconds / numpy_seconds,
                "also imports": heavy or "-",
            }
        )
    publish("imports", "Time of an import in a fresh process, median of five", rows)


if __name__ == "__main__":
    main()
