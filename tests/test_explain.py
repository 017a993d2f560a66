"""``scripts/explain.py`` prints and draws what PyTorch computes."""

import itertools
import math
import re

import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import to_hex
from PIL import Image

from dcgan import explain
from dcgan.errors import UserError
from dcgan.explain import drawings

CASES = [
    explain.Example(2, 3),
    explain.Example(3, 3, padding=1),
    explain.Example(4, 3, padding=2),
    explain.Example(2, 3, stride=2),
    explain.Example(3, 3, stride=2, padding=1),
    explain.Example(3, 3, stride=2, padding=1, output_padding=1),
    explain.Example(2, 2, stride=3, output_padding=2),  # a row that no tap reaches
    explain.Example(5, 2, padding=2),  # crops the input itself
    explain.Example(2, 3, stride=2, padding=1, dilation=2, output_padding=1),
]


def expected(example, padding=None, output_padding=None):
    padding = example.padding if padding is None else padding
    extra = example.output_padding if output_padding is None else output_padding
    image, kernel = example.input[None, None], example.kernel[None, None]
    return F.conv_transpose2d(image, kernel, None, example.stride, padding, extra, 1, example.dilation)[0, 0]


def numbers(axis):
    """Return the numbers in the cells of a panel, by place; the title is never only a number."""
    cells = [text for text in axis.texts if re.fullmatch(r"-?[\d.]+(e[+-]\d+)?", text.get_text())]
    return {(int(y - 0.5), int(x - 0.5)): float(text.get_text()) for text in cells for x, y in [text.get_position()]}


def places(axis, colour):
    """Return the places of a panel's cells of one colour."""
    return {
        (int(square.get_y()), int(square.get_x()))
        for square in axis.patches
        if to_hex(square.get_facecolor()) == to_hex(colour)
    }


@pytest.mark.parametrize("example", CASES, ids=str)
def test_every_frame_of_zero_insertion_shows_products_that_sum_to_the_output(example):
    output = expected(example)
    assert example.output_size == len(output)
    order = list(itertools.product(range(len(output)), repeat=2))
    frames = list(explain.zero_insert_frames(example))
    assert len(frames) == len(order)
    for place, figure in zip(order, frames, strict=True):
        products, _, result = figure.get_suptitle().partition(" = ")
        pairs = re.findall(r"([\d.]+)·([\d.]+)", products)
        assert sum(float(a) * float(b) for a, b in pairs) == float(result) == output[place]
        assert numbers(figure.axes[2]) == {p: output[p].item() for p in order if p <= place}


@pytest.mark.parametrize("example", CASES, ids=str)
def test_the_last_frame_of_scatter_shows_the_full_output_with_the_kept_part_in_it(example):
    frames = list(explain.scatter_frames(example))
    assert len(frames) == example.input_size**2
    shown = numbers(frames[-1].axes[2])
    full = expected(example, 0, 0)
    for row, column in itertools.product(range(len(full)), repeat=2):
        assert shown[row, column] == full[row, column]
    output, first = expected(example), example.padding
    for row, column in itertools.product(range(len(output)), repeat=2):
        assert shown[row + first, column + first] == output[row, column]


@pytest.mark.parametrize("example", CASES, ids=str)
def test_green_is_what_output_padding_adds_and_grey_is_zeros_and_what_is_cropped(example):
    frame = next(explain.zero_insert_frames(example))
    added = example.output_size**2 - (example.output_size - example.output_padding) ** 2
    assert len(places(frame.axes[2], drawings.EXTRA)) == added
    taps = set(itertools.product(range(0, example.kernel_size * example.dilation, example.dilation), repeat=2))
    assert places(frame.axes[0], drawings.CURRENT) == taps
    pixels = places(frame.axes[0], drawings.INPUT) | taps
    assert {place for place, number in numbers(frame.axes[0]).items() if number} <= pixels
    assert not pixels & places(frame.axes[0], drawings.ZERO)

    (frame,) = itertools.islice(explain.scatter_frames(example), 1)
    side, first = math.isqrt(len(frame.axes[2].patches)), example.padding
    kept = set(itertools.product(range(first, first + example.output_size), repeat=2))
    edge = first + example.output_size - example.output_padding
    green = {place for place in kept if max(place) >= edge}
    for colour, where in {
        drawings.EXTRA: green,
        drawings.DONE: kept - green,
        drawings.ZERO: set(itertools.product(range(side), repeat=2)) - kept,
    }.items():
        assert places(frame.axes[2], colour) == where - taps
    assert places(frame.axes[0], drawings.CURRENT) == {(0, 0)}


