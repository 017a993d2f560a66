"""Six ways to compute the same transposed convolution from plain tensor operations.

Each takes the input, the weight and a `Geometry`, and returns the same numbers. They differ in what they make
visible and in what they cost. None calls a transposed convolution of the framework. All share the same
gradients, see `gradients`.

Read ``part(x, i, j)`` as ``x[i, j]``, and ``like_products(x, weight)`` as ``x``; `cutting` explains why.

Legend: ``N`` batch, ``C`` input channels, ``O`` output channels, ``G`` groups, ``H W`` input size,
``K L`` kernel size, ``Y X`` output size; ``c`` and ``o`` are the input and output channels of one group.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dcgan.conv_transpose.arithmetic import effective_kernel_size, transpose_padding
from dcgan.conv_transpose.axes import Landing, landings_of, left_out, phases_of, pixels_of_phases
from dcgan.conv_transpose.convolution import convolve, is_channels_last, is_on_cpu, is_on_gpu, strides_of
from dcgan.conv_transpose.cutting import ALL, bordered, cropped, kernel_blocks, like_products, part, spread
from dcgan.conv_transpose.geometry import Geometry
from dcgan.conv_transpose.graphs import loses_writes, plain_only

Algorithm = Callable[[Tensor, Tensor, Geometry], Tensor]

# Most elements in the pixels, and in the sums, that `gemm` processes at once: 4 MB each in float32.
ELEMENTS_PER_CHUNK = 2**20
# Up to this many output channels, it costs `subpixel` on a CPU more to change to channels_last than that gains.
FEW_CHANNELS = 8
# On a CPU, `gemm` is faster than `subpixel` from so many output channels on if that computes much in vain: for zeros that
# fill up its kernel (0.4 to 1.1 of the time with AVX2; 0.4 to 1.6 with AVX-512 on AMD, where matrix products do not use
# it), or, with so many input channels, for a border with at least this share of the products, as at 4 x 4 (0.55 to 0.85
# with AVX2, 0.75 to 1.3 with that AVX-512).
MANY_OUTPUTS, MANY_INPUTS, WASTEFUL_BORDER = 32, 128, 0.5
# With more phases than this, a small copy or convolution for each takes longer than one additional large one.
MANY_PHASES = 16


def scatter(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The definition: every input pixel adds its own scaled copy of the kernel to the output.

    The loop handles one kernel tap at a time, for all pixels at once. A tap's contributions land ``stride``
    apart, shifted by the tap's position in the kernel. Where a graph loses writes, `subpixel` takes over.
    """
    if loses_writes():
        return subpixel(x, weight, geometry)
    (n, c, h, w), groups = x.shape, geometry.groups
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    full = like_products(x, weight).new_zeros(n, groups * weight.shape[1], *geometry.full_size)
    x = x.reshape(n, groups, c // groups, h * w)
    weight = weight.reshape(groups, c // groups, *weight.shape[1:])
    for i, j in itertools.product(*map(range, geometry.kernel_size)):
        tap = weight[..., i, j].transpose(1, 2) @ x  # (N, G, o, H * W)
        rows = slice(i * dh, i * dh + (h - 1) * sh + 1, sh)
        columns = slice(j * dw, j * dw + (w - 1) * sw + 1, sw)
        tap = tap.reshape(n, full.shape[1], h, w)
        part(full, ALL, ALL, rows, columns).add_(tap)
    return cropped(full, geometry)


def zero_insert(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The textbook method: insert zeros between the pixels, add a border, then convolve.

    It inserts ``S - 1`` zeros, pads by ``F - P - 1`` and flips the kernel. This is easy to picture but
    wasteful: of every ``stride * stride`` products, all but one are with a zero.
    """
    (k, l), (dh, dw) = geometry.kernel_size, geometry.dilation
    x = spread(x, geometry.stride)
    top = transpose_padding(k, geometry.padding[0], dh)
    left = transpose_padding(l, geometry.padding[1], dw)
    bottom = geometry.output_size[0] - 1 + effective_kernel_size(k, dh) - x.shape[2] - top
    right = geometry.output_size[1] - 1 + effective_kernel_size(l, dw) - x.shape[3] - left
    x = bordered(x, left, right, top, bottom)
    return convolve(x, _flipped(weight, geometry.groups), dilation=geometry.dilation, groups=geometry.groups)


def matrix(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The dense layer's view: the convolution is a sparse matrix; multiply by its transpose."""
    n, outputs = x.shape[0], geometry.groups * weight.shape[1]
    columns = convolution_matrix(weight, geometry).t() @ x.reshape(n, x.shape[1:].numel()).t()  # (O * Y * X, N)
    return columns.t().reshape(n, outputs, *geometry.output_size)


def gemm(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Matrix products that accumulate where they land: `scatter` with its arithmetic gathered.

    The output is divided into places of ``stride * stride`` pixels, and each input pixel has its own place. For every
    pixel, a tap of the kernel adds to the same phase of the same neighbour of that place. So one matrix product of the
    pixels with a tap is added to where it lands by the multiplication itself, and taps that land side by side share
    one, see `landings_of`. Pixels that would land outside of all places are left out; if these are at the end of a line,
    each line is a product. So no product is with an inserted zero, hardly any is cropped, and nothing larger than the
    output is written. A few images are processed at a time, so that the sums stay in the cache until they go to the output.
    A graph may lose these writes into memory, and a distributed tensor has no memory of its own; there `subpixel` takes
    over.
    """
    if plain_only() or type(x) is not Tensor:
        return subpixel(x, weight, geometry)
    if geometry.groups > 1:
        single, groups = geometry._replace(groups=1), geometry.groups
        pairs = zip(x.chunk(groups, dim=1), weight.chunk(groups), strict=True)
        return torch.cat([gemm(*pair, single) for pair in pairs], dim=1)
    (n, c, h, w), outputs = x.shape, weight.shape[1]
    axes = zip(*geometry[:5], geometry.output_size, strict=True)
    (sh, height, vertical), (sw, width, horizontal) = (landings_of(*axis) for axis in axes)
    starts, m = _parts(n, max(h * w * c, height * width * sh * sw * outputs))

    like, last = like_products(x, weight), is_channels_last(x) or is_channels_last(weight)
    x = x.permute(0, 2, 3, 1).contiguous()  # once: the products below read the channels of a pixel side by side
    kernel = weight.permute(0, 2, 3, 1).contiguous()
    pixels = x.new_empty(h, w, m, c)
    sums = like.new_empty(height, width, m, sh, sw, outputs)
    products = [
        product
        for down in vertical
        for across in horizontal
        for product in _products(pixels, kernel, sums, down, across)
    ]
    places = sums.unsqueeze(3).permute(2, 3, 6, 0, 4, 1, 5)
    aligned, output = geometry._replace(padding=(0, 0)), _room(like, n, outputs, geometry, last)

    for start in starts:
        pixels.copy_(x.narrow(0, start, m).permute(1, 2, 0, 3))
        sums.zero_()
        for landing, rows, blocks in products:
            landing.baddbmm_(rows, blocks)
        _write(places, output.narrow(0, start, m), aligned)
    return output


def phase(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Stride-1 convolutions, one for each of the ``stride * stride`` phases that an output pixel can have.

    Output pixels a stride apart meet the same taps, so each such phase is an ordinary convolution of the input
    with a part of the kernel. Interleaving the phases gives the output (the sub-pixel convolution of Shi et al. 2016,
    arXiv 1609.07009). No product is with an inserted zero, and none is discarded. Where a graph loses writes,
    `subpixel` takes over.
    """
    if loses_writes():
        return subpixel(x, weight, geometry)
    outputs = geometry.groups * weight.shape[1]
    output = like_products(x, weight).new_zeros(x.shape[0], outputs, *geometry.output_size)
    axes = zip(*geometry[:5], geometry.output_size, strict=True)
    for vertical, horizontal in itertools.product(*(list(phases_of(*axis)) for axis in axes)):
        image = bordered(x, *horizontal.border, *vertical.border)
        kernel = _flipped(part(weight, ALL, ALL, vertical.taps, horizontal.taps), geometry.groups)
        dilation = (vertical.dilation, horizontal.dilation)
        pixels = convolve(image, kernel, dilation=dilation, groups=geometry.groups)
        output[:, :, vertical.pixels, horizontal.pixels] = pixels
    return output


def subpixel(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """One stride-1 convolution for all phases at once, whose channels then become pixels (Shi et al. 2016).

    The full output is divided into places of ``stride * stride`` pixels and the kernel into blocks of that size. The
    blocks are the taps of the convolution, which returns all numbers of a place as channels, and leaves out places that
    would be cropped at both ends. It computes slightly more than `phase`, in places that are cropped in part and where
    zeros fill up blocks, but in one convolution.
    """
    n, groups, outputs = x.shape[0], geometry.groups, weight.shape[1]
    blocks = kernel_blocks(weight, geometry)
    down, across, _, sh, sw, _ = blocks.shape
    inside = last = is_channels_last(x) or is_channels_last(weight)
    if not last and is_on_cpu(x) and outputs > FEW_CHANNELS and groups == 1 and not plain_only():
        # A CPU convolves many channels faster, and with less rounding, in channels_last. The older vmap lacks `to`.
        inside, x = True, x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    axes = zip(geometry.input_size, (down, across), (sh, sw), geometry.padding, geometry.output_size, strict=True)
    up, left = (left_out(*axis) for axis in axes)
    geometry = geometry._replace(padding=(geometry.padding[0] - up * sh, geometry.padding[1] - left * sw))
    border = (down - 1 - up, across - 1 - left)
    places = convolve(x, _taps(blocks, groups, inside), padding=border, groups=groups)
    places = places.reshape(n, groups, sh, sw, outputs, *places.shape[2:]).permute(0, 1, 4, 5, 2, 6, 3)
    if plain_only():
        return _image(places, geometry, last)
    output = _room(places, n, groups * outputs, geometry, last)
    _write(places, output, geometry)
    return output


def auto(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """About the fastest for a DCGAN's layers: `subpixel`, or on a CPU, for many channels, sometimes `gemm`.

    There it is `gemm` if the stride does not divide the kernel, or if the maps are small.

    On every device it is `phase` for dilation, because `subpixel` would multiply by the inserted zeros. Unless the
    stride makes too many phases, it is also `phase` for groups, because a grouped convolution computes their many small
    products at once, and in export, because PyTorch 2.11 cannot export `subpixel` for all heights and widths.
    """
    few_phases = math.prod(geometry.stride) <= MANY_PHASES
    if max(geometry.dilation) > 1 or (few_phases and (geometry.groups > 1 or torch.compiler.is_exporting())):
        return phase(x, weight, geometry)
    dense_on_cpu = is_on_cpu(x) and geometry.groups == 1 and not plain_only()
    return (gemm if dense_on_cpu and _wastes_products(weight, geometry) else subpixel)(x, weight, geometry)


def _wastes_products(weight: Tensor, geometry: Geometry) -> bool:
    """Whether `subpixel` computes so much in vain, at the border or for zeros in the kernel, that `gemm` is faster."""
    inputs, outputs = weight.shape[:2]
    if outputs < MANY_OUTPUTS:
        return False
    steps = [k if size == 1 else s for size, k, s in zip(*geometry[:3], strict=True)]  # the sides of a block
    blocks = [k / step for k, step in zip(geometry.kernel_size, steps, strict=True)]
    if any(count % 1 for count in blocks):  # zeros fill up the last one
        return True
    axes = zip(geometry.input_size, map(int, blocks), steps, geometry.padding, geometry.output_size, strict=True)
    border = math.prod(1 + (count - 1 - 2 * left_out(size, count, *rest)) / size for size, count, *rest in axes) - 1
    return border >= WASTEFUL_BORDER and inputs >= MANY_INPUTS


ALGORITHMS = {function.__name__: function for function in (auto, gemm, phase, subpixel, zero_insert, scatter, matrix)}


def algorithm_named(name: str) -> Algorithm:
    """Return the algorithm that ``algorithm=name`` selects.

    Raises:
        ValueError: if no algorithm has that name.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"algorithm={name!r} is unknown; choose one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def convolution_matrix(weight: Tensor, geometry: Geometry) -> Tensor:
    """Return, as a sparse matrix, the convolution that `geometry` is the transpose of.

    Args:
        weight: ``(C, O / groups, K, L)``.
        geometry: the sizes; its input is the convolution's output and vice versa.

    Returns:
        A sparse tensor ``(C * H * W, O * Y * X)``. The matrix times a flattened ``(O, Y, X)`` image is the
        convolution; its transpose times a flattened ``(C, H, W)`` map is the transposed convolution.
    """
    (h, w), (y, x), groups = geometry.input_size, geometry.output_size, geometry.groups
    c, o = weight.shape[0] // groups, weight.shape[1]
    # One dimension each for group, c, o, row, vertical tap, column, horizontal tap: an element for every product.
    group, into, out, row, i, column, j = torch.meshgrid(
        *(torch.arange(size, device=weight.device) for size in (groups, c, o, h, weight.shape[2], w, weight.shape[3])),
        indexing="ij",
    )
    top = row * geometry.stride[0] + i * geometry.dilation[0] - geometry.padding[0]
    left = column * geometry.stride[1] + j * geometry.dilation[1] - geometry.padding[1]
    inside = (top >= 0) & (top < y) & (left >= 0) & (left < x)
    into, outof = group * c + into, group * o + out
    places = torch.stack([(into * h + row) * w + column, (outof * y + top) * x + left])
    shape = (groups * c * h * w, groups * o * y * x)
    with torch.sparse.check_sparse_tensor_invariants(False):  # explicit, because PyTorch warns otherwise
        return torch.sparse_coo_tensor(places[:, inside], weight[into, out, i, j][inside], shape, device=weight.device)


def _parts(n: int, numbers: int) -> tuple[Sequence[int], int]:
    """Divide ``n`` images of ``numbers`` elements each into parts; return where each begins, and their common size.

    The last part overlaps the one before it if the parts do not divide ``n`` evenly.
    """
    parts = -(-n // max(1, ELEMENTS_PER_CHUNK // numbers))
    at_once = -(-n // max(1, parts))
    return [min(part * at_once, n - at_once) for part in range(parts)], at_once


def _taps(blocks: Tensor, groups: int, last: bool) -> Tensor:
    """Return the blocks as the kernel ``(G * sh * sw * o, c, down, across)`` of an ordinary convolution, so flipped."""
    down, across, inputs, sh, sw, outputs = blocks.shape
    channels, c = groups * sh * sw * outputs, inputs // groups
    if down * across > MANY_PHASES:
        joined = blocks.flip(0, 1)
    else:  # the same with one pass less over memory
        flipped = [block for row in reversed(blocks.unbind()) for block in reversed(row.unbind())]
        if last and is_on_gpu(blocks):  # one kernel does it all, if it has to join at most four dimensions
            rows = [block.reshape(groups, c, sh, sw * outputs).permute(0, 2, 3, 1) for block in flipped]
            joined = torch.stack([row.reshape(groups * sh, sw * outputs, c) for row in rows], dim=2)
            return joined.reshape(channels, down, across, c).permute(0, 3, 1, 2)
        joined = torch.cat(flipped)
    joined = joined.reshape(down, across, groups, c, sh * sw * outputs)
    if last:
        return joined.permute(2, 4, 0, 1, 3).reshape(channels, down, across, c).permute(0, 3, 1, 2)
    return joined.permute(2, 4, 3, 0, 1).reshape(channels, c, down, across)


def _room(like: Tensor, n: int, channels: int, geometry: Geometry, last: bool) -> Tensor:
    """Return uninitialised memory for the output, in channels_last if ``last``."""
    size = (n, channels, *geometry.output_size)
    return like.new_empty_strided(size, strides_of(size, last))


def _image(places: Tensor, geometry: Geometry, last: bool) -> Tensor:
    """Arrange the numbers of each place, ``(N, G, o, H, sh, W, sw)``, as the output, in channels_last if ``last``."""
    n, groups, outputs, height, sh, width, sw = places.shape
    size, channels = (height * sh, width * sw), groups * outputs
    if last:
        image = places.permute(0, 3, 4, 5, 6, 1, 2).reshape(n, *size, channels).permute(0, 3, 1, 2)
    else:
        image = places.reshape(n, channels, *size)
    return cropped(image, geometry)


def _write(places: Tensor, output: Tensor, geometry: Geometry) -> None:
    """Write `_image` to the output; with few phases, crop and interleave phase by phase without making it first."""
    n, groups, outputs, height, sh, width, sw = places.shape
    (top, left), (y, x), size = geometry.padding, geometry.output_size, (height * sh, width * sw)
    if (top, left, y, x) == (0, 0, *size):
        output.view(places.shape).copy_(places)
        return
    if sh * sw > MANY_PHASES:
        output.copy_(_image(places, geometry, is_channels_last(output)))
        return
    if min(top, left) < 0 or top + y > size[0] or left + x > size[1]:
        output.zero_()
    output = output.view(n, groups, outputs, y, x)
    if is_on_gpu(places) and (ordered := _in_order(places, geometry)) is not None:
        output.view(ordered.shape).copy_(ordered)  # one kernel; a CPU is faster with a copy for each phase
        return
    vertical, horizontal = pixels_of_phases(sh, top, height, y), pixels_of_phases(sw, left, width, x)
    for (i, (rows, down)), (j, (columns, across)) in itertools.product(enumerate(vertical), enumerate(horizontal)):
        output[..., rows, columns] = places[..., down, i, across, j]


def _in_order(places: Tensor, geometry: Geometry) -> Tensor | None:
    """View the places as the output ``(N, G, o, Y / sh, sh, X / sw, sw)``; None if no strides describe it.

    With stride 2, an output may begin with the second pixel of a place. Its next pixel is the first one of the next place,
    which is the same distance away everywhere, so that two strides are enough.
    """
    if type(places) is not Tensor:  # as in `gemm`
        return None
    size, strides, offset = list(places.shape), list(places.stride()), places.storage_offset()
    for place, padding, length in zip((3, 5), geometry.padding, geometry.output_size, strict=True):
        pixel = place + 1  # both are axes
        (skipped, first), (count, rest) = divmod(padding, size[pixel]), divmod(length, size[pixel])
        if padding < 0 or rest or skipped + count + (first > 0) > size[place] or (first and size[pixel] > 2):
            return None
        offset += skipped * strides[place] + first * strides[pixel]
        strides[pixel] = strides[place] - strides[pixel] if first else strides[pixel]
        size[place] = count
    return places.as_strided(size, strides, offset) if min(strides) >= 0 else None


def _products(
    pixels: Tensor, kernel: Tensor, sums: Tensor, down: Landing, across: Landing
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield views of sums, pixels and taps for each row of taps: the batches of matrix products that `gemm` computes.

    Each is one call of `as_strided`. With slices, views took a tenth of the time of a layer of one millisecond.
    """
    (_, width, m, c), columns = pixels.shape, across.taps * kernel.shape[3]
    whole = across.pixels == width == sums.shape[1]  # so that the lines follow each other without gaps
    lines = 1 if whole else down.pixels
    length = down.pixels // lines * across.pixels * m
    line, pixel, image, _ = pixels.stride()
    rows = pixels.as_strided((lines, length, c), (line, image, 1), down.pixel * line + across.pixel * pixel)
    row, tap = kernel.stride()[1:3]
    line, place, image, down_phase, across_phase, _ = sums.stride()
    corner = down.place * line + across.place * place + across.phase * across_phase
    for i in range(down.taps):
        landing = corner + (down.phase + i) * down_phase
        taps = kernel.storage_offset() + (down.tap + i) * row + across.tap * tap
        yield (
            sums.as_strided((lines, length, columns), (line, image, 1), landing),
            rows,
            kernel.as_strided((lines, c, columns), (0, kernel.stride(0), 1), taps),
        )


def _flipped(weight: Tensor, groups: int) -> Tensor:
    """Return the kernel ``(O, c, K, L)`` of the ordinary convolution that computes the transposed one."""
    c, o, *kernel_size = weight.shape
    weight = weight.flip(2, 3).reshape(groups, c // groups, o, *kernel_size)
    return weight.transpose(1, 2).reshape(groups * o, c // groups, *kernel_size)
