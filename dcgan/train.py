"""``python -m dcgan.train``: compose the settings, build, resume, train.

Exit codes: 0 finished, 1 error in one sentence, 2 unknown option, 130 interrupted or 143 terminated,
after saving if training had begun.
"""

import os
import signal


def quit_at_once(*_: object) -> None:
    """Handle Ctrl-C until all modules are imported: an interrupted import could fail with any exception."""
    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, quit_at_once)

import logging
import shutil
import sys
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

import hydra
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import dcgan
from dcgan import cli
from dcgan.config import CONFIG_DIR, Config
from dcgan.errors import SET_ANOTHER_NAME, UserError, is_out_of_memory

LOCK, LOG = ".lock", "run.log"
failed: list[str] = []  # names of the runs of the current sweep that failed


def train_locked(config: Config, run_dir: Path) -> int:
    """Run `training.train`, with the directory locked against processes of other runs.

    Raises:
        UserError: also if memory does not suffice or a file cannot be used.
    """
    # Importing torch takes seconds; --help and the error for a mistyped setting should not wait for it.
    from dcgan import parallel, training
    from dcgan.tracking import log_to

    if signal.getsignal(signal.SIGINT) is quit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    parallel.join()
    with ExitStack() as whole:
        with parallel.all_or_none():
            if parallel.is_main():
                whole.enter_context(locked(run_dir))
        if parallel.is_main():
            log_to(run_dir / LOG)
        else:
            logging.disable()
        try:
            return training.train(config, run_dir)
        except OSError as error:
            if is_out_of_memory(error):
                raise UserError("there is too little memory; close other programs, or ask for less") from error
            raise UserError(
                f"{error.filename or run_dir} cannot be used ({error.strerror or error}); mend that and run the same "
                f"command again, or {SET_ANOTHER_NAME}"
            ) from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"there is too little memory for batch_size={config.batch_size}, model.width={config.model.width} and "
                f"data.image_size={list(config.data.image_size)}; set one of them to less"
                f"{', or cuda_graphs=false' if 'CUDA' in str(error) else ''}"
            ) from error


def locked(run_dir: Path) -> AbstractContextManager[object]:
    """Lock a run directory; the lock is held until the returned context exits.

    Raises:
        UserError: if another process holds the lock.
    """
    try:
        return FileLock(run_dir / LOCK, timeout=0).acquire()
    except Timeout as error:
        raise UserError(f"another process is training in {run_dir}; wait for it or {SET_ANOTHER_NAME}") from error


def discard_if_empty(run_dir: Path) -> None:
    """Delete the directory of a run that produced nothing: a lock file and a log do not make a run.

    The directory stays if another process is using it, which may not have written anything yet.
    """
    if cli.speaks():
        with suppress(UserError, OSError), locked(run_dir):
            if {path.name for path in run_dir.iterdir()} <= {LOCK, LOG}:
                shutil.rmtree(run_dir)


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="train")
def job(composed: DictConfig) -> None:
    """Train one run, or one of the runs of ``-m``."""
    hydra_config = HydraConfig.get()
    run_dir = Path(os.path.relpath(hydra_config.runtime.output_dir))
    sweeping = hydra_config.mode is RunMode.MULTIRUN
    config = None
    try:
        config = cli.to_config(composed, hydra_config.overrides.task)
        if config.sweep != Config.sweep and not sweeping:
            raise UserError(f"sweep={config.sweep} is for several runs; add -m, or leave it out")
        config.name = run_dir.name
        code = train_locked(config, run_dir)
    except KeyboardInterrupt:
        discard_if_empty(run_dir)
        raise
    except UserError as error:
        if config is not None:
            discard_if_empty(run_dir)
        else:  # a refused name= may name any directory: remove it only if empty
            cli.remove_if_empty(run_dir)
        if not sweeping:
            cli.fail(error)
        if cli.speaks():
            print(f"error: {run_dir.name}: {error}", file=sys.stderr)
        failed.append(run_dir.name)  # the sweep goes on with the other runs
        return
    if code:
        sys.exit(code)


def main() -> None:
    """Run the command."""
    cli.register()
    cli.mend_argparse()
    cli.check_sweeps()

    def command() -> None:
        if "--version" in sys.argv[1:]:  # Hydra would name its own
            if cli.speaks():
                print(f"dcgan {dcgan.__version__}")
            return
        cli.refuse_misunderstandings(sys.argv[1:])
        sys.argv[1:] = cli.quoted(sys.argv[1:])
        for flag in {"-m", "--multirun"} & {*sys.argv}:  # accepted anywhere; Hydra requires it before the settings
            sys.argv.remove(flag)
            sys.argv.insert(1, flag)
        job()

    try:
        cli.exit_on_error(command)
        if failed and cli.speaks():
            names = ", ".join(failed)
            print(
                f"error: these runs failed, for the reasons above: {names}; the same command tries them again",
                file=sys.stderr,
            )
        code = 1 if failed else 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    if "RANK" in os.environ:  # one of torchrun's processes
        from dcgan import parallel

        parallel.exit_process(code)
    sys.exit(code)


if __name__ == "__main__":
    try:
        main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the interpreter's shutdown is left
