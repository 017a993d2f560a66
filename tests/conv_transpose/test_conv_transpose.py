"""Test the layer and the function: numbers by hand, sizes, accepted arguments and rejected ones."""

import collections
import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dcgan.conv_transpose import ALGORITHMS, ConvTranspose2d, conv_transpose2d
from dcgan.conv_transpose import algorithms as implementations
from dcgan.conv_transpose.algorithms import convolution_matrix
from dcgan.conv_transpose.arithmetic import conv_output_size, output_padding_for, same_padding
from dcgan.conv_transpose.geometry import Geometry

algorithms = pytest.mark.parametrize("algorithm", list(ALGORITHMS))


def image(rows):
    return torch.tensor([[rows]], dtype=torch.float64)


ONES = image([[1, 1, 1]] * 3)


@algorithms
@pytest.mark.parametrize(
    ("pixels", "kernel", "arguments", "expected"),
    [
        pytest.param(
            [[1, 2], [3, 4]],
            [[1, 10], [100, 1000]],
            {},
            # Four scaled kernels, overlapping in the middle row and column.
            [[1, 12, 20], [103, 1234, 2040], [300, 3400, 4000]],
            id="no padding, stride 1",
        ),
        pytest.param([[1, 2], [3, 4]], [[1, 10], [100, 1000]], {"padding": 1}, [[1234]], id="padding crops"),
        pytest.param(
            [[1, 2], [3, 4]],
            [[1, 10], [100, 1000]],
            {"stride": 2},
            # Kernel and stride are both 2: the scaled kernels lie side by side.
            [[1, 10, 2, 20], [100, 1000, 200, 2000], [3, 30, 4, 40], [300, 3000, 400, 4000]],
            id="stride 2, no overlap",
        ),
        pytest.param(
            [[1, 2], [3, 4]],
            [[1, 1, 1]] * 3,
            {"stride": 2},
            [[1, 1, 3, 2, 2], [1, 1, 3, 2, 2], [4, 4, 10, 6, 6], [3, 3, 7, 4, 4], [3, 3, 7, 4, 4]],
            id="stride 2, overlap of one",
        ),
        pytest.param(
            [[1, 2], [3, 4]],
            [[1, 1, 1]] * 3,
            {"stride": 2, "padding": 1},
            [[1, 3, 2], [4, 10, 6], [3, 7, 4]],
            id="the odd case: 3 x 3",
        ),
        pytest.param(
            [[1, 2], [3, 4]],
            [[1, 1, 1]] * 3,
            {"stride": 2, "padding": 1, "output_padding": 1},
            # The new row and column are computed: padding cropped them before.
            [[1, 3, 2, 2], [4, 10, 6, 6], [3, 7, 4, 4], [3, 7, 4, 4]],
            id="the odd case: 4 x 4",
        ),
        pytest.param(
            [[1, 2]],
            [[5, 7]],
            {"stride": (1, 3), "output_padding": (0, 1)},
            # Here no tap reaches the new column.
            [[5, 7, 0, 10, 14, 0]],
            id="output_padding beyond the reach of the kernel",
        ),
        pytest.param([[1, 2]], [[3, 5]], {"dilation": (1, 2)}, [[3, 6, 5, 10]], id="a dilated kernel has gaps"),
    ],
)
def test_integers_worked_out_by_hand(algorithm, pixels, kernel, arguments, expected):
    output = conv_transpose2d(image(pixels), image(kernel), algorithm=algorithm, **arguments)
    assert output.tolist() == [[expected]]


GEOMETRIES = [
    {"kernel_size": k, "stride": s, "padding": p, "output_padding": op, "dilation": d, "groups": g}
    for k, s, p, op, d, g in itertools.product((1, (2, 3), 4, 5), (1, 2, (3, 2)), (0, 1), (0, 1), (1, (2, 3)), (1, 2))
    if op < min(s if isinstance(s, tuple) else (s,)) or op < min(d if isinstance(d, tuple) else (d,))
]


