"""A DCGAN whose generator upsamples with a transposed convolution written from scratch."""
