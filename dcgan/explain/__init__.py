"""Made visible: one transposed convolution as text, as a matrix, and step by step.

Everything is square and of one channel. Input and kernel hold the numbers 1, 2, 3, ... in reading order, so
that one can see where each goes, and that the kernel is flipped.

Colours are those of `dcgan.plots`, which survive printing and colour blindness.
"""

from dcgan.explain.drawings import draw_matrix, save_animation, scatter_frames, zero_insert_frames
from dcgan.explain.example import Example, text

__all__ = ["Example", "draw_matrix", "save_animation", "scatter_frames", "text", "zero_insert_frames"]
