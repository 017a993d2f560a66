"""Several processes, as torchrun starts them. torchrun also runs this file as each of the processes: see `main`."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from runs import ROOT, TINY, assert_refused, assert_same_run, commands, last_state, numbers, tiny_with

from dcgan import engine, parallel
from dcgan.choices import Device
from dcgan.config import AugmentConfig, Config, LossConfig, ModelConfig
from dcgan.data import Data
from dcgan.data.batches import Batches, ImageSet
from dcgan.device import choose_device
from dcgan.errors import UserError
from dcgan.evaluation import classifier, distances

CPU = torch.device("cpu")


def some_images():
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


LOSSES = {
    "r1": {},
    "gradient_penalty": {"name": "wasserstein", "r1": 0, "gradient_penalty": 10},
    "r1_r2": {"name": "relativistic", "r1": 1, "r2": 1},
    "classifier": {"auxiliary_classifier": 2},
}


def gradients(loss):
    """Return the gradients of both networks in a step with a penalty and without BatchNorm."""
    model = ModelConfig(width=4, latent_dim=8, discriminator_norm="none")
    config = Config(model=model, loss=LossConfig(penalty_every=1, **LOSSES[loss]), steps=10)
    config.data.image_size = (16, 16)
    state = engine.build(config, 4, CPU)
    for network in (state.generator, state.generator_ema):
        for name, module in network.layers.named_children():
            if isinstance(module, torch.nn.BatchNorm2d):
                setattr(network.layers, name, torch.nn.Identity())
    for parameter in state.discriminator.parameters():
        if parameter.dim() == 1:  # with biases of 0 the gradient is constant on the way to a grey image
            torch.nn.init.normal_(parameter, 0, 0.1, generator=torch.Generator().manual_seed(0))
    images, labels = (parallel.shard(whole) for whole in (some_images(), torch.arange(4)))
    engine.train_step(state, config, images, labels)
    return [
        [parameter.grad for parameter in network.parameters()] for network in (state.generator, state.discriminator)
    ]


def stopped():
    """Return the error message of a step whose gradient is not finite in only one process."""
    config = Config(model=ModelConfig(width=4, latent_dim=8), steps=10)
    state = engine.build(config, 0, CPU)
    images = torch.zeros(2, 1, 28, 28)
    images[0, 0, 0, 0] = float("nan") if parallel.rank() == 1 else 0
    with pytest.raises(UserError) as caught:
        engine.train_step(state, config, images, None)
    return str(caught.value)


def statistics():
    """Return the BatchNorm statistics of the averaged generator after a step on the shares of a batch."""
    config = Config(model=ModelConfig(width=4, latent_dim=8), steps=10)
    config.data.image_size = (16, 16)
    state = engine.build(config, 0, CPU)
    engine.train_step(state, config, parallel.shard(some_images()), None)
    return list(state.generator_ema.buffers())


def distances_of_first():
    """Return the distances that the first process measures while the others go on."""
    if not parallel.is_main():
        return None
    features = torch.rand(2, 20, 3, generator=torch.Generator().manual_seed(0))
    return distances.frechet(*features), distances.kernel(*features)


def main():
    """Save the results of all four functions in the file named by the first argument and the rank."""
    parallel.join()
    torch.save(
        [{loss: gradients(loss) for loss in LOSSES}, stopped(), statistics(), distances_of_first()],
        f"{sys.argv[1]}{parallel.rank()}",
    )
    parallel.exit_process(0)


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    """Return what `main` leaves in each of two processes, in pairs."""
    directory = tmp_path_factory.mktemp("parallel")
    result = directory / "result"
    with commands(directory) as command:
        done = command(__file__, str(result), processes=2)
    assert done.returncode == 0, done.stderr
    return list(zip(*(torch.load(f"{result}{rank}") for rank in range(2)), strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_train_as_one_does(of_two_processes, loss):
    of_one, of_other = of_two_processes[0]
    # The generator's gradients come after an update by Adam, which divides by the size of tiny gradients.
    for network, most in enumerate((1e-3, 1e-5)):
        of_network = (found[network] for found in (of_one[loss], of_other[loss], gradients(loss)))
        for one, two, alone in zip(*of_network, strict=True):
            assert torch.equal(one, two)
            assert (one - alone).norm() <= most * alone.norm()  # <=: a bias that cancels out has gradient 0


def test_what_is_not_finite_in_one_process_stops_all_with_one_sentence(of_two_processes):
    one, two = of_two_processes[1]
    assert one == two
    assert "is not finite at step 1" in one


def test_the_processes_share_the_statistics_that_samples_are_made_with(of_two_processes):
    for one, two in zip(*of_two_processes[2], strict=True):
        assert torch.equal(one, two)


def test_the_first_process_evaluates_without_waiting_for_the_others(of_two_processes):
    assert of_two_processes[3] == (distances_of_first(), None)


@pytest.mark.parametrize("augment", [AugmentConfig(), AugmentConfig(translate=3)])
def test_the_shares_of_a_batch_are_the_batch_each_changed_in_its_own_way(monkeypatch, augment):
    store = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 9, 9), np.uint8)
    store[:, :, 4, 4] = 255
    data = ImageSet(store, np.arange(12), np.arange(12), [], "")
    whole, labels = Batches(data, 8, 0, CPU)[1]
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(Batches(data, 8, 0, CPU, augment, shared=True)[1])
    assert torch.equal(torch.cat([share[1] for share in shares]), labels)
    if not augment.translate:
        assert torch.equal(torch.cat([share[0] for share in shares]), whole)
    else:  # the bright point shows where a picture was moved to
        first, second = (share[0].flatten(1).argmax(1) for share in shares)
        assert not torch.equal(first, second)


def test_a_batch_that_cannot_be_shared_out_is_refused(monkeypatch):
    data = ImageSet(np.zeros((12, 1, 8, 8), np.uint8), np.arange(12), np.arange(12), [], "")
    for processes, batch_size in ((3, 8), (4, 4)):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        with pytest.raises(UserError, match=f"batch_size={batch_size} .* {processes} processes"):
            Batches(data, batch_size, 0, CPU, shared=True)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_classifier_that_measures_is_that_of_one_process(monkeypatch, tmp_path, rank):
    for steps in ("MIN_STEPS", "MAX_STEPS"):
        monkeypatch.setattr(classifier, steps, 3)
    store = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8)
    images = ImageSet(store, np.arange(20), np.arange(20) % 2, ["even", "odd"], "")

    def digest(name):
        (tmp_path / name).mkdir()
        return classifier.classifier_of(Data(images, images, images, {}, tmp_path / name), CPU).digest

    alone = digest("alone")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    assert digest("of two") == alone


@pytest.mark.parametrize("gpus", [False, True])
def test_flags_and_sentences_travel_between_cpus_and_gradients_between_gpus(monkeypatch, gpus):
    """By default, PyTorch connects only GPUs on a machine that has some."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus)
    monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: True)
    carriers = torch.distributed.BackendConfig(torch.distributed.Backend(parallel.backend()))
    assert carriers.get_device_backend_map()["cpu"] == "gloo"
    assert carriers.get_device_backend_map()["cuda"] == ("nccl" if gpus else "gloo")


