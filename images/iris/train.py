"""Train the iris classifier: three species from four measurements.

Runs while the image is built. The data is Fisher's 150 flowers (1936), which scikit-learn carries,
so the build needs no download. Prints the accuracy on flowers the model has not seen, and fails
the build when it is too low: a broken model must not become an image.
"""

# scikit-learn and joblib ship no types.
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MIN_ACCURACY = 0.90


def main() -> None:
    """Fit on three flowers in four, measure on the rest, write the model."""
    features, species = load_iris(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        features, species, test_size=0.25, stratify=species, random_state=0
    )
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    pipeline.fit(train_x, train_y)
    accuracy = pipeline.score(test_x, test_y)
    print(f"held-out accuracy: {accuracy:.3f} on {len(test_y)} flowers")
    if accuracy < MIN_ACCURACY:
        sys.exit(f"accuracy {accuracy:.3f} is below {MIN_ACCURACY}: not writing the model")
    target = Path(__file__).parent / "model" / "iris.joblib"
    target.parent.mkdir(exist_ok=True)
    joblib.dump(pipeline, target)


if __name__ == "__main__":
    main()
