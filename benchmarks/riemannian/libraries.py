"""geoopt, imported without the warnings of newer torch."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # `import geoopt` uses what newer torch deprecates
    import geoopt

__all__ = ["geoopt"]