@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_shapes_are_those_of_the_built_in_layer(size):
    compared = 0
    for geometry in GEOMETRIES:
        ours = ConvTranspose2d(4, 6, **geometry)
        theirs = torch.nn.ConvTranspose2d(4, 6, **geometry)
        x = torch.randn(2, 4, *size)
        try:
            expected = theirs(x).shape
        except RuntimeError:  # padding crops everything
            with pytest.raises(RuntimeError, match=r"output size .* is too small"):
                ours(x)
            continue
        assert ours(x).shape == expected
        assert ours(x[0]).shape == expected[1:]
        compared += 1
    assert compared > 150


def test_output_padding_undoes_the_floor_of_the_discriminators_convolution():
    for size, kernel_size in itertools.product(range(8, 40), (2, 3, 4, 5, 6)):
        padding = (kernel_size - 1) // 2
        halved = conv_output_size(size, kernel_size, 2, padding)
        convolution = torch.nn.Conv2d(1, 1, kernel_size, 2, padding)
        assert convolution(torch.zeros(1, 1, size, size)).shape[-1] == halved
        extra = output_padding_for(size, halved, kernel_size, 2, padding)
        mirror = ConvTranspose2d(1, 1, kernel_size, 2, padding, extra)
        assert mirror(torch.zeros(1, 1, halved, halved)).shape[-1] == size


def test_output_size_replaces_output_padding():
    layer = ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1)
    x = torch.randn(2, 1, 5, 5)
    assert layer(x).shape == (2, 1, 10, 10)
    for size in ((9, 9), (9, 10), (10, 10)):
        assert layer(x, output_size=size).shape == (2, 1, *size)
        assert layer(x, output_size=(99, 99, *size)).shape == (2, 1, *size)
    with pytest.raises(ValueError, match="requested an output size"):
        layer(x, output_size=(11, 11))


def test_numpy_integers_are_integers():
    layer = ConvTranspose2d(2, 3, np.int64(3), np.int64(2), np.int64(1), np.int64(1))
    assert layer(torch.zeros(1, 2, 4, 4)).shape == (1, 3, 8, 8)


def test_a_seed_gives_the_initial_values_of_the_built_in_layer():
    torch.manual_seed(3)
    ours = ConvTranspose2d(4, 6, 3, groups=2)
    torch.manual_seed(3)
    theirs = torch.nn.ConvTranspose2d(4, 6, 3, groups=2)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


def test_a_state_dict_loads_both_ways():
    ours, theirs = ConvTranspose2d(2, 3, 4, 2, 1), torch.nn.ConvTranspose2d(2, 3, 4, 2, 1)
    x = torch.randn(1, 2, 5, 5)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
    another = torch.nn.ConvTranspose2d(2, 3, 4, 2, 1)
    ours.load_state_dict(another.state_dict())
    torch.testing.assert_close(ours(x), another(x))


def test_the_layer_shows_its_algorithm_only_where_one_was_chosen():
    arguments = (2, 3, 4, 2, 1)
    assert repr(ConvTranspose2d(*arguments)) == repr(torch.nn.ConvTranspose2d(*arguments))
    assert "algorithm='scatter'" in repr(ConvTranspose2d(*arguments, algorithm="scatter"))
    assert copy.deepcopy(ConvTranspose2d(*arguments, algorithm="scatter")).algorithm == "scatter"
    changed = torch.nn.ConvTranspose2d(4, 3, 3)
    changed.__class__ = ConvTranspose2d
    assert changed(torch.randn(1, 4, 2, 2)).shape == (1, 3, 4, 4)


