"""Test the layer under PyTorch's precisions, memory formats, batching and graphs, and that only our code runs."""

import itertools
from collections import Counter
from functools import partial

import hypothesis
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import strategies
from torch._dynamo.testing import CompileCounter
from torch._subclasses import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_module, distribute_tensor
from torch.func import functional_call, functionalize, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from dcgan.conv_transpose import ALGORITHMS, ConvTranspose2d, conv_transpose2d
from dcgan.conv_transpose.arithmetic import effective_kernel_size

# PyTorch warns about its own decompositions for forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
algorithms = pytest.mark.parametrize("algorithm", list(ALGORITHMS))
# A graph cannot hold a sparse matrix, whose sizes are unknown before its values.
in_graphs = pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "matrix"])


@strategies.composite
def geometries(draw):
    """Draw the shapes and arguments of a call that PyTorch accepts."""

    def pair(least, most):
        return draw(strategies.tuples(*[strategies.integers(least, most)] * 2))

    size, kernel_size, stride = pair(1, 6), pair(1, 5), pair(1, 6)
    # Wide dilations allow an output_padding beyond the reach of all taps.
    dilation = draw(strategies.tuples(*[strategies.sampled_from((1, 2, 3, 7))] * 2))
    padding = pair(0, 6)  # also beyond dilation * (kernel - 1)
    output_padding = tuple(draw(strategies.integers(0, max(axis) - 1)) for axis in zip(stride, dilation, strict=True))
    groups = draw(strategies.integers(1, 3))
    for i, k, s, p, d, extra in zip(size, kernel_size, stride, padding, dilation, output_padding, strict=True):
        hypothesis.assume((i - 1) * s - 2 * p + effective_kernel_size(k, d) + extra >= 1)
    shapes = (
        (draw(strategies.integers(1, 3)), groups * draw(strategies.integers(1, 3)), *size),
        (0, draw(strategies.integers(1, 3)), *kernel_size),
    )
    return shapes, {
        "stride": stride,
        "padding": padding,
        "output_padding": output_padding,
        "groups": groups,
        "dilation": dilation,
    }


