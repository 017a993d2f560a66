"""Check the formulas against numbers worked out by hand."""

import pytest
import torch

from dcgan.conv_transpose import arithmetic, conv_transpose2d


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding", "dilation", "expected"),
    [
        (4, 3, 1, 0, 1, 2),  # valid: no padding
        (5, 3, 1, 1, 1, 5),  # same: half the kernel
        (5, 3, 1, 2, 1, 7),  # full: F - 1
        (5, 3, 2, 0, 1, 2),
        (6, 3, 2, 1, 1, 3),  # (6 - 3 + 2) / 2 + 1 = 3.5, floored
        (5, 3, 2, 1, 1, 3),  # the same 3 without a remainder
        (28, 4, 2, 1, 1, 14),
        (7, 3, 1, 0, 2, 3),  # a dilated kernel of 3 spans 5
    ],
)
def test_a_convolution_floors(size, kernel_size, stride, padding, dilation, expected):
    assert arithmetic.conv_output_size(size, kernel_size, stride, padding, dilation) == expected


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding", "output_padding", "expected"),
    [
        (2, 3, 1, 0, 0, 4),  # the transpose of 4 -> 2
        (5, 3, 1, 1, 0, 5),  # the transpose of same
        (7, 3, 1, 2, 0, 5),  # the transpose of full
        (2, 3, 2, 0, 0, 5),
        (3, 3, 2, 1, 0, 5),  # the odd case: the convolution maps both 5 and 6 to 3
        (3, 3, 2, 1, 1, 6),
        (1, 4, 1, 0, 0, 4),  # the generator's projection
        (7, 4, 2, 1, 0, 14),
    ],
)
def test_a_transposed_convolution_goes_back(size, kernel_size, stride, padding, output_padding, expected):
    assert arithmetic.conv_transpose_output_size(size, kernel_size, stride, padding, output_padding) == expected


def test_its_padding_is_f_minus_p_minus_1_and_its_zeros_are_s_minus_1():
    assert arithmetic.transpose_padding(kernel_size=3, padding=0) == 2
    assert arithmetic.transpose_padding(kernel_size=3, padding=1) == 1
    assert arithmetic.transpose_padding(kernel_size=3, padding=2) == 0
    assert arithmetic.transpose_padding(kernel_size=3, padding=1, dilation=2) == 3
    assert arithmetic.transpose_padding(kernel_size=3, padding=3) == -1  # crops
    assert [arithmetic.inserted_zeros(stride) for stride in (1, 2, 3)] == [0, 1, 2]


def test_the_sizes_that_share_an_output_are_exactly_those_that_the_convolution_maps_there():
    for kernel_size in (2, 3, 4, 5):
        for stride in (1, 2, 3):
            for padding in range(kernel_size):
                for dilation in (1, 2):
                    how = (kernel_size, stride, padding, dilation)
                    shared = arithmetic.conv_input_sizes(6, *how)
                    mapped = [size for size in range(60) if arithmetic.conv_output_size(size, *how) == 6]
                    assert list(shared) == mapped


def test_output_padding_picks_one_of_them():
    assert arithmetic.output_padding_for(5, 3, kernel_size=3, stride=2, padding=1) == 0
    assert arithmetic.output_padding_for(6, 3, kernel_size=3, stride=2, padding=1) == 1
    assert arithmetic.output_padding_for(29, 14, kernel_size=4, stride=2, padding=1) == 1
    with pytest.raises(ValueError, match=r"no output_padding turns size 3 into 7.*5 to 6"):
        arithmetic.output_padding_for(7, 3, kernel_size=3, stride=2, padding=1)


def test_valid_same_and_full_padding_of_a_convolution():
    assert arithmetic.same_padding(5, 3) == (1, 1)
    assert arithmetic.same_padding(5, 4) == (1, 2)  # an even kernel: the odd pixel goes to the end
    assert arithmetic.same_padding(6, 3, stride=2) == (0, 1)
    assert arithmetic.same_padding(5, 3, stride=2) == (1, 1)
    assert arithmetic.same_padding(5, 1, stride=3) == (0, 0)
    assert arithmetic.full_padding(3) == 2
    assert arithmetic.full_padding(3, dilation=2) == 4
    for size in range(1, 12):
        for kernel_size in range(1, 6):
            for stride in (1, 2, 3):
                before, after = arithmetic.same_padding(size, kernel_size, stride)
                padded = size + before + after
                if padded >= kernel_size:
                    assert arithmetic.conv_output_size(padded, kernel_size, stride) == -(-size // stride)


def test_the_crop_of_a_same_layer_is_the_padding_of_the_convolution_it_mirrors():
    assert arithmetic.same_crop(3, 3, 2) == (0, 1)  # the full output has 7 pixels, 6 are wanted
    assert arithmetic.same_crop(3, 3, 2, output_size=5) == (1, 1)
    assert arithmetic.same_crop(3, 1, 3) == (0, -2)  # the full output has 7 pixels, 9 are wanted: two are added
    with pytest.raises(ValueError, match="turns size 7 into 3; output_size can be 5 to 6"):
        arithmetic.same_crop(3, 3, 2, output_size=7)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation", "expected"),
    [
        (4, 2, 1, (2, 2)),
        (3, 2, 1, (1, 2)),
        (5, 2, 1, (2, 3)),
        (2, 3, 1, (0, 1)),
        (3, 2, 2, (0, 3)),
        (5, 1, 1, (5, 5)),
    ],
)
def test_taps_overlap_evenly_or_not(kernel_size, stride, dilation, expected):
    assert arithmetic.overlap(kernel_size, stride, dilation) == expected
    line, kernel = torch.ones(1, 1, 1, 20), torch.ones(1, 1, 1, kernel_size)
    (away,) = conv_transpose2d(line, kernel, stride=(1, stride), dilation=(1, dilation))[0, 0]
    away = away[10:-10]
    assert (away.min(), away.max()) == expected
