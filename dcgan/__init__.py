"""A DCGAN whose generator upsamples with a transposed convolution written from scratch."""

__version__ = "0.1.0"