@algorithms
@hypothesis.settings(max_examples=80, deadline=None, derandomize=True, database=None)
@hypothesis.given(case=geometries())
def test_any_geometry_has_the_output_and_the_gradients_of_the_built_in(algorithm, case):
    (x_shape, (_, *weight_shape)), how = case
    torch.manual_seed(0)
    x = torch.randn(x_shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(x_shape[1], *weight_shape, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(weight_shape[0] * how["groups"], dtype=torch.float64, requires_grad=True)
    results = []
    for function in (partial(conv_transpose2d, algorithm=algorithm), F.conv_transpose2d):
        output = function(x, weight, bias, **how)
        direction = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output)
        results.append([output, *torch.autograd.grad(output, (x, weight, bias), direction)])
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() <= 1e-12 * theirs.norm()


@pytest.fixture
def nan_in_new_memory():
    """Let PyTorch fill new memory with NaN, so that reading it before writing shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@algorithms
@pytest.mark.usefixtures("nan_in_new_memory")
def test_memory_that_is_not_written_yet_is_not_read(algorithm):
    for k, s, p, op in ((3, 1, 0, 0), (2, 3, 0, 2), (4, 2, 1, 1), (5, 2, 2, 1)):
        for size in ((1, 1), (1, 3), (5, 14)):
            x, weight = torch.randn(2, 3, *size), torch.randn(3, 2, k, k)
            if size == (1, 1) and p:
                continue
            output = conv_transpose2d(x, weight, None, s, p, op, algorithm=algorithm)
            torch.testing.assert_close(output, F.conv_transpose2d(x, weight, None, s, p, op))


@algorithms
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(algorithm, dtype):
    ours, theirs = ConvTranspose2d(4, 6, 3, 2, algorithm=algorithm), torch.nn.ConvTranspose2d(4, 6, 3, 2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, 5, 5)
    results = []
    for layer in (ours, theirs):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype):
            output = layer(given)
            output.float().square().sum().backward()  # inside autocast: the backward pass keeps its precision, too
        assert output.dtype == dtype
        assert given.grad.dtype == layer.weight.grad.dtype == layer.bias.grad.dtype == torch.float32
        results.append((output.float(), given.grad, layer.weight.grad, layer.bias.grad))
    torch.testing.assert_close(*results, rtol=0.02, atol=0.1)
    with torch.autocast("cpu", dtype):
        double = ConvTranspose2d(4, 6, 3, dtype=torch.float64, algorithm=algorithm)
        assert double(x.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_no_further_from_the_exact_numbers_than_the_built_in(dtype):
    """Use many channels, where every intermediate rounding counts."""
    torch.manual_seed(0)
    given = [torch.randn(4, 256, 4, 4), torch.randn(256, 16, 4, 4) / 64, torch.randn(16)]
    given = [one.to(dtype).requires_grad_() for one in given]
    exact = [one.detach().double().requires_grad_() for one in given]
    errors = []
    for function in (conv_transpose2d, F.conv_transpose2d):
        output, reference = function(*given, 2, 1), F.conv_transpose2d(*exact, 2, 1)
        direction = torch.linspace(-1, 1, output.numel()).view_as(output).to(dtype)
        results = [output, *torch.autograd.grad(output, given, direction)]
        references = [reference, *torch.autograd.grad(reference, exact, direction.double())]
        errors.append([(a - b).norm() for a, b in zip(results, references, strict=True)])
    for ours, theirs in zip(*errors, strict=True):
        assert ours <= 1.0001 * theirs  # equal where the built-in layer rounds only once as well


@algorithms
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
@hypothesis.given(case=geometries(), data=strategies.data())
def test_any_crop_is_a_window_of_the_full_output_with_zeros_around_it(algorithm, case, data):
    """Include windows that lie outside the full output."""
    (x_shape, (_, *weight_shape)), how = case
    how = {name: how[name] for name in ("stride", "groups", "dilation")}
    torch.manual_seed(0)
    x = torch.randn(x_shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(x_shape[1], *weight_shape, dtype=torch.float64, requires_grad=True)
    full = F.conv_transpose2d(x, weight, **how)
    crops, window = [], [slice(None), slice(None)]
    for size in full.shape[2:]:
        before = data.draw(strategies.integers(-8, size + 4))
        wanted = data.draw(strategies.integers(1, 12))
        crops.append((before, size - before - wanted))
        window.append(slice(before + 20, before + 20 + wanted))
    reference = F.pad(full, (20, 20, 20, 20))[tuple(window)]
    output = conv_transpose2d(x, weight, None, padding=crops, algorithm=algorithm, **how)
    direction = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output)
    results, references = ([of, *torch.autograd.grad(of, (x, weight), direction)] for of in (output, reference))
    for ours, theirs in zip(results, references, strict=True):
        torch.testing.assert_close(ours, theirs)


FORMATS = (torch.contiguous_format, torch.channels_last)


@algorithms
@pytest.mark.parametrize("formats", list(itertools.product(FORMATS, FORMATS)), ids=str)
@pytest.mark.parametrize("size", [5, 1])
def test_gradients_of_many_directions_at_once(algorithm, formats, size):
    """Run PyTorch's older vmap, which supports fewer operations."""
    x, weight = (
        tensor.to(memory_format=memory_format).requires_grad_()
        for tensor, memory_format in zip((torch.randn(2, 4, size, size), torch.randn(4, 3, 4, 4)), formats, strict=True)
    )
    for padding in (0, 1):
        output = conv_transpose2d(x, weight, None, 2, padding, algorithm=algorithm)
        directions = torch.randn(3, *output.shape)
        together = torch.autograd.grad(output, (x, weight), directions, retain_graph=True, is_grads_batched=True)
        for index, direction in enumerate(directions):
            alone = torch.autograd.grad(output, (x, weight), direction, retain_graph=True)
            for ours, expected in zip(together, alone, strict=True):
                torch.testing.assert_close(ours[index], expected)


@algorithms
@pytest.mark.parametrize("formats", list(itertools.product(FORMATS, FORMATS)), ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("images", "channels"), [(2, 3), (1, 3), (2, 1), (1, 1)])
def test_channels_last_of_either_input_is_that_of_all_results(algorithm, formats, dtype, images, channels):
    strides = []
    for function in (partial(conv_transpose2d, algorithm=algorithm), F.conv_transpose2d):
        tensors = (torch.randn(images, 4, 5, 6), torch.randn(4, channels, 4, 3))
        x, weight = (
            tensor.to(dtype).to(memory_format=memory_format).requires_grad_()
            for tensor, memory_format in zip(tensors, formats, strict=True)
        )
        output = function(x, weight, None, 2, 1)
        results = (output, *torch.autograd.grad(output.square().sum(), (x, weight)))
        # With one channel the strides of PyTorch's weight gradient depend on the dtype.
        strides.append([result.stride() for result in results[: 3 if channels > 1 else 2]])
    assert strides[0] == strides[1]


@algorithms
def test_one_image_channel_does_not_lose_the_format_on_the_way_back(algorithm):
    x = torch.randn(2, 4, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    layer = ConvTranspose2d(4, 1, 4, 2, 1, algorithm=algorithm)
    (gradient,) = torch.autograd.grad(layer(x).tanh().sum(), x)  # not x.grad, which always has the format of x
    assert gradient.stride() == x.stride()


@algorithms
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_the_format_of_the_gradient_that_comes_back_does_not_matter(algorithm, memory_format):
    x, weight = torch.randn(4, 4, 5, 5, requires_grad=True), torch.randn(4, 6, 4, 4, requires_grad=True)
    strides = []
    for function in (partial(conv_transpose2d, algorithm=algorithm), F.conv_transpose2d):
        output = function(x, weight, None, 2, 1)
        coming = torch.randn_like(output).to(memory_format=memory_format)
        strides.append([gradient.stride() for gradient in torch.autograd.grad(output, (x, weight), coming)])
    assert strides[0] == strides[1]


@algorithms
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(algorithm, reentrant):
    layer = ConvTranspose2d(4, 6, 4, 2, 1, algorithm=algorithm)
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    inputs = (x, *layer.parameters())
    expected = torch.autograd.grad(layer(x).square().sum(), inputs)
    output = checkpoint(layer, x, use_reentrant=reentrant)
    if reentrant:  # which does not support torch.autograd.grad
        output.square().sum().backward()
        found = [tensor.grad for tensor in inputs]
    else:
        found = torch.autograd.grad(output.square().sum(), inputs)
    torch.testing.assert_close(tuple(found), expected)


@algorithms
def test_what_is_kept_for_the_way_back_is_asked_for_once(algorithm):
    asked = []
    x, weight = torch.randn(2, 4, 5, 5, requires_grad=True), torch.randn(4, 6, 4, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: asked.append(1) or tensor):
        conv_transpose2d(x, weight, None, 2, 1, algorithm=algorithm).sum().backward()
    assert len(asked) == 2


@algorithms
def test_the_default_device_is_not_asked(algorithm):
    x, weight = torch.randn(2, 4, 5, 5, requires_grad=True), torch.randn(4, 6, 4, 4, requires_grad=True)
    with torch.device("meta"):
        conv_transpose2d(x, weight, None, 2, 1, algorithm=algorithm).sum().backward()
    assert {x.grad.device.type, weight.grad.device.type} == {"cpu"}


@pytest.mark.skipif(torch.__version__ < (2, 12), reason="PyTorch 2.11 shards no strided convolution, not even its own")
@in_graphs
def test_a_distributed_tensor(algorithm):
    """Use one process: the point is that all intermediate tensors must be distributed tensors."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        layer = distribute_module(ConvTranspose2d(6, 12, 4, 2, 1, algorithm=algorithm), mesh)
        x = torch.randn(2, 6, 5, 5)
        layer(distribute_tensor(x, mesh, [Shard(0)])).square().sum().backward()
        plain = ConvTranspose2d(6, 12, 4, 2, 1)
        plain.load_state_dict({name: tensor.full_tensor() for name, tensor in layer.state_dict().items()})
        plain(x).square().sum().backward()
        torch.testing.assert_close(layer.weight.grad.full_tensor(), plain.weight.grad)
    finally:
        dist.destroy_process_group()


@algorithms
def test_per_sample_gradients(algorithm):
    layer = ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, algorithm=algorithm, dtype=torch.float64)
    x = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    parameters = dict(layer.named_parameters())

    def loss(parameters, sample):
        return functional_call(layer, parameters, (sample,)).square().sum()

    together = vmap(grad(loss), (None, 0))(parameters, x)
    for index, sample in enumerate(x):
        alone = torch.autograd.grad(layer(sample).square().sum(), tuple(parameters.values()))
        for name, expected in zip(parameters, alone, strict=True):
            torch.testing.assert_close(together[name][index], expected)


@algorithms
@pytest.mark.parametrize("in_dims", [(0, 0), (0, None), (None, 0), (3, 1)])
def test_vmap_over_either_argument_and_its_gradients(algorithm, in_dims):
    tensors = (torch.randn(3, 2, 4, 3, 5), torch.randn(3, 4, 2, 3, 3))
    tensors = [one[0] if dim is None else one.movedim(0, dim) for one, dim in zip(tensors, in_dims, strict=True)]
    tensors = [one.double() for one in tensors]

    def ours(x, weight):
        return conv_transpose2d(x, weight, None, 2, 1, 1, 2, algorithm=algorithm)

    def theirs(x, weight):
        return F.conv_transpose2d(x, weight, None, 2, 1, 1, 2)

    torch.testing.assert_close(vmap(ours, in_dims)(*tensors), vmap(theirs, in_dims)(*tensors))
    gradients = [
        vmap(grad(lambda *given, f=function: f(*given).square().sum(), (0, 1)), in_dims)(*tensors)
        for function in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients)


@algorithms
def test_jacobians_and_hessians_by_either_mode(algorithm):
    x, weight = torch.randn(1, 2, 3, 2, dtype=torch.float64), torch.randn(2, 1, 2, 3, dtype=torch.float64)

    def function(weight):
        return conv_transpose2d(x, weight, None, 2, algorithm=algorithm)

    torch.testing.assert_close(jacfwd(function)(weight), jacrev(function)(weight))
    torch.testing.assert_close(
        hessian(lambda one: function(one).pow(3).sum())(weight),
        hessian(lambda one: F.conv_transpose2d(x, one, None, 2).pow(3).sum())(weight),
    )


class TransposedConvolutions(TorchDispatchMode):
    """Counts the calls that reach PyTorch's operators."""

    def __init__(self):
        super().__init__()
        self.transposed, self.operators = 0, Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operators[function.overloadpacket] += 1
        name = str(function)
        position = {"aten.convolution.": 6, "aten.convolution_backward.": 7}
        for prefix, index in position.items():
            if name.startswith(prefix) and args[index]:
                self.transposed += 1
        self.transposed += "transpose2d" in name or "transposed" in name
        return function(*args, **(kwargs or {}))


def every_derivative(layer):
    """Run forward, backward, double backward, forward mode, forward over reverse, and batched gradients."""
    x = torch.randn(2, 2, 4, 4, requires_grad=True)
    weight = layer.weight.detach()

    def function(x, weight):
        return functional_call(layer, {"weight": weight}, (x,)).square().sum()

    with TransposedConvolutions() as seen:
        first = torch.autograd.grad(layer(x).square().sum(), (x, layer.weight), create_graph=True)
        second = sum(one.square().sum() for one in first)
        torch.autograd.grad(
            sum(one.sum() for one in torch.autograd.grad(second, (x, layer.weight), create_graph=True)), x
        )
        x = x.detach()
        jvp(function, (x, weight), (x, weight))
        jvp(grad(function, (0, 1)), (x, weight), (x, weight))
        vmap(grad(function, (0, 1)), (0, None))(x[:, None], weight)
        vmap(grad(function, (0, 1)), (None, 0))(x, torch.stack([weight, weight]))
    return seen


@algorithms
@pytest.mark.parametrize("groups", [1, 2])
def test_no_transposed_convolution_of_the_framework_is_reached(algorithm, groups):
    arguments = {"kernel_size": 4, "stride": 2, "padding": 1, "groups": groups, "bias": False}
    seen = every_derivative(ConvTranspose2d(2, 4, algorithm=algorithm, **arguments))
    assert seen.operators
    assert seen.transposed == 0
    # The same mode does detect the built-in layer.
    assert every_derivative(torch.nn.ConvTranspose2d(2, 4, **arguments)).transposed > 0


def compiled_and_eager(layer, backend):
    torch._dynamo.reset()
    x = torch.randn(3, 4, 5, 5)
    results = []
    for function in (torch.compile(layer, fullgraph=True, backend=backend), layer):
        given = x.clone().requires_grad_()
        layer.zero_grad()
        output = function(given)
        output.square().sum().backward()
        results.append((output, given.grad, layer.weight.grad.clone()))
    return results


@in_graphs
def test_compiled_into_a_full_graph(algorithm):
    layer = ConvTranspose2d(4, 6, 3, 2, 1, 1, algorithm=algorithm)
    torch.testing.assert_close(*compiled_and_eager(layer, "aot_eager"))


def test_compiled_by_inductor():
    torch.testing.assert_close(*compiled_and_eager(ConvTranspose2d(4, 6, 3, 2, 1, 1), "inductor"))


SIZES = ((1, 5, 5), (2, 4, 9), (70, 8, 3))


@in_graphs
def test_exported_with_any_batch_size_height_and_width(algorithm):
    if torch.__version__ < (2, 12) and algorithm in ("gemm", "subpixel", "zero_insert"):
        pytest.skip("the exporter of PyTorch 2.11 cannot tell that one size is less than its double")
    layer = ConvTranspose2d(4, 6, 3, 2, 1, 1, algorithm=algorithm)
    batch, *sides = (
        torch.export.Dim(name, min=least, max=1024) for name, least in (("batch", 1), ("height", 2), ("width", 2))
    )
    shapes = ({0: batch, 2: sides[0], 3: sides[1]},)
    program = torch.export.export(layer, (torch.randn(3, 4, 5, 6),), dynamic_shapes=shapes)
    for size, height, width in SIZES:
        x = torch.randn(size, 4, height, width)
        torch.testing.assert_close(program.module()(x), layer(x))
    assert not any("transpose2d" in str(node.target) for node in program.graph.nodes)


@in_graphs
def test_compiled_once_for_all_sizes(algorithm):
    torch.compiler.reset()  # or the compiler gives up on a layer that other tests compiled in other ways
    layer, graphs = ConvTranspose2d(4, 6, 3, 2, 1, 1, algorithm=algorithm), CompileCounter()
    compiled = torch.compile(layer, backend=graphs, fullgraph=True, dynamic=True)
    # PyTorch recompiles for small batches, and where a size at first equalled the number of channels.
    for size, height, width in ((20, 5, 9), (70, 8, 3), (40, 12, 6)):
        x = torch.randn(size, 4, height, width)
        torch.testing.assert_close(compiled(x), layer(x))
    assert graphs.frame_count == 1


@in_graphs
@pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.trace.*is (deprecated|not supported)"
)
def test_traced_with_one_size_and_run_with_others(algorithm):
    layer = ConvTranspose2d(4, 6, 3, 2, 1, 1, algorithm=algorithm)
    traced = torch.jit.trace(layer, torch.randn(2000, 4, 5, 6))  # untraced, gemm would take several parts
    for size, height, width in SIZES:
        x = torch.randn(size, 4, height, width)
        torch.testing.assert_close(traced(x), layer(x))


def test_exported_with_an_output_size_that_depends_on_the_input():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = ConvTranspose2d(4, 3, 3, 2, 1)

        def forward(self, x):
            return self.layer(x, output_size=[2 * x.shape[2], 2 * x.shape[3]])

    shapes = ({2: torch.export.Dim("height", min=2), 3: torch.export.Dim("width", min=2)},)
    program = torch.export.export(Twice(), (torch.randn(2, 4, 5, 6),), dynamic_shapes=shapes, strict=False)
    assert program.module()(torch.randn(2, 4, 7, 9)).shape == (2, 3, 14, 18)


@pytest.mark.parametrize("ask", [lambda x, y: y.shape[2:], lambda x, y: (2 * x.shape[2], 2 * x.shape[3])])
def test_traced_symbolically(ask):
    class Decoder(torch.nn.Module):
        """A decoder that is asked for the size of a map to be joined with its output."""

        def __init__(self):
            super().__init__()
            self.first, self.second = ConvTranspose2d(4, 3, 3, 2), ConvTranspose2d(4, 3, 3, 2, 1)

        def forward(self, x, y):
            return torch.relu(self.first(x)), self.second(x, output_size=ask(x, y))

    network, x, y = Decoder(), torch.randn(2, 4, 5, 5), torch.randn(2, 3, 10, 10)
    torch.testing.assert_close(torch.fx.symbolic_trace(network)(x, y), network(x, y))


@pytest.mark.parametrize("groups", [1, 21])
def test_a_large_stride_is_not_as_many_convolutions(groups):
    """Segmentation networks have such layers, which enlarge by 8 to 32 at once."""
    layer = ConvTranspose2d(21, 21, 16, 8, 4, groups=groups)
    x = torch.randn(1, 21, 6, 6)
    program = torch.export.export(layer, (x,))
    assert sum("conv2d" in str(node.target) for node in program.graph.nodes) == 1
    with TransposedConvolutions() as reached:
        layer(x)
    assert reached.operators[torch.ops.aten.convolution] <= 1
    torch.testing.assert_close(layer(x), F.conv_transpose2d(x, layer.weight, layer.bias, 8, 4, groups=groups))


@algorithms
@pytest.mark.parametrize(
    ("size", "how"),
    [
        ((5, 6), {"stride": 2}),
        ((5, 6), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}),
        ((1, 3), {"stride": 5, "output_padding": 3}),
    ],
    ids=str,
)
@pytest.mark.usefixtures("nan_in_new_memory")
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")  # PyTorch warns about itself, too
def test_linearized(algorithm, size, how):
    """Linearize the layer in a function whose derivative also needs the layer's output."""
    tensors = torch.randn(2, 4, *size, dtype=torch.float64), torch.randn(4, 3, 3, 3, dtype=torch.float64)
    directions = tuple(map(torch.randn_like, tensors))
    ours, theirs = (
        lambda x, weight, f=function: f(x, weight, None, **how).pow(3)
        for function in (partial(conv_transpose2d, algorithm=algorithm), F.conv_transpose2d)
    )
    output, derivative = torch.func.linearize(ours, *tensors)
    expected = jvp(theirs, tensors, directions)
    torch.testing.assert_close((output, derivative(*directions)), expected)


