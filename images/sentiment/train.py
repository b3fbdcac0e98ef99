"""Train the sentiment classifier: is an English opinion positive or negative?

Runs while the image is built. The data lies beside this file: 430 sentences written and labelled
for this image, one per line. Line n of one file often answers line n of the other ("the bread was
fresh", "the bread was stale"), so the two must be held out together: a model tested on one twin
after training on the other is not tested on something new.

Prints the accuracy on held-out sentences, and fails the build when it is too low: a broken model
must not become an image.
"""

# scikit-learn and joblib ship no types.
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import sys
from pathlib import Path

import joblib
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

HERE = Path(__file__).parent
MIN_ACCURACY = 0.75


def main() -> None:
    """Measure by five-fold cross-validation, then fit on every sentence and write the model."""
    texts, labels, twins = read_reviews()
    # Single words and pairs: "not" alone says little, "not worth" says much.
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    pipeline = make_pipeline(words, LogisticRegression(C=10))
    folds = GroupKFold(n_splits=5, shuffle=True, random_state=0)
    accuracy = cross_val_score(pipeline, texts, labels, groups=twins, cv=folds).mean()
    print(f"held-out accuracy: {accuracy:.3f} on {len(texts)} sentences, each left out once")
    if accuracy < MIN_ACCURACY:
        sys.exit(f"accuracy {accuracy:.3f} is below {MIN_ACCURACY}: not writing the model")
    target = HERE / "model" / "sentiment.joblib"
    target.parent.mkdir(exist_ok=True)
    joblib.dump(pipeline.fit(texts, labels), target)


def read_reviews() -> tuple[list[str], list[int], list[int]]:
    """Return the sentences, their labels (0 negative, 1 positive) and their line numbers."""
    texts: list[str] = []
    labels: list[int] = []
    twins: list[int] = []
    for label, name in enumerate(("reviews_negative.txt", "reviews_positive.txt")):
        lines = (HERE / name).read_text(encoding="utf-8").splitlines()
        texts += lines
        labels += [label] * len(lines)
        twins += range(len(lines))
    return texts, labels, twins


if __name__ == "__main__":
    main()