X, W = torch.zeros(1, 2, 4, 4), torch.zeros(2, 3, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(4, 4), W), r"Expected 3D \(unbatched\) or 4D .* \[4, 4\]"),
        ((X, torch.zeros(2, 3, 3)), r"weight must be .* \[2, 3, 3\]"),
        ((X, W, None, 1, -1), r"padding=\(-1, -1\)"),
        ((X, W, None, 1, 0, -1), r"output_padding=\(-1, -1\)"),
        ((X, W, None, 0), r"stride=\(0, 0\)"),
        ((X, W, None, (1, 2, 3)), r"stride=\(1, 2, 3\)"),
        ((X, W, None, 1, 0, 0, 1, 0), r"dilation=\(0, 0\)"),
        ((X, W, None, 1, 0, 0, 0), "groups=0"),
        ((X, torch.zeros(3, 4, 3, 3), None, 1, 0, 0, 2), "groups=2 must divide the 3"),
        ((X, torch.zeros(3, 4, 3, 3)), "expects input with 3 channels.*with 2"),
        ((X, torch.zeros(2, 0, 3, 3)), r"weight must not be empty.*\[2, 0, 3, 3\]"),
        ((X, W, torch.zeros(4)), r"bias must be of size \[3\], got size \[4\]"),
        ((torch.zeros(1, 2, 0, 4), W), r"at least one pixel.*\[1, 2, 0, 4\]"),
        ((X, W, None, 2, 0, 2), "output_padding=2, stride=2, dilation=1"),
        ((X, W, None, 1, 4), r"output size \(-2, -2\) is too small: padding=\(4, 4\)"),
        ((X, W.double()), "input is torch.float32, weight is torch.float64"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(arguments, message):
    with pytest.raises(RuntimeError):
        F.conv_transpose2d(*arguments)
    with pytest.raises(RuntimeError, match=message):
        conv_transpose2d(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0]], W), r"input must be a tensor, got \[\[1.0\]\]"),
        ((X, None), "weight must be a tensor, got None"),
        ((X, W, 1.0), "bias must be a tensor, got 1.0"),
        ((X, W, None, True), "stride must be ints, got True"),
        ((X, W, None, 1, 0.5), "padding must be ints, got 0.5"),
        ((X, W, None, 1, (0, 0.0)), r"padding must be ints, got \(0, 0.0\)"),
        ((X, W, None, 1, 0, 0, 1.0), "groups must be an int, got 1.0"),
        ((X, W, None, 1, 0, 0, True), "groups must be an int, got True"),
        ((X, W, None, 1, 0, 0, [1]), r"groups must be an int, got \[1\]"),
    ],
)
def test_what_is_no_tensor_and_no_integer_is_a_type_error(arguments, message):
    with pytest.raises(TypeError):
        F.conv_transpose2d(*arguments)
    with pytest.raises(TypeError, match=message):
        conv_transpose2d(*arguments)


def test_small_integers_of_numpy_do_not_wrap():
    x, weight = torch.randn(1, 2, 131, 3), torch.randn(2, 3, 3, 3)
    torch.testing.assert_close(conv_transpose2d(x, weight, None, np.uint8(2)), F.conv_transpose2d(x, weight, None, 2))


def test_uneven_paddings_may_be_any_sequences():
    expected = conv_transpose2d(X, W, None, 2, ((1, 2), (0, 1)))
    for padding in ([range(1, 3), range(2)], collections.deque([(1, 2), (0, 1)])):
        assert torch.equal(conv_transpose2d(X, W, None, 2, padding), expected)


@algorithms
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_large_kernel_has_many_phases(algorithm, memory_format):
    x, weight = torch.randn(2, 3, 3, 2), torch.randn(3, 4, 9, 11)
    ours = conv_transpose2d(x.to(memory_format=memory_format), weight, None, (5, 7), (2, 3), algorithm=algorithm)
    torch.testing.assert_close(ours, F.conv_transpose2d(x, weight, None, (5, 7), (2, 3)), rtol=1e-4, atol=1e-4)


@algorithms
def test_a_window_that_lies_beyond_all_taps_is_zero(algorithm):
    arguments = (torch.ones(2, 4, 1, 1), torch.ones(4, 3, 3, 1), None, (2, 9), (1, 2), (1, 6))
    ours = conv_transpose2d(*arguments, algorithm=algorithm)
    torch.testing.assert_close(ours, F.conv_transpose2d(*arguments))


@algorithms
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("channels", [1, 4])
def test_an_output_may_be_changed_in_place(algorithm, memory_format, channels):
    layer = ConvTranspose2d(8, channels, 4, 2, 1, bias=False, algorithm=algorithm)
    layer = layer.to(memory_format=memory_format)
    for shape in ((2, 8, 5, 5), (8, 5, 5)):
        x = torch.randn(shape)
        network = torch.nn.Sequential(layer, torch.nn.ReLU(inplace=True))
        (gradient,) = torch.autograd.grad(network(x).sum(), layer.weight)
        (expected,) = torch.autograd.grad(layer(x).relu().sum(), layer.weight)
        torch.testing.assert_close(gradient, expected)