@in_graphs
def test_forward_mode_of_forward_mode(algorithm):
    x, weight = torch.randn(2, 2, 2, 3, dtype=torch.float64), torch.randn(2, 2, 3, 3, dtype=torch.float64)

    def function(x, weight):
        return conv_transpose2d(x, weight, None, 2, 1, algorithm=algorithm).pow(3).sum()

    forward = jacfwd(jacfwd(function, 1), 0)(x, weight)
    torch.testing.assert_close(forward, jacrev(jacrev(function, 1), 0)(x, weight))


@in_graphs
def test_functionalized(algorithm):
    x, weight = torch.randn(2, 4, 3, 2), torch.randn(4, 3, 3, 3)
    output = functionalize(lambda x: conv_transpose2d(x, weight, None, 2, algorithm=algorithm))(x)
    torch.testing.assert_close(output, F.conv_transpose2d(x, weight, None, 2))


def test_a_forward_mode_that_would_be_wrong_is_refused():
    x, weight = torch.randn(2, 2, 2, 3), torch.randn(2, 2, 3, 3)
    with pytest.raises(NotImplementedError, match="algorithm='matrix'"):
        jacfwd(jacfwd(lambda x, weight: conv_transpose2d(x, weight, algorithm="matrix").sum(), 1), 0)(x, weight)


