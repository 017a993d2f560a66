"""One transposed convolution made visible: as text, as a matrix, and step by step.

Everything is square and has one channel. Input and kernel hold the numbers 1, 2, 3, ... in reading order,
which shows where each number goes, and that the kernel is flipped.

The colours come from `dcgan.plots`; they survive printing and colour blindness.
"""

from dcgan.explain.drawings import draw_matrix, save_animation, scatter_frames, zero_insert_frames
from dcgan.explain.example import Example, text

__all__ = ["Example", "draw_matrix", "save_animation", "scatter_frames", "text", "zero_insert_frames"]
