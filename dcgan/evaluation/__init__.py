"""Measures of generated images, each beside its floor: the same measure of real images.

``classifier`` and ``inception`` compute features, which ``distances`` compares; ``pixels`` and ``pixel_classifiers``
need no features. ``evaluator`` combines the fast measures; ``thorough`` adds the slow ones for a finished generator.
"""

from dcgan.evaluation.evaluator import Evaluator
from dcgan.evaluation.measures import GOALS, Measure, scalars, summary, table
from dcgan.evaluation.thorough import Results, measure_thoroughly, remarks

__all__ = ["GOALS", "Evaluator", "Measure", "Results", "measure_thoroughly", "remarks", "scalars", "summary", "table"]