def test_the_matrix_is_that_of_the_convolution():
    example = CASES[5]
    axes = explain.draw_matrix(example).axes
    forward, back = (torch.tensor(axis.images[0].get_array().filled(0)) for axis in axes[:2])
    assert torch.equal(forward.T, back)
    picture = torch.arange(36.0)
    convolved = F.conv2d(picture.view(1, 1, 6, 6), example.kernel[None, None], stride=2, padding=1)
    assert torch.equal(forward @ picture, convolved.flatten())
    assert torch.equal(back @ example.input.flatten(), expected(example).flatten())


def test_the_text_has_the_numbers_worked_out_by_hand():
    text = explain.text(CASES[5])
    assert "(3 - 1) 2 - 2 * 1 + 3 + 1 = 6" in text
    assert "1 zero between the pixels: 3 -> 5; P_T = F - P - 1 = 1 zero before and 2 zeros after: 8" in text
    assert "8 - 3 + 1 = 6" in text
    assert "floor((6 - 3 + 2) / 2) + 1 = 3" in text
    assert "5 (output_padding 0), 6 (output_padding 1)" in text
    assert "No other size gives that" in explain.text(CASES[0])


def test_the_text_says_where_the_way_back_leads_elsewhere():
    text = explain.text(explain.Example(3, 2, dilation=2, output_padding=1))
    assert "(3 - 1) 1 - 2 * 0 + 3 + 1 = 6" in text
    assert "floor((6 - 3 + 0) / 1) + 1 = 4. Not 3: output_padding 1 is not smaller than the stride 1" in text


def test_the_command_prints_and_draws(command, tmp_path):
    done = command("explain.py", "input_size=2", "kernel_size=3", "stride=2", "out=here")
    assert done.returncode == 0, done.stderr
    assert "(2 - 1) 2 - 2 * 0 + 3 + 0 = 5" in done.stdout
    for name, frames in (("zero_insert", 25), ("scatter", 4)):
        with Image.open(tmp_path / "here" / f"{name}.gif") as animation:
            assert animation.n_frames == frames
    with Image.open(tmp_path / "here" / "matrix.png") as picture:
        assert len(picture.convert("RGB").getcolors(100_000)) > 8
    failed = command("explain.py", "input_size=2")
    assert failed.returncode == 1
    assert len(failed.stderr.strip().splitlines()) == 1
    assert "error: kernel_size= is missing; --help says what it is" in failed.stderr
    (tmp_path / "file").touch()
    assert (
        "out=file is no directory"
        in command("explain.py", "input_size=2", "kernel_size=3", "out=file", "overwrite=true").stderr
    )


def test_a_matrix_of_nothing_but_zeros_is_drawn():
    nothing = explain.Example(1, 1, stride=3, padding=1, output_padding=2)  # no tap reaches what is kept
    assert set(numbers(explain.draw_matrix(nothing).axes[0]).values()) <= {0.0}
    text = explain.text(nothing)
    assert "maps 1 input sizes" not in text
    assert "-1" not in text.partition("way back")[2].partition("= 1. ")[2]


def test_cropped_input_is_said_in_words():
    assert "P_T = F - P - 1 = -1, so that 1 are cropped, before" in explain.text(explain.Example(5, 2, padding=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": 0, "kernel_size": 3}, "input_size=0 must be at least 1"),
        (
            {"input_size": 3, "kernel_size": 3, "output_padding": 1},
            "output_padding=1 must be smaller than stride=1",
        ),
        ({"input_size": 1, "kernel_size": 3, "padding": 2}, "padding=2 crops all of the output"),
        ({"input_size": 9, "kernel_size": 3, "stride": 4}, "too many to look at; set a smaller input_size"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        explain.Example(**settings)


def test_uneven_overlap_is_told():
    uneven, even = (explain.text(explain.Example(3, kernel_size, stride=2)) for kernel_size in (3, 4))
    assert "along an axis and away from the border: 1 to 2, so that a constant input comes out uneven" in uneven
    assert (
        "along an axis and away from the border: 2 everywhere: with equal weights a constant input stays even there"
        in even
    )
