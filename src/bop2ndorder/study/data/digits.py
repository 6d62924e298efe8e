"""Handwritten digits: 1797 real 8x8 images embedded in scikit-learn, so nothing is downloaded."""

import numpy as np

from .splits import stratified

TEST_SHARE = 0.2


def load_digits() -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Classes, and for "train" and "test" images uint8 (N, 8, 8, 3) and labels int64 (N,).

    The grey values 0 ... 16 become 0 ... 255, the same in three channels. scikit-learn names no
    test set; ours is a fixed, stratified fifth.
    """
    from sklearn.datasets import load_digits as embedded  # takes a second to load

    digits = embedded()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=3)
    labels = digits.target.astype(np.int64)
    train, test = stratified(labels, round(TEST_SHARE * len(labels)), "test")
    parts = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
    return [str(name) for name in digits.target_names], parts
