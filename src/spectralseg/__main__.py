"""Entry point of ``python -m spectralseg``."""

import sys

from spectralseg.cli import main

sys.exit(main())
