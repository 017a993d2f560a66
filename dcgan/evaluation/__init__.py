"""How good generated images are, in numbers that stand beside their floor.

``classifier`` (features of a labelled set) and ``inception`` (those of papers) -> ``distances`` of features; ``pixels``
and ``pixel_classifiers`` need no features. They meet in ``evaluator``, for a run, and ``reports``, for a finished generator.
"""

from dcgan.evaluation.evaluator import Evaluator
from dcgan.evaluation.measures import GOALS, Measure, scalars, summary, table
from dcgan.evaluation.reports import Report, remarks, report

__all__ = ["GOALS", "Evaluator", "Measure", "Report", "remarks", "report", "scalars", "summary", "table"]
