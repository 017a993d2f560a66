"""What `scripts/benchmark.py` measures: the layer, and the data."""
