"""Transposed convolutions computed by JAX, Keras and TensorFlow themselves, for `test_interop` to compare with.

    python tests/conv_transpose/frameworks.py jax|keras|tensorflow OUT.npz

A program of its own, because these frameworks start threads, after which a test process should not fork. The file
holds, for each case, its settings as JSON, and its input, kernel and output in the framework's own layout.
"""

import itertools
import json
import os
import sys

import numpy as np

SIZES, KERNELS, STRIDES, DILATIONS = (2, 5), (1, 2, 3, 4, 5), (1, 2, 3), (1, 2)
PADDINGS = ("SAME", "VALID", (0, 1), (2, 1))  # the pairs are JAX's zeros around the input
IN, OUT = 3, 4


def of_jax():
    """Yield settings, input (N, H, W, C), kernel and output of `jax.lax.conv_transpose`."""
    os.environ["JAX_ENABLE_X64"] = "1"
    import jax

    for size, k, s, d, padding in itertools.product(SIZES, KERNELS, STRIDES, DILATIONS, PADDINGS):
        for transposed in (False, True):
            span = d * (k - 1) + 1
            if not isinstance(padding, str) and (size - 1) * s + 1 + sum(padding) < span:
                continue  # no output
            x, kernel = random(2, size, size, IN), random(k, k, *((OUT, IN) if transposed else (IN, OUT)))
            pads = padding if isinstance(padding, str) else [padding] * 2
            settings = {"rhs_dilation": (d, d), "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
            output = jax.lax.conv_transpose(x, kernel, (s, s), pads, transpose_kernel=transposed, **settings)
            named = {"size": size, "kernel_size": k, "stride": s, "padding": padding, "dilation": d}
            yield {**named, "transpose_kernel": transposed}, x, kernel, np.asarray(output)


def of_keras():
    """Yield settings, input (N, H, W, C), kernel (K, L, O, C) and output of Keras's layer, computed by JAX."""
    os.environ |= {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}
    import keras

    for size, k, s, d, padding in itertools.product(SIZES, KERNELS, STRIDES, DILATIONS, ("same", "valid")):
        for extra in (None, *range(s)):
            if d > 1 and s > 1:
                continue  # Keras refuses that
            given = {"strides": s, "padding": padding, "dilation_rate": d, "output_padding": extra, "use_bias": False}
            layer = keras.layers.Conv2DTranspose(OUT, k, **given, dtype="float64")
            layer.build((None, size, size, IN))
            x, kernel = random(2, size, size, IN), random(k, k, OUT, IN)
            layer.set_weights([kernel])
            named = {"size": size, "kernel_size": k, "stride": s, "padding": padding, "output_padding": extra}
            yield {**named, "dilation": d}, x, kernel, np.asarray(layer(x))


def of_tensorflow():
    """Yield settings, input (N, H, W, C), kernel (K, L, O, C) and output of `tf.nn.conv2d_transpose`."""
    import tensorflow as tf

    for size, k, s, padding in itertools.product(SIZES, KERNELS, STRIDES, ("SAME", "VALID")):
        full = (size - 1) * s + k
        for output_size in range(full, full + s) if padding == "VALID" else range((size - 1) * s + 1, size * s + 1):
            x, kernel = random(2, size, size, IN), random(k, k, OUT, IN)
            shape = (2, output_size, output_size, OUT)
            output = tf.nn.conv2d_transpose(x, kernel, shape, s, padding)
            named = {"size": size, "kernel_size": k, "stride": s, "padding": padding, "output_size": output_size}
            yield named, x, kernel, output.numpy()


def random(*shape):
    return RANDOM.normal(size=shape)


if __name__ == "__main__":
    framework, out = sys.argv[1:]
    RANDOM = np.random.default_rng(0)
    arrays = {}
    for index, (settings, *tensors) in enumerate(globals()[f"of_{framework}"]()):
        arrays[f"{index}"] = json.dumps(settings)
        arrays |= {f"{index} {name}": tensor for name, tensor in zip(("x", "kernel", "output"), tensors, strict=True)}
    np.savez(out, **arrays)
