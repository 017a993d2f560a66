"""Test the other frameworks: ONNX by its own node tests, TensorFlow, Keras and JAX by their definitions.

A check against JAX 0.x and Keras 3 themselves would need both installed, so these tests write out their
definitions in ordinary convolutions.
"""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dcgan.conv_transpose import conv_transpose2d, interop
from dcgan.conv_transpose.arithmetic import effective_kernel_size, same_padding

torch.manual_seed(0)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def onnx_node_tests():
    """Return (node, inputs, outputs, name) of every test that the package onnx has for the operator."""
    import onnx.backend.test.case.node.convtranspose as cases

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "expect", lambda node, inputs, outputs, name: found.append((node, inputs, outputs, name)))
        for name in dir(cases.ConvTranspose):
            if name.startswith("export"):
                getattr(cases.ConvTranspose, name)()
    return found


def attributes_of(node):
    from onnx.helper import get_attribute_value

    found = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def test_onnx_node_tests():
    passed = []
    for node, (x, weight, *bias), (expected,), name in onnx_node_tests():
        if x.ndim != 4:
            continue
        given = attributes_of(node)
        strides, dilations = given.get("strides", (1, 1)), given.get("dilations", (1, 1))
        pads, output_size = given.get("pads", (0, 0, 0, 0)), given.get("output_shape", (None, None))
        padding = [
            interop.onnx_crop(
                x.shape[2 + axis],
                weight.shape[2 + axis],
                strides[axis],
                (pads[axis], pads[axis + 2]),
                given.get("output_padding", (0, 0))[axis],
                dilations[axis],
                auto_pad=given.get("auto_pad", "NOTSET"),
                output_size=output_size[axis],
            )
            for axis in range(2)
        ]
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in (x, weight, *bias)]
        output = conv_transpose2d(
            *tensors, stride=strides, padding=padding, groups=given.get("group", 1), dilation=dilations
        )
        torch.testing.assert_close(output, torch.from_numpy(expected))
        passed.append(name)
    assert len(passed) == len(set(passed)) == 9


def test_onnx_same_lower_puts_the_odd_pixel_before():
    assert interop.onnx_crop(4, 3, 2, auto_pad="SAME_UPPER") == (0, 1)
    assert interop.onnx_crop(4, 3, 2, auto_pad="SAME_LOWER") == (1, 0)
    assert interop.onnx_crop(4, 3, 2, output_padding=1, auto_pad="VALID") == (0, -1)
    with pytest.raises(ValueError, match="auto_pad='SAME' is unknown"):
        interop.onnx_crop(4, 3, 2, auto_pad="SAME")


def tensorflow_conv2d(images, weight, stride, padding, dilation):
    """Convolve as `tf.nn.conv2d` does: *same* puts the odd pixel at the end."""
    if padding == "SAME":
        (top, bottom), (left, right) = (
            same_padding(size, weight.shape[2], stride, dilation) for size in images.shape[2:]
        )
        images = F.pad(images, (left, right, top, bottom))
    return F.conv2d(images, weight, stride=stride, dilation=dilation)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("algorithm", ["auto", "phase", "zero_insert", "scatter", "matrix"])
def test_tensorflow_is_the_gradient_of_its_convolution(padding, algorithm):
    compared = 0
    for k, s, d, height in itertools.product((1, 2, 3, 4, 5), (1, 2, 3), (1, 2), range(5, 10)):
        images = random(2, 3, height, height + 1).requires_grad_()
        weight = random(4, 3, k, k)
        if padding == "VALID" and effective_kernel_size(k, d) > height:
            continue
        maps = tensorflow_conv2d(images, weight, s, padding, d)
        direction = torch.randn_like(maps)
        (expected,) = torch.autograd.grad(maps, images, direction)
        crop = [
            interop.tensorflow_crop(size, k, s, padding, wanted, d)
            for size, wanted in zip(maps.shape[2:], images.shape[2:], strict=True)
        ]
        # TensorFlow's kernel (K, L, O, C) of the transposed convolution is (K, L, in, out) of the forward convolution.
        kernel = interop.keras_weight(weight.permute(2, 3, 1, 0))
        output = conv_transpose2d(direction, kernel, stride=s, padding=crop, dilation=d, algorithm=algorithm)
        torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
        compared += 1
    assert compared > 100


