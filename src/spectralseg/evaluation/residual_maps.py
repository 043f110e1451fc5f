"""How well residual maps of a masked autoencoder show lesions, measured on the validation part."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from spectralseg.data import PreparedDataset
from spectralseg.metrics.ranking import auroc
from spectralseg.models import load_residual_map, untrained_map
from spectralseg.preprocessing import standardise, to_float

COLUMNS = ("case", "group", "map", "auroc", "pixels", "foreground")
_EXAMPLES = 4


class Example(NamedTuple):
    """A validation image (S, S, channels) in [0, 1], its mask, reconstruction and residual map, the maps (S, S)."""

    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    reconstruction: NDArray[np.float32]
    residual: NDArray[np.float32]


def map_quality(file: Path, data: PreparedDataset, device: torch.device) -> tuple[pd.DataFrame, list[Example]]:
    """Area under the ROC curve of residual maps against the foreground, for each validation case that has any.

    Beside the maps of the masked autoencoder stand those of an untrained one of the same size, and the intensity of the
    image; an intensity below 0.5 means that lesions are dark. Only pixels above zero intensity count, as an empty
    background is easy to tell from any lesion.

    Args:
        file: weights of the pretraining.
        data: the dataset.
        device: to compute on.

    Returns:
        A table with :data:`COLUMNS`, empty if no validation case has foreground, and up to four example images with the
        largest foreground, of different cases.
    """
    channels = data.info["channels"]
    trained = load_residual_map(file, channels).to(device).eval()
    untrained = untrained_map(channels, trained.autoencoder.sizes).to(device).eval()
    mean, std = (torch.tensor(data.info[key], dtype=torch.float32, device=device) for key in ("mean", "std"))
    rows, largest = [], []
    for _, case in data.cases[data.cases["part"] == "validation"].iterrows():
        planes = slice(case["first"], case["first"] + case["slices"])
        images, masks = to_float(data.images[planes]), np.asarray(data.masks[planes])
        inputs = standardise(torch.from_numpy(images).to(device), mean, std)
        inside = images.max(3) > 0
        labels = masks[inside] > 0
        if not labels.any():
            continue
        maps = {
            "residual": trained.raw(inputs)[:, 0].cpu().numpy(),
            "untrained": untrained.raw(inputs)[:, 0].cpu().numpy(),
            "intensity": images.mean(3),
        }
        facts = {"case": case["case"], "group": case["group"]}
        counts = {"pixels": labels.size, "foreground": int(labels.sum())}
        rows += [
            {**facts, "map": name, "auroc": auroc(values[inside], labels), **counts} for name, values in maps.items()
        ]
        row = int((masks > 0).sum((1, 2)).argmax())
        picture = trained.reconstruction(inputs[row : row + 1])[0].movedim(0, -1) * std + mean
        scaled = np.clip(maps["residual"][row] / float(trained.scale), 0, 1)
        example = Example(images[row], masks[row], picture.clamp(0, 1).cpu().numpy(), scaled)
        largest.append((int((masks[row] > 0).sum()), example))
    largest.sort(key=lambda pair: -pair[0])
    return pd.DataFrame(rows, columns=list(COLUMNS)), [example for _, example in largest[:_EXAMPLES]]
