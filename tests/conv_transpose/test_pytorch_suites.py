"""Run PyTorch's own suites for the transposed convolution on ours.

The samples of ``OpInfo`` and ``ModuleInfo`` come with PyTorch (`torch.testing._internal`). Its file
``test/nn/test_convolution.py`` does not, so its checks are rewritten here.
"""

import itertools
import pickle
from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F

from dcgan.conv_transpose import ALGORITHMS, ConvTranspose2d, LazyConvTranspose2d, conv_transpose2d

pytestmark = [
    # PyTorch warns about itself: its decompositions for forward mode, complex modules and lazy modules.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*"),
    pytest.mark.filterwarnings("ignore:Complex modules are a new feature"),
    pytest.mark.filterwarnings("ignore:Lazy modules are a new feature"),
]
algorithms = pytest.mark.parametrize("algorithm", list(ALGORITHMS))
DTYPES = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
    torch.int64,
]


@cache
def op_info():
    from torch.testing._internal.common_methods_invocations import op_db

    (found,) = (op for op in op_db if op.name == "nn.functional.conv_transpose2d")
    return found


def samples(dtype, requires_grad=False):
    found = list(op_info().sample_inputs("cpu", dtype, requires_grad=requires_grad))
    assert len(found) == 12
    return found


def tensors(sample):
    return [tensor for tensor in (sample.input, *sample.args) if tensor is not None]


def call(sample, algorithm, *arguments):
    missing = [None] * (3 - len(arguments))
    return conv_transpose2d(*arguments, *missing, algorithm=algorithm, **sample.kwargs)


def test_the_operator_claims_no_dtype_that_ours_is_not_tested_with():
    assert op_info().dtypes == set(DTYPES)


def results(function, given):
    """Return the output of a function and its gradients, if there are any."""
    output = function(*given)
    if not output.requires_grad:
        return [output]
    direction = torch.linspace(-1, 1, output.numel()).view_as(output).to(output.dtype)
    return [output, *torch.autograd.grad(output, given, direction)]


@algorithms
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_op_info_samples_and_their_gradients(algorithm, dtype):
    for sample in samples(dtype, requires_grad=dtype != torch.int64):
        theirs = partial(op_info().op, **sample.kwargs)
        mine, reference = (
            results(function, tensors(sample)) for function in (partial(call, sample, algorithm), theirs)
        )
        assert [one.dtype for one in mine] == [dtype] * len(mine)
        if dtype.itemsize > 2:
            torch.testing.assert_close(mine, reference)
            continue
        # Half precision: the error is at most that of one rounding, or hardly larger than that of the built-in layer:
        # the same sums in another order round otherwise, seen on a CPU that computes in float16.
        rounding, order = 1.001 * torch.finfo(dtype).eps / 2, 1.05
        given = [one.detach().double().requires_grad_() for one in tensors(sample)]
        for ours, built_in, exact in zip(mine, reference, results(theirs, given), strict=True):
            for size in (torch.Tensor.norm, lambda tensor: tensor.abs().max()):
                assert size(ours - exact) <= max(order * size(built_in - exact), rounding * size(exact))


@algorithms
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_op_info_derivatives(algorithm, dtype):
    """Check all derivatives that the operator claims: reverse mode, forward mode, forward over reverse, batched."""
    # The older vmap, which these checks use, cannot batch a sparse matrix; the newer vmap can.
    batched = algorithm != "matrix"
    for sample in samples(dtype, requires_grad=True):
        function = partial(call, sample, algorithm)
        assert torch.autograd.gradcheck(
            function,
            tensors(sample),
            check_forward_ad=True,
            check_batched_grad=batched,
            check_batched_forward_grad=batched,
            fast_mode=True,
        )
        assert torch.autograd.gradgradcheck(
            function,
            tensors(sample),
            check_fwd_over_rev=True,
            check_batched_grad=batched,
            fast_mode=True,
        )


def module_inputs(layer, dtype, *, lazy):
    from torch.testing._internal.common_modules import module_inputs_torch_nn_ConvNd

    found = module_inputs_torch_nn_ConvNd(
        None, "cpu", dtype, requires_grad=True, training=True, N=2, lazy=lazy, transposed=True
    )
    assert {one.desc for one in found} == {"", "no_batch_dim"}
    return [(partial(layer, *one.constructor_input.args), one.forward_input.args[0]) for one in found]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
