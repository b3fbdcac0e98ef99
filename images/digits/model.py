"""The digits model: what it takes, what it answers, and how to ask it.

The rest of the image needs these names from here: NAME, INPUT, LABELS, EXAMPLE and the functions
`load` and `probabilities`. To serve another model, write this file and train.py anew.
"""

# scikit-learn and joblib ship no types.
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from functools import cache
from pathlib import Path

import joblib
import numpy as np
from sklearn.pipeline import Pipeline
from tensors import Tensor

NAME = "digits"
INPUT = Tensor("image", "FP32", (8, 8), low=0, high=16)
"""Eight rows of eight pixels, from 0 (paper) to 16 (ink)."""
LABELS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
EXAMPLE = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]
"""A zero, as scikit-learn's data set has it."""


@cache
def load() -> Pipeline:
    """Read the trained pipeline, once. A pickle runs code: load only what your own build wrote."""
    return joblib.load(Path(__file__).parent / "model" / "digits.joblib")


def probabilities(values: list[float]) -> list[list[float]]:
    """Return one row per image, one probability per digit.

    Args:
        values: the images' pixels, row after row, 64 to an image.
    """
    images = np.array(values, dtype=np.float64).reshape(-1, 64)
    rows: list[list[float]] = load().predict_proba(images).tolist()
    return rows
