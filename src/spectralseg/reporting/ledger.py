"""The claims ledger: what the paper says, what this study measured, and whether it holds."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.files import replacing
from spectralseg.reporting import rendering
from spectralseg.reporting.claims import Claim, Comparison, read_claims
from spectralseg.reporting.measuring import CONDITION, Measurements
from spectralseg.reporting.published import SELECTION, read_published
from spectralseg.reporting.quantities import quantity
from spectralseg.reporting.results import BANNER, Results
from spectralseg.statistics.bootstrap import Interval
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.pairing import pair

HOLDS, FAILS, UNCERTAIN, UNTESTED = VERDICTS = (
    "holds",
    "does not hold",
    "too uncertain to say",
    "cannot be tested with this data",
)
