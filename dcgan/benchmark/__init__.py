"""What `scripts/benchmark.py` measures: the layer, whole training steps, and the data."""