def test_module_info(dtype, lazy, tmp_path):
    """Check factory arguments, forward, repr, pickle, to(), memory formats, and first and second gradients."""
    ours_and_theirs = (
        (LazyConvTranspose2d, torch.nn.LazyConvTranspose2d) if lazy else (ConvTranspose2d, torch.nn.ConvTranspose2d)
    )
    for (build, x), (build_theirs, _) in zip(
        *(module_inputs(layer, dtype, lazy=lazy) for layer in ours_and_theirs), strict=True
    ):
        torch.manual_seed(0)
        layer = build(device="cpu", dtype=dtype)
        ours = layer(x)
        torch.manual_seed(0)
        theirs = build_theirs(device="cpu", dtype=dtype)
        expected = theirs(x)
        assert type(layer) is ConvTranspose2d
        assert repr(layer) == repr(theirs)
        torch.testing.assert_close(ours, expected)
        copy = pickle.loads(pickle.dumps(layer))
        assert torch.equal(copy(x), ours)
        assert layer.to(torch.complex128)(x.to(torch.complex128)).dtype == torch.complex128
        for formats in itertools.product((torch.contiguous_format, torch.channels_last), repeat=2):
            if x.dim() == 4:
                again = copy.to(memory_format=formats[0])(x.contiguous(memory_format=formats[1]))
                torch.testing.assert_close(again, ours)
        if dtype in (torch.float64, torch.complex128):
            assert torch.autograd.gradcheck(copy, (x,), fast_mode=True)
            assert torch.autograd.gradgradcheck(copy, (x,), fast_mode=True)


# The tests below follow test/nn/test_convolution.py.


def test_output_size_of_every_side():
    layer = ConvTranspose2d(3, 4, 3, 3, 0, 2)
    x = torch.randn(2, 3, 6, 6)
    for size in itertools.product(range(15, 22), repeat=2):
        if all(18 <= side <= 20 for side in size):
            assert layer(x, output_size=size).shape == (2, 4, *size)
        else:
            with pytest.raises(ValueError, match="requested an output size"):
                layer(x, output_size=size)


def test_a_transposed_convolution_restores_the_size_that_a_convolution_was_given():
    for h, w, k, d, s, p in itertools.product(
        range(13, 24, 2), range(13, 17), range(2, 5), range(1, 5, 2), range(1, 4), range(3)
    ):
        convolution = torch.nn.Conv2d(1, 1, k, s, p, d, device="meta")
        transposed = ConvTranspose2d(1, 1, k, s, p, dilation=d, device="meta")
        x = torch.empty(1, 1, h, w, device="meta")
        assert transposed(convolution(x), output_size=x.shape).shape == x.shape


def test_output_size_without_a_batch():
    layer = ConvTranspose2d(1, 1, kernel_size=16, stride=16, padding=7, bias=False)
    assert layer(torch.randn(1, 15, 13), output_size=torch.Size([1, 240, 200])).shape == (1, 240, 200)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_inputs_of_too_many_or_too_few_dimensions(dtype):
    layer = ConvTranspose2d(3, 4, 3, dtype=dtype)
    for shape in ((3, 6), (1, 1, 3, 6, 6)):
        with pytest.raises(RuntimeError, match="Expected 3D"):
            layer(torch.randn(shape, dtype=dtype))
        with pytest.raises(RuntimeError, match="Expected 3D"):
            layer(torch.randn(shape, dtype=dtype), output_size=(8, 8))


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate", "nonsense"])
def test_a_padding_mode_other_than_zeros_is_refused(mode):
    for layer in (ConvTranspose2d, torch.nn.ConvTranspose2d):
        with pytest.raises(ValueError, match='Only "zeros" padding mode is supported'):
            layer(3, 3, 3, padding_mode=mode)


