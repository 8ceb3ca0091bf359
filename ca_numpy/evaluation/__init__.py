"""Table 1 of the paper: quantitative evaluation on reproducible lists of images and holes."""

from ca_numpy.evaluation.comparison import completions, evaluate
from ca_numpy.evaluation.pairs import Pairs, draw_hole, load_pairs, make_pairs
from ca_numpy.evaluation.tables import MEASURES, REGIONS, Evaluation, Measure, measure

__all__ = [
    "MEASURES",
    "REGIONS",
    "Evaluation",
    "Measure",
    "Pairs",
    "completions",
    "draw_hole",
    "evaluate",
    "load_pairs",
    "make_pairs",
    "measure",
]
