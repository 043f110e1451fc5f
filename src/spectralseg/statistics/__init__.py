"""Paired comparisons of objectives over seeds and patients. See ``docs/statistics.md``."""

from spectralseg.statistics.agreement import intraclass_correlation, weighted_kappa
from spectralseg.statistics.bayes import Belief, bayesian_signed_rank
from spectralseg.statistics.bootstrap import Interval, paired_interval
from spectralseg.statistics.equivalence import Equivalence, equivalence
from spectralseg.statistics.improvement import probability_of_improvement, share_improved
from spectralseg.statistics.margins import Margins
from spectralseg.statistics.random_effects import RandomEffects, random_effects
from spectralseg.statistics.ranking import Stability, ranking_stability
from spectralseg.statistics.significance import fewest_seeds, holm, partial_conjunction, sign_flip, smallest_p, wilcoxon
from spectralseg.statistics.verdicts import Verdict, judge

__all__ = [
    "Belief",
    "Equivalence",
    "Interval",
    "Margins",
    "RandomEffects",
    "Stability",
    "Verdict",
    "bayesian_signed_rank",
    "equivalence",
    "fewest_seeds",
    "holm",
    "intraclass_correlation",
    "judge",
    "paired_interval",
    "partial_conjunction",
    "probability_of_improvement",
    "random_effects",
    "ranking_stability",
    "share_improved",
    "sign_flip",
    "smallest_p",
    "weighted_kappa",
    "wilcoxon",
]
