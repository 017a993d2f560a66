"""The layer and the function: by hand, then against PyTorch's, then their gradients."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dcgan.conv_transpose import ALGORITHMS, ConvTranspose2d, conv_transpose2d
from dcgan.conv_transpose.arithmetic import conv_output_size, output_padding_for

algorithms = pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])


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
            # The new row and column are computed: they are what padding cropped before.
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
        pytest.param(
            [[1, 2]], [[3, 5]], {"dilation": (1, 2)}, [[3, 6, 5, 10]], id="a dilated kernel has gaps"
        ),
    ],
)
def test_integers_worked_out_by_hand(algorithm, pixels, kernel, arguments, expected):
    output = conv_transpose2d(image(pixels), image(kernel), algorithm=algorithm, **arguments)
    assert output.tolist() == [[expected]]


GEOMETRIES = [
    {"kernel_size": k, "stride": s, "padding": p, "output_padding": op, "dilation": d, "groups": g}
    for k, s, p, op, d, g in itertools.product(
        (1, (2, 3), 4, 5), (1, 2, (3, 2)), (0, 1), (0, 1), (1, (2, 3)), (1, 2)
    )
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


@algorithms
def test_values_and_gradients_are_those_of_the_built_in_layer_in_float64(algorithm):
    torch.manual_seed(0)
    for geometry in GEOMETRIES[::3]:
        ours = ConvTranspose2d(4, 6, **geometry, algorithm=algorithm, dtype=torch.float64)
        theirs = torch.nn.ConvTranspose2d(4, 6, **geometry, dtype=torch.float64)
        theirs.load_state_dict(ours.state_dict())
        results = []
        for layer in (ours, theirs):
            x = torch.linspace(-1, 1, 2 * 4 * 5 * 6, dtype=torch.float64).view(2, 4, 5, 6).requires_grad_()
            y = layer(x)
            (y * torch.arange(y.numel(), dtype=torch.float64).view_as(y).cos()).sum().backward()
            results.append((y, x.grad, layer.weight.grad, layer.bias.grad))
        for mine, reference in zip(*results, strict=True):
            torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


@algorithms
def test_gradcheck(algorithm):
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 2, 3, 2), (2, 2, 3, 4), (2,))
    )

    def function(*tensors):
        return conv_transpose2d(
            *tensors, stride=(2, 3), padding=(1, 0), output_padding=(1, 2), algorithm=algorithm
        )

    assert torch.autograd.gradcheck(function, (x, weight, bias))
    assert torch.autograd.gradgradcheck(function, (x, weight, bias))


@algorithms
def test_output_padding_may_reach_the_stride_where_the_dilation_is_larger(algorithm):
    x, weight = torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.randn(2, 3, 3, 3, dtype=torch.float64)
    x.requires_grad_()
    weight.requires_grad_()
    how = {"stride": 2, "output_padding": 2, "dilation": 3}
    ours, theirs = (
        conv_transpose2d(x, weight, algorithm=algorithm, **how),
        F.conv_transpose2d(x, weight, **how),
    )
    torch.testing.assert_close(ours, theirs)
    for mine, reference in zip(
        torch.autograd.grad(ours.square().sum(), (x, weight)),
        torch.autograd.grad(theirs.square().sum(), (x, weight)),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference)


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


@algorithms
def test_an_empty_batch_has_zero_gradients(algorithm):
    layer = ConvTranspose2d(4, 6, 3, 2, 1, groups=2, algorithm=algorithm)
    x = torch.randn(0, 4, 4, 4, requires_grad=True)
    output = layer(x)
    assert output.shape == (0, 6, 7, 7)
    output.sum().backward()
    assert x.grad.shape == x.shape
    assert not layer.weight.grad.any()
    assert not layer.bias.grad.any()


class TransposedConvolutions(TorchDispatchMode):
    """Counts what reaches PyTorch's operators."""

    def __init__(self):
        super().__init__()
        self.transposed, self.operators = 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operators.add(function.overloadpacket)
        name = str(function)
        position = {"aten.convolution.": 6, "aten.convolution_backward.": 7}
        for prefix, index in position.items():
            if name.startswith(prefix) and args[index]:
                self.transposed += 1
        self.transposed += "transpose2d" in name
        return function(*args, **(kwargs or {}))


def forward_backward_and_again(layer):
    x = torch.randn(2, 2, 4, 4, requires_grad=True)
    with TransposedConvolutions() as seen:
        first = torch.autograd.grad(layer(x).square().sum(), (x, layer.weight), create_graph=True)
        torch.autograd.grad(sum(g.square().sum() for g in first), (x, layer.weight))
    return seen


@algorithms
def test_no_transposed_convolution_of_the_framework_is_reached(algorithm):
    seen = forward_backward_and_again(ConvTranspose2d(2, 3, 4, 2, 1, algorithm=algorithm))
    assert seen.operators
    assert seen.transposed == 0
    # The same watch does see the built-in layer.
    assert forward_backward_and_again(torch.nn.ConvTranspose2d(2, 3, 4, 2, 1)).transposed > 0


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
        ((X, W, None, 1, 4), r"output size \(-2, -2\) is too small: padding=4"),
        ((X, W.double()), "input is torch.float32, weight is torch.float64"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(arguments, message):
    with pytest.raises(RuntimeError):
        F.conv_transpose2d(*arguments)
    with pytest.raises(RuntimeError, match=message):
        conv_transpose2d(*arguments)


def test_an_unknown_algorithm_is_an_error_at_construction():
    with pytest.raises(ValueError, match="algorithm='fast' is unknown; choose one of auto, gemm"):
        ConvTranspose2d(1, 1, 3, algorithm="fast")
    with pytest.raises(ValueError, match="algorithm='fast'"):
        conv_transpose2d(X, W, algorithm="fast")