def test_an_unknown_algorithm_is_an_error_at_construction():
    with pytest.raises(ValueError, match="algorithm='fast' is unknown; choose one of auto, gemm, phase"):
        ConvTranspose2d(1, 1, 3, algorithm="fast")
    with pytest.raises(ValueError, match="algorithm='fast'"):
        conv_transpose2d(X, W, algorithm="fast")


@algorithms
@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        # For a row of two pixels, kernel (1, 10, 100) and stride 2, the full output is 1 10 102 20 200.
        ("valid", [1, 10, 102, 20, 200]),
        ("same", [1, 10, 102, 20]),  # twice as long as the input; the odd pixel at the end is cropped
        ("full", [102]),  # F - 1 cropped from either end
        (((0, 0), (1, 2)), [10, 102]),
        (((0, 0), (-2, 1)), [0, 0, 1, 10, 102, 20]),
        (((0, 0), (-1, -2)), [0, 1, 10, 102, 20, 200, 0, 0]),
    ],
)
def test_paddings_beyond_pytorchs(algorithm, padding, expected):
    x, weight = image([[1, 2]]), image([[1, 10, 100]])
    stride = (1, 2)
    output = conv_transpose2d(x, weight, stride=stride, padding=padding, algorithm=algorithm)
    assert output.tolist() == [[[expected]]]
    layer = ConvTranspose2d(1, 1, (1, 3), stride, padding, bias=False, dtype=torch.float64, algorithm=algorithm)
    layer.load_state_dict({"weight": weight})
    assert layer(x).tolist() == [[[expected]]]
    given = x.requires_grad_(), weight.requires_grad_()
    how = {"stride": stride, "padding": padding, "algorithm": algorithm}
    assert torch.autograd.gradcheck(lambda x, weight: conv_transpose2d(x, weight, **how), given)


def test_output_size_with_named_and_uneven_paddings():
    x = torch.randn(1, 1, 3, 3)
    same = ConvTranspose2d(1, 1, 3, 2, "same")
    assert "padding=same" in repr(same)
    assert same(x).shape[2:] == (6, 6)
    assert same(x, output_size=(5, 6)).shape[2:] == (5, 6)
    with pytest.raises(ValueError, match="output_size can be 5 to 6"):
        same(x, output_size=(7, 6))
    uneven = ConvTranspose2d(1, 1, 3, 2, ((0, 1), (1, 0)))
    assert uneven(x).shape[2:] == (6, 6)
    assert uneven(x, output_size=(7, 6)).shape[2:] == (7, 6)
    assert ConvTranspose2d(1, 1, 3, 2, "valid")(x, output_size=(8, 7)).shape[2:] == (8, 7)


def test_a_same_convolution_is_undone_in_size_and_adjoint():
    x = torch.randn(1, 1, 7, 6, dtype=torch.float64)
    weight = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    (top, bottom), (left, right) = (same_padding(size, 3, 2) for size in (7, 6))
    down = F.conv2d(F.pad(x, (left, right, top, bottom)), weight, stride=2)
    layer = ConvTranspose2d(1, 1, 3, 2, "same", bias=False, dtype=torch.float64)
    layer.load_state_dict({"weight": weight})
    y = torch.randn_like(down)
    up = layer(y, output_size=x.shape)
    assert up.shape == x.shape
    torch.testing.assert_close((down * y).sum(), (up * x).sum())


