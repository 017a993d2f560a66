"""Export a trained generator to a file that works without this project.

The graph has only ordinary operators, in which the from-scratch layer is written, so any runtime can load it.
"""

import importlib.util
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dcgan.atomic import replacing
from dcgan.choices import ExportFormat
from dcgan.errors import UserError
from dcgan.sampling import TrainedGenerator

if TYPE_CHECKING:
    from torch.export import ExportedProgram

NEEDED = {
    ExportFormat.onnx: ["onnx", "onnxscript"],
    ExportFormat.torch_export: [],
    ExportFormat.safetensors: ["safetensors"],
}


def export(trained: TrainedGenerator, kind: ExportFormat, path: Path) -> None:
    """Write the generator to ``path``, replacing an existing file.

    * onnx: inputs ``latents`` float32 ``(batch, Z)`` drawn as in the run (``model.latents``); if conditional, also
      ``labels`` int64 ``(batch,)``; output ``images`` float32 ``(batch, C, H, W)`` in [-1, 1]; any batch size.
    * torch_export: the same inputs and output, as a program for ``torch.export.load(path).module()``.
    * safetensors: only the weights, with the run's settings as metadata.

    Raises:
        UserError: if a package is missing.
    """
    missing = [package for package in NEEDED[kind] if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"format={kind} needs {' and '.join(missing)}; pip install {' '.join(missing)} and try again")
    # The memory layout that other programs expect.
    trained.network.to(memory_format=torch.contiguous_format)
    with replacing(path) as partial:
        if kind is ExportFormat.onnx:
            program = torch.onnx.export(
                _program(trained),
                dynamo=True,
                input_names=["latents", "labels"][: 2 if trained.num_classes else 1],
                output_names=["images"],
                verbose=False,
            )
            assert program is not None
            program.save(partial)
        elif kind is ExportFormat.torch_export:
            content = io.BytesIO()
            torch.export.save(_program(trained), content)
            partial.write_bytes(content.getvalue())
        else:
            from safetensors.torch import save  # noqa: PLC0415 - may be missing

            about = {"config": json.dumps(trained.config.to_plain()), "num_classes": str(trained.num_classes)}
            partial.write_bytes(save(trained.network.state_dict(), about))


def _program(trained: TrainedGenerator) -> "ExportedProgram":
    """The generator's graph, for any batch size."""
    batch = torch.export.Dim("batch", min=1)
    # Two images, because a batch size of 1 in the example would become a constant.
    inputs: tuple[torch.Tensor, ...] = (torch.zeros(2, trained.network.latent_dim),)
    if trained.num_classes:
        inputs += (torch.zeros(2, dtype=torch.int64),)
    with torch.no_grad():
        return torch.export.export(trained.network, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
