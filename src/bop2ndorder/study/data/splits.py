"""Which images are for training, validation and test: stratified, fixed, recorded."""

import numpy as np


def stratified(labels: np.ndarray, count: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Split places 0 ... N-1 in two, classes in proportion, always in the same way.

    Args:
        labels: int64 (N,).
        count: how many go to the second part, 0 ... N.
        what: name of the second part, for the error.

    Returns:
        the other places and the `count` chosen ones, each sorted, int64.

    Raises:
        ValueError: a part is neither empty nor large enough for one image of each class.
    """
    from sklearn.model_selection import train_test_split  # takes a second to load

    everything = np.arange(len(labels))
    if count == 0 or count == len(labels):
        return everything[: len(labels) - count], everything[len(labels) - count :]
    classes = len(np.unique(labels))
    if not classes <= count <= len(labels) - classes:
        raise ValueError(
            f"{what} is {count}; of {len(labels)} images in {classes} classes it can be 0 or from "
            f"{classes} to {len(labels) - classes}, so that no class goes missing"
        )
    rest, chosen = train_test_split(everything, test_size=count, stratify=labels, random_state=0)
    return np.sort(rest), np.sort(chosen)


def limited(places: np.ndarray, labels: np.ndarray, limit: int | None) -> np.ndarray:
    """At most `limit` of the places, classes in proportion; all of them where `limit` is None."""
    if limit is None or limit >= len(places):
        return places
    return places[stratified(labels[places], limit, "limit")[1]]
