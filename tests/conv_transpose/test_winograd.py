"""Fewer products: the schemes by hand, the products counted, and where ``auto`` takes them."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import conv_transpose2d as built_in
from torch.utils.flop_counter import FlopCounterMode

from dcgan.conv_transpose import conv_transpose2d
from dcgan.conv_transpose.arithmetic import Geometry
from dcgan.conv_transpose.choice import ALGORITHMS, WINOGRAD, best
from dcgan.conv_transpose.tiles import KARATSUBA, TOOM_COOK, scheme


def product(scheme, pixels, blocks):
    return scheme.places @ ((scheme.pixels @ np.array(pixels)) * (scheme.blocks @ np.array(blocks)))


def test_karatsuba_by_hand():
    # (2 + 3z) (5 + 7z) = 10 + 29z + 21z^2, from 2 * 5, 5 * 12 and 3 * 7
    scheme = KARATSUBA._replace(**{name: np.array(rows) for name, rows in KARATSUBA._asdict().items()})
    assert list(scheme.pixels @ [2, 3]) == [2, 5, 3]
    assert list(scheme.blocks @ [5, 7]) == [5, 12, 7]
    assert list(product(scheme, [2, 3], [5, 7])) == [10, 29, 21]


@pytest.mark.parametrize(("size", "count", "points"), [(4, 1, 1), (4, 2, 3), (4, 3, 4), (4, 4, 4), (1, 2, 2)])
def test_a_scheme_multiplies_polynomials_in_so_many_products(size, count, points):
    rows = scheme(size, count)
    matrices = rows._replace(**{name: np.array(matrix) for name, matrix in rows._asdict().items()})
    pixels = np.arange(1.0, 1 + matrices.pixels.shape[1])
    blocks = np.arange(1.0, 1 + count) ** 2
    assert matrices.pixels.shape[0] == points
    assert list(product(matrices, pixels, blocks)) == pytest.approx(list(np.convolve(pixels, blocks)))


def test_integers_have_no_halves():
    assert scheme(4, 3) is TOOM_COOK
    x, w = torch.arange(2 * 16).view(1, 2, 4, 4), torch.arange(2 * 36).view(2, 1, 6, 6)
    assert torch.equal(
        conv_transpose2d(x, w, stride=2, algorithm="winograd"),
        conv_transpose2d(x, w, stride=2, algorithm="scatter"),
    )


@pytest.mark.parametrize(("kernel_size", "padding", "part"), [(4, 1, 9 / 16), (6, 2, 16 / 36)])
def test_forward_and_backward_take_so_much_of_the_products(kernel_size, padding, part):
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    w = torch.randn(8, 4, kernel_size, kernel_size, requires_grad=True)
    needed = 2 * x.numel() * w[0].numel()  # a product and a sum each
    in_place = {torch.ops.aten.baddbmm_: lambda _, a, b, **__: 2 * math.prod(a) * b[-1]}

    with FlopCounterMode(display=False, custom_mapping=in_place) as forward:
        y = conv_transpose2d(x, w, None, 2, padding, algorithm="winograd")
    with FlopCounterMode(display=False, custom_mapping=in_place) as backward:
        y.sum().backward()

    assert forward.get_total_flops() == part * needed
    assert backward.get_total_flops() == 2 * part * needed


# Measured, over seeds and with AVX2 and AVX-512: winograd 2.26, 1.58, 1.21 of the built-in's, gemm 0.75, 1, 1.
@pytest.mark.parametrize(("algorithm", "most"), [("winograd", 2.4), ("gemm", 1.02)])
def test_single_precision_loses_little(algorithm, most):
    """In the output and both gradients: winograd about twice what the built-in loses, gemm no more."""
    torch.manual_seed(0)
    x, w = torch.randn(16, 128, 8, 8).relu(), 0.02 * torch.randn(128, 64, 4, 4)
    y = torch.randn(16, 64, 16, 16)
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        most *= 2  # there the built-in adds up in another order

    def results(function, dtype, **how):
        given = [tensor.to(dtype).requires_grad_() for tensor in (x, w)]
        output = function(*given, stride=2, padding=1, **how)
        return [output, *torch.autograd.grad(output, given, y.to(dtype))]

    exact = results(built_in, torch.float64)
    theirs = results(built_in, torch.float32)
    ours = results(conv_transpose2d, torch.float32, algorithm=algorithm)
    for ours_one, theirs_one, one in zip(ours, theirs, exact, strict=True):
        assert (ours_one - one).norm() < most * (theirs_one - one).norm()


@pytest.mark.parametrize("at_once", [1, 700, 10**6], ids=["an image at a time", "some", "all"])
def test_images_in_parts_are_those_of_all_at_once(monkeypatch, at_once):
    monkeypatch.setattr("dcgan.conv_transpose.winograd.NUMBERS_AT_ONCE", at_once)
    x = torch.randn(5, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(6, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    ours, theirs = (
        function(x, w, None, 2, 1, 1, **how)
        for function, how in ((conv_transpose2d, {"algorithm": "winograd"}), (built_in, {}))
    )
    y = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs)
    for needed in ([x, w], [x], [w]):
        gradients = (torch.autograd.grad(output, needed, y, retain_graph=True) for output in (ours, theirs))
        torch.testing.assert_close(*gradients)


def test_auto_takes_it_where_there_is_much_to_save():
    def auto(n, channels, outputs, size, kernel_size=4):
        crop = ((kernel_size - 1) // 2,) * 2
        sizes = ((size, size), (kernel_size, kernel_size), (2, 2), crop)
        geometry = Geometry(*sizes, dilation=(1, 1), groups=1, output_size=(2 * size, 2 * size))
        return best(torch.empty(n, 1, 1, 1), channels, outputs, geometry)

    assert auto(64, 512, 256, 4) is WINOGRAD
    assert auto(64, 384, 192, 8) is WINOGRAD
    assert auto(64, 256, 128, 8) is ALGORITHMS["gemm"]  # as fast, with half of the memory
    assert auto(64, 512, 256, 8, kernel_size=5) is WINOGRAD
    for little in (
        (1, 512, 256, 4),
        (64, 64, 3, 32),
        (64, 256, 128, 7),
        (64, 256, 128, 8, 3),
        (32, 64, 32, 7),
    ):
        assert auto(*little) is ALGORITHMS["gemm"], little
