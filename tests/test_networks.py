"""The two networks mirror each other at any image size."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dcgan.choices import Algorithm, Upsample
from dcgan.config import ModelConfig
from dcgan.conv_transpose import ALGORITHMS, ConvTranspose2d, conv_transpose2d
from dcgan.networks import (
    Discriminator,
    Generator,
    PixelShuffleConv2d,
    ResizeConv2d,
    initialise,
    map_sizes,
)


def test_maps_of_known_sizes():
    assert map_sizes((28, 28), 4) == [(28, 28), (14, 14), (7, 7), (3, 3)]
    assert map_sizes((64, 64), 4)[-1] == (4, 4)
    assert map_sizes((17, 17), 4) == [(17, 17), (8, 8), (4, 4)]
    assert map_sizes((17, 17), 5) == [(17, 17), (9, 9), (5, 5), (3, 3)]  # floor((17 - 5 + 4) / 2) + 1 = 9
    assert map_sizes((218, 178), 4)[-1] == (3, 2)


@pytest.mark.parametrize("upsample", list(Upsample))
@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5, 6])
def test_the_generator_retraces_the_discriminators_sizes(upsample, kernel_size):
    model = ModelConfig(upsample=upsample, kernel_size=kernel_size, width=2, latent_dim=3)
    for size in itertools.product((8, 9, 17, 30), (8, 15, 45)):
        for channels, classes in ((1, 0), (4, 3)):
            labels = torch.tensor([0, 1]) % max(classes, 1) if classes else None
            images = Generator(model, size, channels, classes)(torch.randn(2, 3), labels)
            assert images.shape == (2, channels, *size)
            assert images.abs().max() <= 1
            assert Discriminator(model, size, channels, classes)(images, labels).logits.shape == (2,)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
@pytest.mark.parametrize("larger", [(8, 10), (9, 11), (7, 9), (8, 9)])
def test_enlargement_and_convolution_are_one_transposed_convolution(larger, kernel_size, algorithm):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    resize = ResizeConv2d(3, 2, kernel_size, (4, 5), larger, bias=True, algorithm=algorithm).double()
    enlarged = F.interpolate(x, scale_factor=2, mode="nearest")
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    below, right = (after + large - twice for large, twice in zip(larger, (8, 10), strict=True))
    kernel = resize.weight.flip(2, 3).transpose(0, 1)
    expected = F.conv2d(F.pad(enlarged, (before, right, before, below)), kernel, resize.bias)
    images = resize(x)
    torch.testing.assert_close(images, expected)
    gradient = torch.randn_like(images)
    for mine, theirs in zip(
        *(torch.autograd.grad(y, (x, resize.weight, resize.bias), gradient) for y in (images, expected)), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_resize_leaves_no_checkerboard_on_a_flat_area():
    torch.manual_seed(0)
    flat = torch.ones(1, 3, 6, 6)
    scratch = ConvTranspose2d(3, 2, 4, stride=2, padding=1)
    resize = ResizeConv2d(3, 2, 4, (6, 6), (12, 12), bias=True, algorithm="auto")
    inside = (slice(None), slice(None), slice(4, 8), slice(4, 8))  # what the borders do not reach
    assert resize(flat)[inside].std((2, 3)).max() < 1e-6
    assert scratch(flat)[inside].std((2, 3)).max() > 0.01


def test_a_convolution_and_a_shuffle_by_hand():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    shuffle = PixelShuffleConv2d(3, 2, 3, (7, 10), bias=True)
    blocks = F.conv2d(x, shuffle.weight, shuffle.bias, padding=1)
    expected = F.pixel_shuffle(blocks, 2)[:, :, :7, :10]
    torch.testing.assert_close(shuffle(x), expected)


def test_a_convolution_and_a_shuffle_are_a_transposed_convolution_of_twice_the_kernel():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    shuffle = PixelShuffleConv2d(3, 2, 4, (8, 10), bias=False)
    # (O, sh, sw, C, K, L) -> (C, O, K, sh, L, sw): each phase of the output has taps of its own.
    phases = shuffle.weight.view(2, 2, 2, 3, 4, 4).flip(4, 5).permute(3, 0, 4, 1, 5, 2)
    images = conv_transpose2d(x, phases.reshape(3, 2, 8, 8), stride=2, padding=((4, 2), (4, 2)))
    torch.testing.assert_close(images, shuffle(x))


def test_an_odd_size_is_what_output_padding_is_for():
    def extra(size, kernel_size):
        generator = Generator(ModelConfig(kernel_size=kernel_size), (size, size), 1, 0)
        return [m.output_padding[0] for m in generator.modules() if isinstance(m, ConvTranspose2d)][1:]

    assert extra(28, 4) == [1, 0, 0]  # 3 -> 7 -> 14 -> 28
    assert extra(17, 4) == [0, 1]  # 4 -> 8 -> 17
    assert extra(28, 5) == [0, 1, 1]  # the paper's kernel: 4 -> 7 -> 14 -> 28; even sizes need an extra pixel
    assert extra(17, 5) == [0, 0, 0]  # 3 -> 5 -> 9 -> 17


def test_the_papers_guidelines_hold():
    generator, discriminator = (
        network(ModelConfig(width=128), (64, 64), 3, 0) for network in (Generator, Discriminator)
    )
    kinds = [type(layer) for layer in generator.layers]
    assert kinds[-2:] == [ConvTranspose2d, nn.Tanh]
    assert kinds.count(nn.BatchNorm2d) == kinds.count(nn.ReLU) == 4
    assert [layer.out_channels for layer in generator.layers if isinstance(layer, ConvTranspose2d)] == [
        1024,
        512,
        256,
        128,
        3,
    ]
    kinds = [type(layer) for layer in discriminator.layers]
    assert kinds[:2] == [nn.Conv2d, nn.LeakyReLU]
    assert kinds.count(nn.BatchNorm2d) == 3
    assert all(m.negative_slope == 0.2 for m in discriminator.modules() if isinstance(m, nn.LeakyReLU))


def test_what_the_paper_advises_against_can_be_had():
    model = ModelConfig(width=4, discriminator_norm="every", discriminator_activation="relu", latents="uniform")
    generator, discriminator = (network(model, (64, 64), 3, 0) for network in (Generator, Discriminator))
    assert [type(layer) for layer in generator.layers][-3:] == [ConvTranspose2d, nn.BatchNorm2d, nn.Tanh]
    kinds = [type(layer) for layer in discriminator.layers]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 4
    assert discriminator.layers[0].bias is None
    plain = Discriminator(ModelConfig(width=4, discriminator_norm="none"), (64, 64), 3, 0)
    assert [type(layer) for layer in plain.layers] == [nn.Conv2d, nn.LeakyReLU] * 4


def test_latents_are_drawn_as_asked():
    random = torch.Generator().manual_seed(0)
    normal = Generator(ModelConfig(width=2), (8, 8), 1, 0).draw(1000, random)
    assert normal.std() == pytest.approx(1, abs=0.02)
    assert normal.abs().max() > 3
    uniform = Generator(ModelConfig(width=2, latents="uniform"), (8, 8), 1, 0).draw(1000, random)
    assert uniform.abs().max() <= 1
    assert uniform.std() == pytest.approx(3**-0.5, abs=0.01)
    assert uniform.mean() == pytest.approx(0, abs=0.01)


def test_weights_begin_as_the_paper_has_them_in_either_layer():
    weights = {}
    for upsample in (Upsample.scratch, Upsample.builtin):
        generator = Generator(ModelConfig(upsample=upsample), (28, 28), 1, 0)
        initialise(generator, 0, "generator")
        weights[upsample] = generator.state_dict()
        projection = generator.layers[0].weight
        assert projection.std().item() == pytest.approx(0.02, rel=0.02)
    for name, value in weights[Upsample.scratch].items():
        assert torch.equal(value, weights[Upsample.builtin][name])


def test_the_label_matters_in_both_networks():
    model = ModelConfig(width=4, latent_dim=4)
    generator, discriminator = (network(model, (16, 16), 1, 3).eval() for network in (Generator, Discriminator))
    latents = torch.randn(1, 4).repeat(2, 1)
    images = generator(latents, torch.tensor([0, 1]))
    assert not torch.allclose(images[0], images[1])
    logits = discriminator(images[:1].repeat(2, 1, 1, 1), torch.tensor([0, 1])).logits
    assert logits[0] != logits[1]


def test_the_auxiliary_classifier_is_a_head_beside_the_others():
    shape = (ModelConfig(width=4), (16, 19), 1, 3)
    plain, classifying = Discriminator(*shape), Discriminator(*shape, classifies=True)
    for network in (plain, classifying):
        initialise(network, 0, "discriminator")
    assert classifying.state_dict().keys() - plain.state_dict().keys() == {"class_head.weight", "class_head.bias"}
    images, labels = torch.randn(2, 1, 16, 19), torch.tensor([0, 2])
    logits, class_logits = classifying(images, labels)
    assert torch.equal(logits, plain(images, labels).logits)
    assert plain(images, labels).class_logits is None
    assert class_logits.shape == (2, 3)
    _, of_others = classifying(images, labels.flip(0))
    assert torch.equal(class_logits, of_others)  # it is not told the class that it has to recognise


def test_the_algorithm_is_that_of_every_layer_of_the_package():
    for upsample, count in ((Upsample.scratch, 4), (Upsample.resize, 4), (Upsample.pixel_shuffle, 1)):
        generator = Generator(ModelConfig(upsample=upsample, algorithm="scatter", width=2), (28, 28), 1, 0)
        chosen = [layer.algorithm for layer in generator.layers if isinstance(layer, ConvTranspose2d)]
        assert chosen == ["scatter"] * count


def test_the_settings_know_every_algorithm():
    assert set(Algorithm) == set(ALGORITHMS)
