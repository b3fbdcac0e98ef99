"""Train the digits classifier: which of ten digits an 8x8 image shows.

Runs while the image is built. The data is 1797 handwritten digits (UCI, 1998), which scikit-learn
carries, so the build needs no download. Prints the accuracy on images the model has not seen, and
fails the build when it is too low: a broken model must not become an image.
"""

# scikit-learn and joblib ship no types.
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

MIN_ACCURACY = 0.95


def main() -> None:
    """Fit on three images in four, measure on the rest, write the model."""
    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, digits, test_size=0.25, stratify=digits, random_state=0
    )
    network = MLPClassifier(hidden_layer_sizes=(256, 128), tol=1e-3, random_state=0)
    pipeline = make_pipeline(MinMaxScaler(), network)
    pipeline.fit(train_x, train_y)
    accuracy = pipeline.score(test_x, test_y)
    print(f"held-out accuracy: {accuracy:.3f} on {len(test_y)} images")
    if accuracy < MIN_ACCURACY:
        sys.exit(f"accuracy {accuracy:.3f} is below {MIN_ACCURACY}: not writing the model")
    target = Path(__file__).parent / "model" / "digits.joblib"
    target.parent.mkdir(exist_ok=True)
    joblib.dump(pipeline, target)


if __name__ == "__main__":
    main()