def test_apples_gpus_are_left_alone_by_a_pytorch_that_computes_wrongly_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("dcgan.device.MPS_VERSION", "99.0")
    assert choose_device(Device.auto) == CPU
    with pytest.raises(UserError, match=r"device=mps computes wrongly with PyTorch .*; install 99.0 or newer, or set"):
        choose_device(Device.mps)
    monkeypatch.setattr("dcgan.device.MPS_VERSION", "2.0")
    assert choose_device(Device.auto) == torch.device("mps")


def test_each_process_of_a_machine_computes_on_a_gpu_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("dcgan.device.MPS_VERSION", "2.0")
    assert choose_device(Device.cuda) == torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device(Device.auto) == torch.device("cuda", 1)
    assert chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="there are 2 GPUs; set torchrun's --nproc-per-node=2"):
        choose_device(Device.cuda)
    with pytest.raises(UserError, match="device=mps computes in one process"):
        choose_device(Device.mps)


def test_two_processes_leave_one_run_that_resumes_to_the_bit_or_in_one_process(command, here, tmp_path):
    outputs = tmp_path / "outputs"
    done = command("train", *tiny_with("name=whole"), processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished: outputs/whole") == 1
    cut = command("train", *TINY, signalled=(signal.SIGTERM, 17), processes=2)
    assert cut.returncode == 1  # the exit code of torchrun
    stopped_at = last_state(outputs / "tiny")["step"]
    assert stopped_at == 18
    assert f"stopped and saved at step {stopped_at}" in cut.stderr
    shutil.copytree(outputs / "tiny", outputs / "alone")

    resumed = command("train", *TINY, processes=2)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count(f"resumed at step {stopped_at}") == 1
    assert_same_run(outputs / "tiny", outputs / "whole")
    assert "numbers may differ" not in resumed.stderr

    alone = here("train", *tiny_with("name=alone"))
    assert alone.returncode == 0, alone.stderr
    assert "processes 2, now 1" in alone.stderr
    assert f"resumed at step {stopped_at}" in alone.stderr
    assert [line["step"] for line in numbers(outputs / "alone")] == list(range(1, 41))
    assert numbers(outputs / "alone")[:stopped_at] == numbers(outputs / "whole")[:stopped_at]
    state = last_state(outputs / "alone")
    assert state["step"] == state["generator_optimizer"]["state"][0]["step"] == 40


def test_an_error_is_said_once_and_leaves_nothing(command, here, tmp_path):
    done = command("train", "experiment=smoke", "batch_size=17", processes=2)
    assert done.returncode == 1
    assert done.stderr.count("error: batch_size=17") == 1
    assert not any((tmp_path / "outputs").iterdir())
    assert here("train", *tiny_with("steps=1")).returncode == 0
    taken = command("train", *TINY, processes=2)
    assert taken.returncode == 1
    message = "error: outputs/tiny belongs to a run with other settings (steps=1, now 40)"
    assert taken.stderr.count(message) == 1
    assert "Error" not in taken.stderr.partition("error: ")[0]
    assert last_state(tmp_path / "outputs" / "tiny")["step"] == 1


def test_several_processes_that_nobody_brought_together_are_a_sentence(command):
    alone = command("train", *TINY, WORLD_SIZE="2", RANK="0")
    assert_refused(alone, "error: WORLD_SIZE=2 in the environment says")


@pytest.mark.parametrize("rank", ["0", "1"])
def test_no_process_waits_for_the_end_of_its_interpreter(rank):
    # At that end a thread of the process group aborts one process in some hundreds; see `parallel.exit_process`.
    program = "import atexit; atexit.register(print, 'ended'); from dcgan import train; train.main()"
    environment = os.environ | {"RANK": rank, "WORLD_SIZE": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program, "stepz=1"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no setting stepz") == (rank == "0")


if __name__ == "__main__":
    main()
