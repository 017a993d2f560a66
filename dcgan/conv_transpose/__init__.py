"""The transposed convolution, from scratch. Imports torch and nothing else of this project."""

from dcgan.conv_transpose.algorithms import ALGORITHMS
from dcgan.conv_transpose.functional import conv_transpose2d
from dcgan.conv_transpose.layer import ConvTranspose2d, LazyConvTranspose2d

__all__ = ["ALGORITHMS", "ConvTranspose2d", "LazyConvTranspose2d", "conv_transpose2d"]
