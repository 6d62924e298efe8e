"""Mistakes in params.yaml as lines for people: the key, what was found, what is allowed."""

import difflib
import re
from collections.abc import Iterable
from math import isfinite
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from .overlay import Place
from .settings import MODELS, Settings


class ParamsError(ValueError):
    """params.yaml is not valid; `lines` holds one sentence a mistake."""

    def __init__(self, source: str, lines: Iterable[str]):
        self.lines = list(lines)
        what = "1 mistake" if len(self.lines) == 1 else f"{len(self.lines)} mistakes"
        super().__init__("\n  ".join([f"{source} is not valid, {what}:", *self.lines]))


def brief(value: Any) -> str:
    """A value as a sentence shows it: cut where it is long."""
    return cut(repr(value), 80)


def cut(text: str, length: int) -> str:
    """A text of at most so many characters; the end of a longer one is left out."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def plain_place(place: Iterable[str | int], root: type[BaseModel]) -> Place:
    """Where pydantic found the mistake, without the tags that it adds for unions and keys.

    Those of unions stand in settings alone; elsewhere an arm, say, may have the name of such a tag,
    and so may a shadow.
    """
    tags = {*MODELS, "number", "[key]"} - {"data"} if root is Settings else {"[key]"}
    parts = list(place)
    return tuple(
        str(part)
        for before, part in zip(["", *parts], parts, strict=False)
        if part not in tags or before == "shadows"
    )


def explain(error: dict[str, Any], root: type[BaseModel]) -> str:
    """What is wrong with one value, from one of pydantic's errors.

    Args:
        error: an item of `ValidationError.errors()`.
        root: the model that was validated, for the keys that it allows.
    """
    kind, found = error["type"], error["input"]
    if kind == "extra_forbidden":
        allowed, close = _allowed(error, root), _meant(error, root)
        hint = f"; did you mean {close}?" if close else ""
        return f"unknown key (its value is {brief(found)}); allowed: {', '.join(allowed)}{hint}"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "union_tag_not_found":
        return f"is missing in {brief(found)}"
    if kind == "union_tag_invalid":
        return f"found {brief(error['ctx']['tag'])}; must be one of {error['ctx']['expected_tags']}"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"found {brief(found)}; must be a mapping"
    if kind == "too_short":
        return f"found {brief(found)}; must name at least one"
    allowed = error["msg"].replace("Input should be", "must be")
    return f"found {brief(found)}; {allowed}{_number_hint(found, kind)}"


def _number_hint(found: Any, kind: str) -> str:
    """How to write a number that arrived as text."""
    if not isinstance(found, str) or kind not in ("int_type", "float_type"):
        return ""
    if kind == "int_type" and found.strip().isdigit():
        return f": write {found.strip()} without quotes"
    try:
        number = float(found)
    except ValueError:
        return ""
    if not isfinite(number):
        return ""
    mantissa, e, exponent = repr(number).partition("e")
    point = "" if "." in mantissa else ".0"
    written = f"{mantissa}{point}{e}{int(exponent) if e else ''}"
    return f": write {written}, with a point and without quotes (YAML takes {found} for text)"


def _allowed(error: dict[str, Any], root: type[BaseModel]) -> list[str]:
    """Keys that the mapping with an unknown key may have."""
    owner = _owner(error["loc"], root)
    return [name for name in owner.model_fields if name != "data_name"]


def _owner(place: tuple, root: type[BaseModel]) -> type[BaseModel]:
    """The model of the mapping in which the last key of `place` stands."""
    found: Any = root
    for key in place[:-1]:
        if key in getattr(found, "model_fields", {}):
            found = found.model_fields[key].annotation
        elif get_origin(found) is dict:
            found = get_args(found)[1]
        else:  # a union, in which the name of the model stands before the key
            return MODELS.get(str(place[-2]), root)
    return found


def _meant(error: dict[str, Any], root: type[BaseModel]) -> str | None:
    """The key that an unknown one looks like."""
    return alike(str(error["loc"][-1]), _allowed(error, root))


def no_yaml(error: YAMLError) -> str:
    """Why a file cannot be read, and in which line."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    what = error.problem
    if isinstance(error, DuplicateKeyError):
        what = re.sub(
            r'^found duplicate key "(.*?)".*', r"the key \1 stands twice", what, flags=re.S
        )
    return f"line {error.problem_mark.line + 1}: {what}"


def alike(name: str, known: Iterable[str]) -> str | None:
    """The known name that one looks like, if there is any."""
    close = difflib.get_close_matches(name, [*known], n=1)
    return close[0] if close else None


def nothing_to_leave_out(name: str, known: Iterable[str]) -> str:
    """Of a name that a scale sets to null, and that is not there without it."""
    close = alike(name, known)
    hint = f"; did you mean {close}?" if close else ""
    return f"found null, which leaves out what stands above, where there is no {name}{hint}"


def explain_all(error: ValidationError, root: type[BaseModel]) -> list[tuple[Place, str]]:
    """Place and sentence of every mistake that pydantic found.

    A key that is missing because it is misspelt is one mistake.
    """
    mistakes = []
    items = error.errors()
    misspelt = {
        (*item["loc"][:-1], _meant(item, root))
        for item in items
        if item["type"] == "extra_forbidden"
    }
    for item in items:
        if item["type"] == "missing" and item["loc"] in misspelt:
            continue
        place = plain_place(item["loc"], root)
        if item["type"].startswith("union_tag"):
            place = (*place, "name")
        mistakes.append((place, explain(item, root)))
    return mistakes
