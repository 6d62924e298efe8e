"""The outline of params.yaml: which sections there are, and how an experiment lists its runs."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import AfterValidator, Field
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor

from .claims import Name
from .overlay import Place, depth, names_itself, nested, value_at
from .problems import brief
from .settings import Strict

Scale = Literal["quick", "small", "paper"]
SCALES: tuple[str, ...] = get_args(Scale)


def _each_once(values: list) -> list:
    for place, value in enumerate(values):
        if value in values[:place]:
            text = f"lists {brief(value)} twice, and so the same run twice; keep one of them"
            raise ValueError(text)
    return values


Source = Literal["cifar10", "imagenette", "imagenet"]
Values = Annotated[list[Any], Field(min_length=1), AfterValidator(_each_once)]
Seeds = Annotated[
    list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_each_once)
]
DataName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")]


class Arm(Strict):
    """One of the things that an experiment compares: what it sets, and a grid of its own.

    Where it names seeds, they take the place of the experiment's.
    """

    set: dict[str, Any] = {}
    grid: dict[str, Values] = {}
    seeds: Seeds | None = None


class Experiment(Strict):
    """What an experiment runs: (arms x grid + axes) x seeds.

    Attributes:
        set: settings of all its runs, laid over the defaults.
        arms: name -> what that arm changes; every arm is crossed with the grid. An experiment
            that names neither arms nor axes has the one arm `all`.
        grid: dotted setting -> values; all combinations are run.
        axes: dotted setting -> values; each setting is varied alone, around `set`.
        seeds: every run is repeated with each of them.
    """

    set: dict[str, Any] = {}
    arms: dict[Name, Arm] = {}
    grid: dict[str, Values] = {}
    axes: dict[str, Values] = {}
    seeds: Seeds


class Sizes(Strict):
    """What a scale lays over the rest of the file."""

    data: dict[DataName, dict[str, Any]] = {}
    defaults: dict[str, Any] = {}
    experiments: dict[str, Any] = {}
    claims: dict[str, Any] = {}


class Document(Strict):
    """The top level of params.yaml."""

    scale: Scale
    local: dict[Source, str] = {}
    data: dict[DataName, dict[str, Any]]
    defaults: dict[str, Any]
    experiments: Annotated[dict[Name, Any], Field(min_length=1)]
    claims: dict[str, Any]
    scales: dict[Scale, Sizes]


class Layer(NamedTuple):
    """Settings from one place in the file: a mapping, or one value of a grid, axis or seeds."""

    place: Place
    settings: dict
    one_value: bool = False


@dataclass(frozen=True)
class Point:
    """One run as an experiment lists it.

    Attributes:
        arm, axis: as in `Entry`.
        layers: the defaults first; the later are laid over the earlier.
    """

    arm: str
    axis: str | None
    layers: tuple[Layer, ...]

    def origin(self, place: Place) -> Place:
        """The key in the file to mend where the value at `place` of the settings is wrong."""
        # What a mapping with a name or kind of its own replaces whole is no place to mend.
        above = [place[:count] for count in range(1, len(place))]
        wholes = [
            at
            for at, layer in enumerate(self.layers)
            if any(names_itself(value_at(layer.settings, one)) for one in above)
        ]
        first = max(wholes, default=0)
        last = max(reversed(self.layers[first:]), key=lambda layer: depth(layer.settings, place))
        if not depth(last.settings, place):  # none sets it: the defaults are the place for it
            return ("defaults", *place)
        return last.place if last.one_value else (*last.place, *place)


def points(experiment: Experiment, place: Place, defaults: dict) -> Iterator[Point]:
    """Every run of an experiment that stands at `place` in the file."""
    common = [Layer(("defaults",), defaults), Layer((*place, "set"), experiment.set)]
    arms = experiment.arms or ({} if experiment.axes else {"all": Arm()})
    for name, arm in arms.items():
        inner = (*place, "arms", name)
        grids = [((*place, "grid"), experiment.grid), ((*inner, "grid"), arm.grid)]
        seeds = (inner, arm.seeds) if arm.seeds else (place, experiment.seeds)
        for layers in _combinations(grids, *seeds):
            yield Point(name, None, (*common, Layer((*inner, "set"), arm.set), *layers))
    for axis, values in experiment.axes.items():
        for layers in _combinations([((*place, "axes"), {axis: values})], place, experiment.seeds):
            yield Point(axis.rpartition(".")[2], axis, (*common, *layers))


def _combinations(grids: list[tuple[Place, dict[str, list]]], place: Place, seeds: list[int]):
    choices = [
        [Layer((*grid_place, key), nested(key, value), True) for value in values]
        for grid_place, grid in grids
        for key, values in grid.items()
    ]
    repeats = [Layer((*place, "seeds"), {"seed": seed}, True) for seed in seeds]
    return itertools.product(*choices, repeats)


def read_yaml(path: str | Path) -> Any:
    """YAML 1.2, safe, but `1e-7` stays text as in YAML 1.1.

    PyYAML, which Snakemake and papermill use, reads 1e-7 as text and 1.0e-7 as a number; a file
    that they read otherwise than we do would be a trap. The form that DVC writes (Python's own:
    1e-07) is taken.
    """

    class Constructor(SafeConstructor):
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (ValueError, LookupError) as error:  # as for 2001-99-99, or !!bool maybe
                kind = str(node.tag).rpartition(":")[2]
                text = f"found {brief(node.value)}, which is no {kind} ({error})"
                raise ConstructorError(None, None, text, node.start_mark) from error

        def construct_yaml_int(self, node: Any) -> int:
            number = super().construct_yaml_int(node)
            if abs(number) >= 2**63:
                raise ValueError("it is too large")
            return number

        def construct_yaml_float(self, node: Any) -> Any:
            number = super().construct_yaml_float(node)
            text = node.value
            return number if "." in text or text.lower() == repr(number) else text

    Constructor.add_constructor("tag:yaml.org,2002:int", Constructor.construct_yaml_int)
    Constructor.add_constructor("tag:yaml.org,2002:float", Constructor.construct_yaml_float)
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = Constructor
    return yaml.load(Path(path).read_text(encoding="utf-8"))
