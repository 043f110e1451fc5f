"""What a run folder says of itself, as far as anything reads it."""

from spectralseg.grid import Run

RUN = Run("toy", "unet", "mixed", "0.2", 0)
DESCRIPTION = {
    "run": RUN.keys,
    **{key: {} for key in ("architecture", "objective", "training")},
    "data": {
        "name": "toy", "source": "path", "classes": ["disc"], "channels": 3, "image_size": 32, "mean": [0.5] * 3,
        "std": [0.1] * 3, "files": {},
    },
    **dict.fromkeys(("iterations", "best_iteration", "parameters"), 1),
    "validation_dice": 0.5,
    "versions": {"spectralseg": "0"},
}  # fmt: skip
