"""What lands where along one axis, in plain integers: the sizes and positions that `algorithms` needs.

Input pixel ``i`` and tap ``k`` meet at pixel ``i * stride + k * dilation`` of the full output, which is pixel
``i * stride + k * dilation - padding`` of the output. A place is ``stride`` neighbouring pixels, and a phase is a
position in a place.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from dcgan.conv_transpose.arithmetic import Pair


class Landing(NamedTuple):
    """Taps of an axis whose products land side by side, and the input pixels for which they land in the output."""

    tap: int
    taps: int
    phase: int  # of the first tap
    pixel: int
    place: int  # where the first pixel lands
    pixels: int  # how many


def landings_of(
    size: int, kernel_size: int, stride: int, padding: int, dilation: int, output_size: int
) -> tuple[int, int, list[Landing]]:
    """Divide the output of an axis into places; return their size, their number, and what lands in them.

    The next pixel lands one place further, so a tap's phase is the same for all pixels. A single pixel has a single place,
    the whole output.
    """
    side = output_size if size == 1 else stride
    places = -(-output_size // side)
    landings = []
    by_tap = ((tap, *divmod(tap * dilation - padding, side)) for tap in range(kernel_size))
    for (offset, _), group in itertools.groupby(by_tap, lambda one: (one[1], one[2] - one[0])):
        (tap, _, phase), *others = group
        pixel, beyond = max(0, -offset), min(size, places - offset)
        if pixel < beyond:
            landings.append(Landing(tap, 1 + len(others), phase, pixel, pixel + offset, beyond - pixel))
    return side, places, landings


class Phase(NamedTuple):
    """Every ``stride``-th output pixel of an axis, and the stride-1 convolution that computes them."""

    pixels: slice
    taps: slice
    dilation: int
    border: Pair  # zeros before and after the input; negative where input pixels are cropped


def phases_of(
    size: int, kernel_size: int, stride: int, padding: int, dilation: int, output_size: int
) -> Iterator[Phase]:
    """Yield the phases of an axis that at least one tap reaches.

    The taps of a phase are ``stride / g`` apart, and the input pixels that they meet are ``dilation / g`` apart, with
    ``g`` the greatest common divisor of stride and dilation.
    """
    divisor = math.gcd(stride, dilation)
    for first in range(stride):
        if first >= output_size:
            break
        position = first + padding
        reaching = (k for k in range(min(kernel_size, stride // divisor)) if (position - k * dilation) % stride == 0)
        for tap in reaching:  # at most one
            taps = slice(tap, None, stride // divisor)
            reach = (len(range(kernel_size)[taps]) - 1) * dilation // divisor
            pixel = (position - tap * dilation) // stride
            count = -(-(output_size - first) // stride)
            yield Phase(slice(first, None, stride), taps, dilation // divisor, (reach - pixel, pixel + count - size))


def pixels_of_phases(stride: int, padding: int, places: int, output_size: int) -> tuple[tuple[slice, slice], ...]:
    """Return, for each phase along an axis, its output pixels and the places that hold them."""
    pixels = []
    for phase in range(stride):
        first = max(phase - padding, (phase - padding) % stride)
        place = (first + padding - phase) // stride
        count = max(0, min(places - place, -(-(output_size - first) // stride)))
        pixels.append((slice(first, first + count * stride, stride), slice(place, place + count)))
    return tuple(pixels)


def left_out(size: int, blocks: int, step: int, padding: int, output_size: int) -> int:
    """Return how many whole places of an axis are cropped at both ends, so that `subpixel` need not compute them."""
    beyond = (size + blocks - 1) * step - padding - output_size  # pixels that are cropped at the far end
    return max(0, min(padding // step, beyond // step, blocks - 1))
