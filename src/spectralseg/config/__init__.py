"""The configuration: one typed model per section, from which the JSON schema of the workflow is generated."""

from spectralseg.config.architecture import Architecture
from spectralseg.config.block import Block
from spectralseg.config.checks import load_config, validate_config
from spectralseg.config.comparison import Comparison
from spectralseg.config.dataset import Dataset, Phantom
from spectralseg.config.evaluation import Evaluation, Interpretation, Noise
from spectralseg.config.external import EXTERNAL, External, fill
from spectralseg.config.objective import Objective
from spectralseg.config.pretraining import Pretraining
from spectralseg.config.study import Config
from spectralseg.config.training import NOT_LEARNED, Training
from spectralseg.config.values import QUOTED_NUMBER

__all__ = [
    "EXTERNAL",
    "NOT_LEARNED",
    "QUOTED_NUMBER",
    "Architecture",
    "Block",
    "Comparison",
    "Config",
    "Dataset",
    "Evaluation",
    "External",
    "Interpretation",
    "Noise",
    "Objective",
    "Phantom",
    "Pretraining",
    "Training",
    "fill",
    "load_config",
    "validate_config",
]
