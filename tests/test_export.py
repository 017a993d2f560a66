"""``scripts/export.py``: the exported file gives the same images as the generator."""

import json

import onnxruntime
import pytest
import torch
from runs import assert_refused, lively

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
    return sampling.TrainedGenerator(lively(network), classes, 5, config, "data")


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
        assert expected.std() > 0.2


def test_torch_export_and_safetensors_come_back(tmp_path):
    generator = trained()
    exporting.export(generator, ExportFormat.torch_export, tmp_path / "g.pt2")
    program = torch.export.load(tmp_path / "g.pt2").module()
    for count in (1, 5):
        latents, labels = torch.randn(count, 8), torch.arange(count) % 3
        expected = generator.network(latents, labels)
        torch.testing.assert_close(program(latents, labels), expected)
        assert expected.std() > 0.2

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


def test_the_command_exports_a_run(command, here, tmp_path, trained_run):
    done = command("export.py", f"run={trained_run}", "format=torch_export", "out=g.pt2")
    assert done.returncode == 0, done.stderr
    assert "the generator of step 80 as torch_export" in done.stdout
    failed = here("export.py", f"run={trained_run}", "format=torch_export", "out=g.pt2")
    assert_refused(failed, "error: out=g.pt2 exists; set another out=, or overwrite=true")
    again = here("export.py", f"run={trained_run}", "format=safetensors", "out=g.pt2", "overwrite=true")
    assert again.returncode == 0, again.stderr


def test_the_weights_and_statistics_are_those_asked_for(here, tmp_path, trained_run):
    latents, labels, found = torch.randn(10, 8), torch.arange(10), []
    for weights, statistics in (("ema", "running"), ("raw", "running"), ("ema", "standing")):
        asked = [f"weights={weights}", f"statistics={statistics}", "overwrite=true"]
        done = here("export.py", f"run={trained_run}", "format=torch_export", "out=g.pt2", *asked)
        assert done.returncode == 0, done.stderr
        found.append(torch.export.load(tmp_path / "g.pt2").module()(latents, labels).detach())
        expected = sampling.load_generator(trained_run, weights, statistics).network(latents, labels)
        torch.testing.assert_close(found[-1], expected.detach())
    for other in found[1:]:
        assert (other - found[0]).abs().max() > 0.05