@in_graphs
def test_meta_and_fake_tensors_have_the_sizes_and_the_format(algorithm):
    layer = ConvTranspose2d(4, 6, 3, 2, device="meta", algorithm=algorithm)
    assert layer(torch.empty(2, 4, 5, 5, device="meta")).shape == (2, 6, 11, 11)
    with FakeTensorMode():
        x = torch.empty(2, 4, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
        output = ConvTranspose2d(4, 6, 3, 2, algorithm=algorithm)(x)
        output.sum().backward()
    assert output.shape == (2, 6, 11, 11)
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert x.grad.shape == x.shape


@in_graphs
def test_fake_tensors_may_have_symbols_for_sizes(algorithm):
    mode, weight = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True), torch.randn(4, 6, 3, 3)
    symbols = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC] * 4)
    x = mode.from_tensor(torch.randn(3, 4, 5, 6), symbolic_context=symbols)
    with mode:
        output = conv_transpose2d(x, weight, None, 2, 1, algorithm=algorithm)
    assert output.shape == F.conv_transpose2d(torch.randn(3, 4, 5, 6), weight, None, 2, 1).shape


@in_graphs
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # PyTorch's warning about gemm's addmm_
def test_a_vmap_can_be_recorded_for_all_sizes(algorithm):
    if torch.__version__ < (2, 12) and algorithm == "scatter":
        pytest.skip("matmul under vmap asks for numbers in PyTorch 2.11")

    def many(x, weight):
        return vmap(partial(conv_transpose2d, stride=2, padding=1, algorithm=algorithm))(x, weight)

    x, weight = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 4, 6, 3, 3)
    recorded = make_fx(many, tracing_mode="symbolic")(x, weight)
    torch.testing.assert_close(recorded(x, weight), many(x, weight))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("batch", [0, 2])
def test_errors_are_raised_where_the_built_in_checks_nothing(device, batch):
    x, weight = torch.empty(batch, 2, 4, 4, device=device), torch.empty(2, 3, 3, 3, device=device)
    with pytest.raises(RuntimeError, match=r"output_padding=5, stride=1"):
        conv_transpose2d(x, weight, None, 1, 0, 5)
    with pytest.raises(RuntimeError, match="expects input with 2 channels"):
        conv_transpose2d(x[:, :1], weight)
    with pytest.raises(RuntimeError, match=r"output size \(0, 0\) is too small"):
        conv_transpose2d(x, weight, None, 1, 3)
