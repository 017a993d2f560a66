"""Test the other frameworks: ONNX by its own node tests, JAX, Keras and TensorFlow by what they compute themselves."""

import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path

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


def by_interop(framework, settings, kernel):
    """Return the arguments with which `conv_transpose2d` computes what the framework does."""
    padding = settings.pop("padding")
    padding = padding if isinstance(padding, str) else tuple(padding)
    if framework == "jax":
        weight = interop.jax_weight(kernel, transpose_kernel=settings.pop("transpose_kernel"))
    else:
        weight = interop.keras_weight(kernel)
    crop = getattr(interop, f"{framework}_crop")(**settings, padding=padding)
    return {
        "weight": weight,
        "stride": settings["stride"],
        "padding": (crop, crop),
        "dilation": settings.get("dilation", 1),
    }


@pytest.mark.parametrize(("framework", "least"), [("jax", 400), ("keras", 200), ("tensorflow", 100)])
def test_the_framework_itself_computes_the_same(tmp_path, framework, least):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"to compare with {framework}: pip install {framework} (tensorflow-cpu for TensorFlow)")
    program, out = Path(__file__).with_name("frameworks.py"), tmp_path / "cases.npz"
    subprocess.run([sys.executable, str(program), framework, str(out)], check=True, timeout=250)
    with np.load(out) as arrays:
        count = len(arrays.files) // 4
        for index in range(count):
            settings = json.loads(str(arrays[f"{index}"]))
            x, kernel, expected = (torch.from_numpy(arrays[f"{index} {name}"]) for name in ("x", "kernel", "output"))
            arguments = by_interop(framework, dict(settings), kernel)
            output = conv_transpose2d(x.permute(0, 3, 1, 2), **arguments).permute(0, 2, 3, 1)
            torch.testing.assert_close(
                output, expected, rtol=1e-9, atol=1e-9, msg=lambda text, s=settings: f"{s}: {text}"
            )
    assert count > least


def test_a_padding_that_keras_does_not_have_is_refused():
    with pytest.raises(ValueError, match="padding='full' is unknown"):
        interop.keras_crop(4, 3, 2, "full")


def test_jax_consistent_padding_is_that_of_the_convolution():
    assert interop.jax_crop(4, 3, 2, (1, 0), consistent=True) == (1, 0)
    assert interop.jax_crop(4, 3, 2, (1, 0)) == (1, 2)


def test_an_output_size_that_no_convolution_maps_there_is_refused():
    with pytest.raises(ValueError, match="output_size can be 7 to 8"):
        interop.tensorflow_crop(4, 3, 2, "SAME", 9)
    with pytest.raises(ValueError, match="output_size can be 9 to 10"):
        interop.tensorflow_crop(4, 3, 2, "VALID", 8)
