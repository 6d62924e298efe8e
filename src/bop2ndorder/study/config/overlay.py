"""Laying one mapping over another, and finding where in the file a value came from."""

from collections.abc import Iterator, Sequence
from typing import Any

Place = tuple[str, ...]


def overlay(base: Any, over: Any) -> Any:
    """`over` laid over `base`, mapping by mapping; neither is changed.

    Two kinds of value replace what is below them whole: all that is no mapping, and a mapping
    that says its own `name` or `kind` (another optimizer, another schedule), since the keys of
    one optimizer mean nothing to the next.
    """
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    if names_itself(over):
        return over
    return {
        **base,
        **{key: overlay(base[key], value) if key in base else value for key, value in over.items()},
    }


def names_itself(found: Any) -> bool:
    """Whether it is a mapping that replaces whole what is below it."""
    return isinstance(found, dict) and ("name" in found or "kind" in found)


def nested(dotted: str, value: Any) -> dict:
    """`nested("optimizer.gamma", 0.1)` is `{"optimizer": {"gamma": 0.1}}`."""
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return value


def depth(tree: Any, path: Sequence[str]) -> int:
    """How many leading keys of `path` exist in `tree`."""
    for found, key in enumerate(path):
        if not isinstance(tree, dict) or key not in tree:
            return found
        tree = tree[key]
    return len(path)


def odd_keys(tree: Any, place: Place = ()) -> Iterator[str]:
    """A sentence for every key that is no plain text: YAML also has numbers, null and true."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if isinstance(key, str) and key.isprintable():
                yield from odd_keys(value, (*place, key))
            else:
                yield f"{'.'.join(place) or 'top level'}: found the key {key!r}; must be a name"
    elif isinstance(tree, list):
        for value in tree:
            yield from odd_keys(value, place)


def value_at(tree: Any, path: Sequence[str]) -> Any:
    """The value at `path`, None where there is none."""
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return None
        tree = tree[key]
    return tree
