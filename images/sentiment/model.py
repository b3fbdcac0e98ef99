"""The sentiment model: what it takes, what it answers, and how to ask it.

The rest of the image needs these names from here: NAME, INPUT, LABELS, EXAMPLE and the functions
`load` and `probabilities`. To serve another model, write this file and train.py anew.
"""

# scikit-learn and joblib ship no types.
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from functools import cache
from pathlib import Path

import joblib
from sklearn.pipeline import Pipeline
from tensors import Tensor

NAME = "sentiment"
INPUT = Tensor("text", "BYTES", (), high=10_000)
"""An opinion in English, a sentence or a paragraph."""
LABELS = ("negative", "positive")
EXAMPLE = "The staff were friendly and the food was delicious."


@cache
def load() -> Pipeline:
    """Read the trained pipeline, once. A pickle runs code: load only what your own build wrote."""
    return joblib.load(Path(__file__).parent / "model" / "sentiment.joblib")


def probabilities(values: list[str]) -> list[list[float]]:
    """Return one row per text: how likely it is negative, and positive.

    Args:
        values: the texts.
    """
    rows: list[list[float]] = load().predict_proba(values).tolist()
    return rows
