"""The iris model: what it takes, what it answers, and how to ask it.

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

NAME = "iris"
INPUT = Tensor("features", "FP32", (4,), low=0, high=30)
"""Sepal length, sepal width, petal length, petal width, in centimetres."""
LABELS = ("setosa", "versicolor", "virginica")
EXAMPLE = [5.1, 3.5, 1.4, 0.2]


@cache
def load() -> Pipeline:
    """Read the trained pipeline, once. A pickle runs code: load only what your own build wrote."""
    return joblib.load(Path(__file__).parent / "model" / "iris.joblib")


def probabilities(values: list[float]) -> list[list[float]]:
    """Return one row per flower, one probability per label.

    Args:
        values: the flowers' measurements in cm, four after four.
    """
    flowers = np.array(values, dtype=np.float64).reshape(-1, 4)
    rows: list[list[float]] = load().predict_proba(flowers).tolist()
    return rows