@pytest.mark.parametrize(("kernel_size", "crop"), [(3, (0, 1)), (5, (1, 2))])
def test_a_same_layer_is_not_what_pytorchs_arguments_make_of_it(kernel_size, crop):
    """Show the silent shift of ports: the shapes are equal, the pixels differ."""
    x, weight = random(1, 2, 4, 4), random(2, 1, kernel_size, kernel_size)
    assert interop.keras_crop(4, kernel_size, 2, "same") == crop
    same = conv_transpose2d(x, weight, stride=2, padding=(crop, crop))
    torch.testing.assert_close(conv_transpose2d(x, weight, stride=2, padding="same"), same)
    ported = F.conv_transpose2d(x, weight, stride=2, padding=(kernel_size - 1) // 2, output_padding=1)
    assert ported.shape == same.shape == (1, 1, 8, 8)
    assert not torch.allclose(ported, same)
    torch.testing.assert_close(ported[:, :, :-1, :-1], same[:, :, 1:, 1:])


def test_keras_sizes():
    # As in its documentation: valid makes (I - 1) S + max(F, S) pixels, same makes I * S.
    for size, k, s in itertools.product((1, 4), (1, 2, 3, 5), (1, 2, 3)):
        x, weight = random(1, 1, size, size), random(1, 1, k, k)
        for padding, expected in (("valid", (size - 1) * s + max(k, s)), ("same", size * s)):
            crop = interop.keras_crop(size, k, s, padding)
            assert conv_transpose2d(x, weight, stride=s, padding=(crop, crop)).shape[-1] == expected
        for extra in range(s):  # Keras: (I - 1) S + F - 2 floor(F / 2) + output_padding for same
            crop = interop.keras_crop(size, k, s, "same", extra)
            wanted = (size - 1) * s + k - 2 * (k // 2) + extra
            if wanted:
                assert conv_transpose2d(x, weight, stride=s, padding=(crop, crop)).shape[-1] == wanted
            crop = interop.keras_crop(size, k, s, "valid", extra)
            wanted = (size - 1) * s + k + extra
            assert conv_transpose2d(x, weight, stride=s, padding=(crop, crop)).shape[-1] == wanted
    with pytest.raises(ValueError, match="padding='full' is unknown"):
        interop.keras_crop(4, 3, 2, "full")


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize("padding", ["SAME", "VALID", (0, 1), (2, 1), (3, 3)])
def test_jax_is_a_convolution_of_the_input_with_zeros_inserted(padding, transpose_kernel):
    compared = 0
    for size, k, s, d in itertools.product((1, 2, 5), (1, 2, 3, 4, 5), (1, 2, 3), (1, 2)):
        x, kernel = random(2, 3, size, size), random(k, k, 3, 4)
        span = effective_kernel_size(k, d)
        if padding == "SAME":  # jax.lax._conv_transpose_padding
            before = span - 1 if s > span - 1 else -(-(span + s - 2) // 2)
            pads = (before, span + s - 2 - before)
        elif padding == "VALID":
            pads = (span - 1, s - 1 + max(span - s, 0))
        else:
            pads = padding
        spread = x.new_zeros(2, 3, (size - 1) * s + 1, (size - 1) * s + 1)
        spread[:, :, ::s, ::s] = x
        spread = F.pad(spread, pads * 2)
        if spread.shape[-1] < span:
            continue
        # Without transpose_kernel JAX correlates with the kernel as it is; with it, mirrored.
        weight = kernel.permute(3, 2, 0, 1)
        expected = F.conv2d(spread, weight.flip(2, 3) if transpose_kernel else weight, dilation=d)
        given = kernel.transpose(2, 3) if transpose_kernel else kernel
        crop = interop.jax_crop(size, k, s, padding, d)
        output = conv_transpose2d(
            x,
            interop.jax_weight(given, transpose_kernel=transpose_kernel),
            stride=s,
            padding=(crop, crop),
            dilation=d,
        )
        torch.testing.assert_close(output, expected)
        compared += 1
    assert compared > 50


def test_jax_consistent_padding_is_that_of_the_convolution():
    assert interop.jax_crop(4, 3, 2, (1, 0), consistent=True) == (1, 0)
    assert interop.jax_crop(4, 3, 2, (1, 0)) == (1, 2)


def test_an_output_size_that_no_convolution_maps_there_is_refused():
    with pytest.raises(ValueError, match="output_size can be 7 to 8"):
        interop.tensorflow_crop(4, 3, 2, "SAME", 9)
    with pytest.raises(ValueError, match="output_size can be 9 to 10"):
        interop.tensorflow_crop(4, 3, 2, "VALID", 8)