def test_a_bad_padding_is_named():
    with pytest.raises(ValueError, match="padding='smae' is unknown; choose valid, same, full or numbers"):
        ConvTranspose2d(1, 1, 3, padding="smae")
    with pytest.raises(ValueError, match="padding='smae' is unknown"):
        conv_transpose2d(X, W, padding="smae")
    with pytest.raises(ValueError, match=r"padding='same' already says .* output_padding=\(1, 1\)"):
        conv_transpose2d(X, W, stride=2, padding="same", output_padding=1)
    with pytest.raises(RuntimeError, match=r"\(\(top, bottom\), \(left, right\)\), got padding=\(\(1, 2\), 3\)"):
        conv_transpose2d(X, W, padding=((1, 2), 3))
    with pytest.raises(TypeError, match="padding must be ints"):
        conv_transpose2d(X, W, padding=1.5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("how", [{}, {"stride": 2, "padding": 1}, {"stride": (3, 2), "dilation": 2}])
def test_the_convolution_is_a_sparse_matrix_and_the_transposed_one_its_transpose(groups, how):
    """Check the dense layer's view, and the adjoint test <conv(y), x> = <y, conv_transpose(x)>."""
    sizes = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    sizes |= {name: value if isinstance(value, tuple) else (value,) * 2 for name, value in how.items()}
    y, weight = (
        torch.randn(4, 7, 6, dtype=torch.float64),
        torch.randn(2, 4 // groups, 3, 2, dtype=torch.float64),
    )
    x = F.conv2d(y, weight, groups=groups, **sizes)
    geometry = Geometry(tuple(x.shape[1:]), (3, 2), groups=groups, output_size=(7, 6), **sizes)
    matrix = convolution_matrix(weight, geometry)
    assert matrix.shape == (x.numel(), y.numel())
    torch.testing.assert_close((matrix @ y.reshape(-1, 1)).reshape(x.shape), x)
    other = torch.randn_like(x)
    extra = [
        size - least
        for size, least in zip((7, 6), conv_transpose2d(other, weight, groups=groups, **sizes).shape[1:], strict=True)
    ]
    up = conv_transpose2d(other, weight, None, sizes["stride"], sizes["padding"], extra, groups, sizes["dilation"])
    torch.testing.assert_close((matrix.t() @ other.reshape(-1, 1)).reshape(y.shape), up)
    torch.testing.assert_close((x * other).sum(), (y * up).sum())


def test_the_matrix_worked_out_by_hand():
    """A 3 x 3 kernel maps 4 x 4 pixels to 2 x 2: the matrix has four rows, each with the kernel in another place."""
    weight = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    geometry = Geometry((2, 2), (3, 3), (1, 1), (0, 0), (1, 1), 1, (4, 4))
    assert convolution_matrix(weight, geometry).to_dense().tolist() == [
        [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0],
        [0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0],
        [0, 0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9],
    ]


@pytest.mark.parametrize("algorithm", ["auto", "gemm"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("size", [(3, 4), (1, 13), (1, 1)])
@pytest.mark.parametrize("n", [5, 7])
@pytest.mark.parametrize("at_once", [1, 700], ids=["an image at a time", "two to four"])
def test_images_in_parts_are_those_of_all_at_once(monkeypatch, algorithm, memory_format, size, n, at_once):
    monkeypatch.setattr("dcgan.conv_transpose.algorithms.ELEMENTS_PER_CHUNK", at_once)
    torch.manual_seed(0)
    x, weight = (
        torch.randn(shape, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
        for shape in ((n, 12, *size), (12, 2, 3, 4))
    )
    results = []
    for function, how in ((conv_transpose2d, {"algorithm": algorithm}), (F.conv_transpose2d, {})):
        output = function(x, weight, None, 2, 1, 1, **how)
        direction = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output)
        direction = direction.contiguous(memory_format=memory_format)
        results.append((output, *torch.autograd.grad(output, (x, weight), direction)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("inputs", "outputs", "side", "arguments", "on_cpu", "elsewhere"),
    [
        (4, 32, 9, {"stride": 3}, "gemm", "subpixel"),  # 4 is no multiple of 3
        (4, 31, 9, {"stride": 3}, "subpixel", "subpixel"),
        # subpixel computes (side + 1)^2 positions instead of side^2
        (128, 32, 4, {"stride": 2}, "gemm", "subpixel"),
        (127, 32, 4, {"stride": 2}, "subpixel", "subpixel"),
        (128, 31, 4, {"stride": 2}, "subpixel", "subpixel"),
        (128, 32, 5, {"stride": 2}, "subpixel", "subpixel"),
        (128, 32, 4, {"stride": 2, "padding": 2}, "subpixel", "subpixel"),  # whose border is cropped
        (128, 32, 1, {"stride": 2}, "subpixel", "subpixel"),
        (4, 2, 3, {"groups": 2}, "phase", "phase"),
        (4, 2, 3, {"dilation": 2}, "phase", "phase"),
    ],
)
def test_auto_is_the_fastest_where_it_is(monkeypatch, inputs, outputs, side, arguments, on_cpu, elsewhere):
    called = []
    for name in ("gemm", "phase", "subpixel"):
        function = ALGORITHMS[name]
        spy = lambda *given, name=name, function=function: called.append(name) or function(*given)  # noqa: E731
        monkeypatch.setattr(f"dcgan.conv_transpose.algorithms.{name}", spy)
    given = torch.randn(1, inputs, side, side), torch.randn(inputs, outputs, 4, 4)
    conv_transpose2d(*given, **arguments)
    conv_transpose2d(*(tensor.to("meta") for tensor in given), **arguments)
    assert called == [on_cpu, elsewhere]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_what_a_gpu_would_compute_is_the_same(monkeypatch, memory_format):
    views = []

    def in_order(places, geometry):
        views.append(real_in_order(places, geometry))
        return views[-1]

    real_in_order = implementations._in_order
    monkeypatch.setattr(implementations, "_in_order", in_order)
    monkeypatch.setattr(implementations, "is_on_cpu", lambda x: False)
    monkeypatch.setattr(implementations, "is_on_gpu", lambda x: True)
    beyond = {"kernel_size": 2, "stride": 2, "padding": 1, "output_padding": 2, "dilation": 3, "groups": 1}
    for size, geometry in itertools.product([(4, 4), (1, 5)], [*GEOMETRIES, beyond]):
        layer = torch.nn.ConvTranspose2d(4, 6, **geometry, dtype=torch.float64).to(memory_format=memory_format)
        x = torch.randn(2, 4, *size, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
        try:
            expected = layer(x)
        except RuntimeError:  # padding crops everything
            continue
        how = [geometry[name] for name in ("stride", "padding", "output_padding", "groups", "dilation")]
        ours = conv_transpose2d(x, layer.weight, layer.bias, *how, algorithm="subpixel")
        torch.testing.assert_close(ours, expected)
        inputs, direction = (x, layer.weight), torch.randn_like(expected)
        torch.testing.assert_close(*(torch.autograd.grad(output, inputs, direction) for output in (ours, expected)))
    x, weight = (torch.randn(2, 2, 4, 4, dtype=torch.float64).to(memory_format=memory_format) for _ in range(2))
    batched = {"check_batched_grad": True, "fast_mode": True}
    assert torch.autograd.gradgradcheck(
        lambda *given: conv_transpose2d(*given, None, 2, 1), (x.requires_grad_(), weight.requires_grad_()), **batched
    )
    assert any(view is None for view in views)
    assert sum(view is not None for view in views) > 10


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_single_precision_loses_no_more_than_that_of_the_built_in(layout):
    """Compare output and both gradients with float64. Measured: 0.75 or 1, 1 and 1 times the built-in layer's loss."""
    torch.manual_seed(0)
    x, weight = torch.randn(16, 128, 8, 8).relu().to(memory_format=layout), 0.02 * torch.randn(128, 64, 4, 4)
    direction = torch.randn(16, 64, 16, 16)
    # Without AVX the built-in layer sums in another order.
    most = 1.02 if torch.backends.cpu.get_cpu_capability().startswith("AVX") else 2

    def results(function, dtype):
        given = [tensor.to(dtype).requires_grad_() for tensor in (x, weight)]
        output = function(*given, stride=2, padding=1)
        return [output, *torch.autograd.grad(output, given, direction.to(dtype))]

    exact = results(F.conv_transpose2d, torch.float64)
    theirs, ours = (results(function, torch.float32) for function in (F.conv_transpose2d, conv_transpose2d))
    for ours_one, theirs_one, one in zip(ours, theirs, exact, strict=True):
        assert (ours_one - one).norm() < most * (theirs_one - one).norm()
