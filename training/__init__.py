"""The recipe of the bundled models: ``python -m training --data DIR --out DIR``."""
