"""nnU-Net v2 as an external method: prepares a dataset, trains one seed of fold 0, and predicts; see
docs/external-methods.md.

It runs in an environment of its own (envs/nnunet.txt), which does not contain spectralseg.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

PLANS = "nnUNetPlans"


def prepare(arguments: argparse.Namespace) -> None:
    """Fingerprint, plans and preprocessed images, and the split of the exported dataset."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    number = _number(arguments.data)
    api.extract_fingerprints([number], num_processes=arguments.threads, check_dataset_integrity=True, clean=True)
    api.plan_experiments([number])
    api.preprocess([number], PLANS, (arguments.configuration,), (arguments.threads,))
    shutil.copy(arguments.data / "splits_final.json", arguments.preprocessed / arguments.data.name)


def train(arguments: argparse.Namespace) -> None:
    """Train fold 0, the only one, or resume it from its latest checkpoint."""
    import numpy as np
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

    random.seed(arguments.seed)
    np.random.seed(arguments.seed % 2**32)  # noqa: NPY002 - nnU-Net draws from the global generator
    torch.manual_seed(arguments.seed)
    device = _device()
    if device.type == "cpu":
        torch.set_num_threads(arguments.threads)
    trainer = get_trainer_from_args(
        str(_number(arguments.data)), arguments.configuration, 0, arguments.trainer, PLANS, device=device
    )
    trainer.save_every = arguments.save_every
    if arguments.epochs is not None:
        trainer.num_epochs = arguments.epochs
    if arguments.iterations is not None:
        trainer.num_iterations_per_epoch = arguments.iterations
        trainer.num_val_iterations_per_epoch = max(1, arguments.iterations // 5)
    _report_progress(trainer, arguments.model / "progress.json")
    if not (Path(trainer.output_folder) / "checkpoint_final.pth").is_file():
        maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
        trainer.run_training()
    elif not trainer.was_initialized:
        trainer.initialize()
    description = {
        "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
        "iterations": trainer.num_epochs * trainer.num_iterations_per_epoch,
        "versions": {name: metadata.version(name) for name in ("nnunetv2", "torch", "numpy")},
    }
    (arguments.model / "description.json").write_text(json.dumps(description), encoding="utf-8")


def _report_progress(trainer: Any, file: Path) -> None:
    """Write the number of finished epochs to a file after each epoch."""
    end = trainer.on_epoch_end

    def on_epoch_end() -> None:
        end()
        file.write_text(json.dumps({"done": trainer.current_epoch, "total": trainer.num_epochs, "unit": "epoch"}))

    trainer.on_epoch_end = on_epoch_end


def predict(arguments: argparse.Namespace) -> None:
    """Predict a folder of images with the final checkpoint, as nnU-Net does by default."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    device = _device()
    (final,) = arguments.model.glob("Dataset*/*/fold_0/checkpoint_final.pth")
    predictor = nnUNetPredictor(device=device, perform_everything_on_device=device.type != "cpu", allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(final.parent.parent), (0,), final.name)
    predictor.predict_from_files_sequential(str(arguments.images), str(arguments.predictions))


def _number(data: Path) -> int:
    """Number of an exported dataset, the digits in ``Dataset001_acdc``."""
    return int(data.name.removeprefix("Dataset").partition("_")[0])


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = parser.add_subparsers(required=True)
    options: dict[str, dict[str, Any]] = {
        **{f"--{name}": {"type": Path, "required": True} for name in ("data", "preprocessed", "model")},
        **{f"--{name}": {"type": Path, "required": True} for name in ("images", "predictions")},
        "--seed": {"type": int, "required": True},
        "--threads": {"type": int, "default": 4},
        "--configuration": {"default": "2d", "help": "of nnU-Net (default: %(default)s)"},
        "--trainer": {"default": "nnUNetTrainer", "help": "class of nnU-Net (default: %(default)s)"},
        "--epochs": {"type": int, "help": "number of epochs (default: that of the trainer)"},
        "--iterations": {"type": int, "help": "optimizer steps per epoch (default: those of the trainer)"},
        "--save-every": {"type": int, "default": 10, "help": "epochs between checkpoints (default: %(default)s)"},
    }
    uses: dict[Callable[[argparse.Namespace], None], tuple[str, ...]] = {
        prepare: ("--data", "--preprocessed", "--threads", "--configuration"),
        train: tuple(name for name in options if name not in ("--images", "--predictions")),
        predict: ("--model", "--images", "--predictions"),
    }
    for function, names in uses.items():
        task = tasks.add_parser(function.__name__, help=function.__doc__)
        task.set_defaults(function=function)
        for name in names:
            task.add_argument(name, **options[name])
    return parser


def main() -> None:
    """Run a task."""
    arguments = _parser().parse_args()
    folders = {"nnUNet_raw": "data", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "model"}
    for variable, name in folders.items():
        folder = getattr(arguments, name, Path("unused"))
        os.environ[variable] = str((folder.parent if name == "data" else folder).absolute())  # read at import
    arguments.function(arguments)


if __name__ == "__main__":
    main()
