"""``scripts/export.py``: the file gives the images that the generator gives."""

import json

import onnxruntime
import pytest
import torch

from dcgan import exporting, sampling
from dcgan.choices import ExportFormat, Upsample
from dcgan.config import Config, DataConfig, ModelConfig
from dcgan.errors import UserError
from dcgan.networks import Generator, initialise


def trained(conditional=True, **model):
    config = Config(model=ModelConfig(width=4, latent_dim=8, **model), data=DataConfig(image_size=[17, 28]))
    classes = 3 if conditional else 0
    network = Generator(config.model, config.data.image_size, 1, classes)
    initialise(network, 0, "generator")
    return sampling.TrainedGenerator(network.eval(), classes, 5, config, "data")


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("upsample", Upsample)
def test_onnx_gives_what_pytorch_gives_for_any_batch(tmp_path, upsample, conditional):
    generator = trained(conditional, upsample=upsample)
    exporting.export(generator, ExportFormat.onnx, tmp_path / "g.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["latents", "labels"][: 1 + conditional]
    for count in (1, 5):
        inputs = {"latents": torch.randn(count, 8), "labels": torch.arange(count) % 3}
        given = {name: tensor.numpy() for name, tensor in inputs.items() if conditional or name == "latents"}
        (images,) = session.run(["images"], given)
        with torch.no_grad():
            expected = generator.network(inputs["latents"], inputs["labels"] if conditional else None)
        torch.testing.assert_close(torch.from_numpy(images), expected, rtol=1e-4, atol=1e-5)


def test_torch_export_and_safetensors_come_back(tmp_path):
    generator = trained()
    exporting.export(generator, ExportFormat.torch_export, tmp_path / "g.pt2")
    program = torch.export.load(tmp_path / "g.pt2").module()
    for count in (1, 5):
        latents, labels = torch.randn(count, 8), torch.arange(count) % 3
        torch.testing.assert_close(program(latents, labels), generator.network(latents, labels))

    exporting.export(generator, ExportFormat.safetensors, tmp_path / "sub" / "g.safetensors")
    from safetensors import safe_open

    with safe_open(tmp_path / "sub" / "g.safetensors", "pt") as file:
        for name, tensor in generator.network.state_dict().items():
            assert torch.equal(file.get_tensor(name), tensor)
        assert Config.from_plain(json.loads(file.metadata()["config"])) == generator.config


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.NEEDED, ExportFormat.onnx, ["onnx", "not_there"])
    with pytest.raises(UserError, match="format=onnx needs not_there; pip install not_there"):
        exporting.export(trained(), ExportFormat.onnx, tmp_path / "g.onnx")


def test_the_command_exports_a_run(command, tmp_path):
    assert command("train", "experiment=smoke", "name=tiny", "data.image_size=8").returncode == 0
    done = command("export.py", "run=outputs/tiny", "format=torch_export", "out=g.pt2", "statistics=standing")
    assert done.returncode == 0, done.stderr
    assert "the generator of step 12 as torch_export" in done.stdout
    program = torch.export.load(tmp_path / "g.pt2").module()
    assert program(torch.randn(4, 8), torch.arange(4)).shape == (4, 1, 8, 8)
    failed = command("export.py", "run=outputs/tiny", "format=torch_export", "out=g.pt2")
    assert failed.returncode == 1
    assert failed.stderr.strip() == "error: out=g.pt2 exists; set another out=, or overwrite=true"
    again = command("export.py", "run=outputs/tiny", "format=safetensors", "out=g.pt2", "overwrite=true")
    assert again.returncode == 0, again.stderr