@algorithms
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("size", [4, 1])
def test_an_empty_batch_has_zero_gradients(algorithm, groups, size):
    layer = ConvTranspose2d(4, 8, 3, 2, 0, groups=groups, algorithm=algorithm)
    x = torch.randn(0, 4, size, size, requires_grad=True)
    output = layer(x)
    assert output.shape == (0, 8, 2 * size + 1, 2 * size + 1)
    output.sum().backward()
    assert x.grad.shape == x.shape
    assert layer.weight.grad.shape == layer.weight.shape
    assert not layer.weight.grad.any()
    assert not layer.bias.grad.any()


@algorithms
@pytest.mark.parametrize("groups", [1, 2])
def test_expanded_and_strided_tensors(algorithm, groups):
    base = torch.randn(4, 3, 1, 1, dtype=torch.float64)
    pixels = torch.randn(6, 2, 4, 5, dtype=torch.float64).transpose(0, 2)[:, :, ::2, :].transpose(1, 2)
    x, other = pixels.repeat(1, 2, 1, 1)[:, :4], pixels.new_ones(1).expand(2, 4, 5, 4)
    for given in (x, other):
        results = []
        for function in (partial(conv_transpose2d, algorithm=algorithm), F.conv_transpose2d):
            one, weight = given.clone().requires_grad_(), base.clone().requires_grad_()
            view = one if given is x else one.expand_as(other)
            output = function(view, weight.expand(4, 3, 3, 2), None, 2, 1, 1, groups)
            results.append((output, *torch.autograd.grad(output.square().sum(), (one, weight))))
        torch.testing.assert_close(*results)
        torch.testing.assert_close(
            conv_transpose2d(given, base.expand(4, 3, 3, 2), groups=groups, algorithm=algorithm),
            F.conv_transpose2d(given, base.expand(4, 3, 3, 2), groups=groups),
        )


@algorithms
def test_three_layers_with_output_padding_in_a_row(algorithm):
    torch.manual_seed(0)
    ours = torch.nn.Sequential(
        *(ConvTranspose2d(i, o, 3, 2, 1, 1, algorithm=algorithm) for i, o in ((8, 4), (4, 4), (4, 3)))
    )
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(*(torch.nn.ConvTranspose2d(i, o, 3, 2, 1, 1) for i, o in ((8, 4), (4, 4), (4, 3))))
    x = torch.randn(2, 8, 3, 5)
    assert ours(x).shape == (2, 3, 24, 40)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "dilation"),
    [(3, 2, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 0, 2), (4, 2, 1, 1)],
)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none here")
@algorithms
def test_a_gpu_gives_what_the_cpu_gives(algorithm, kernel_size, stride, padding, dilation, memory_format):
    how = {"dilation": dilation, "dtype": torch.float64, "algorithm": algorithm}
    layer = ConvTranspose2d(3, 4, kernel_size, stride, padding, **how).to(memory_format=memory_format)
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    torch.testing.assert_close(layer.cuda()(x.cuda()).cpu(), layer.cpu()(x))
    assert torch.autograd.gradcheck(
        layer.cuda(), (x.detach().cuda().requires_grad_(),), fast_mode=True, check_batched_grad=algorithm != "matrix"
    )


def test_one_by_one_kernels_and_sizes():
    for size, kernel_size, stride in itertools.product((1, 3), (1, 2), (1, 2, 3)):
        layer = ConvTranspose2d(2, 3, kernel_size, stride, dtype=torch.float64)
        x = torch.randn(2, 2, size, size, dtype=torch.float64)
        torch.testing.assert_close(layer(x), F.conv_transpose2d(x, layer.weight, layer.bias, stride))


def test_weights_are_converted_to_channels_last_as_those_of_the_built_in_layer():
    layer = torch.nn.Sequential(ConvTranspose2d(4, 6, 3))
    converted = torch.nn.utils.convert_conv2d_weight_memory_format(layer, torch.channels_last)
    assert converted[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("spectral_norm", [torch.nn.utils.parametrizations.spectral_norm, torch.nn.utils.spectral_norm])
def test_spectral_norm_takes_the_axis_of_a_transposed_layer(spectral_norm):
    outputs = []
    for kind in (ConvTranspose2d, torch.nn.ConvTranspose2d):
        torch.manual_seed(0)
        outputs.append(spectral_norm(kind(4, 6, 3))(torch.ones(1, 4, 5, 5)))
    torch.testing.assert_close(*outputs)
