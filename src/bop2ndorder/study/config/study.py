"""params.yaml: read, checked as a whole, and expanded to runs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml.error import YAMLError

from .claims import Claims, strangers
from .document import SCALES, Document, Experiment, Point, points, read_yaml
from .overlay import Place, depth, names_itself, odd_keys, overlay, value_at
from .problems import ParamsError, brief, cut, explain_all, no_yaml, nothing_to_leave_out
from .runs import Entry, Run
from .settings import Settings, misfits

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Study:
    """A valid params.yaml.

    Attributes:
        scale: the chosen scale.
        local: data source -> local image folder to read instead of a download.
        plans: scale -> entries; a run shared by experiments is in several entries.
        claims: scale -> the claims and what decides them there.
    """

    scale: str
    local: dict[str, str]
    plans: dict[str, tuple[Entry, ...]]
    claims: dict[str, Claims]

    def entries(self, scale: str, experiment: str | None = None) -> list[Entry]:
        """What the scale runs, in the order of the file; of one experiment where named."""
        return [e for e in self.plans[scale] if experiment in (None, e.experiment)]

    def runs(self, scale: str) -> dict[str, Run]:
        """Run id -> run, each once."""
        return {entry.run.id: entry.run for entry in self.plans[scale]}

    def experiments(self, scale: str) -> list[str]:
        return list(dict.fromkeys(entry.experiment for entry in self.plans[scale]))


def load_study(path: str | Path = "params.yaml", **changes: Any) -> Study:
    """Read and check params.yaml, all its scales.

    Args:
        path: the file.
        changes: laid over the file's top level, such as `scale="small"`.

    Raises:
        ParamsError: names every mistake at once, with its key.
    """
    name = Path(path).name
    try:
        document = read_yaml(path)
    except (OSError, ValueError) as error:
        raise ParamsError(name, [f"cannot be read: {error}"]) from None
    except RecursionError:
        raise ParamsError(name, ["is nested too deeply"]) from None
    except YAMLError as error:
        raise ParamsError(name, [no_yaml(error)]) from None
    if not isinstance(document, dict):
        raise ParamsError(name, [f"found {brief(document)}; must be a mapping with the key scale"])
    return check(overlay(document, changes), name)


def check(document: dict, name: str = "params.yaml") -> Study:
    """The study that a document declares; raises `ParamsError` with all mistakes of all scales."""
    try:
        odd = list(odd_keys(document))
    except RecursionError:  # YAML's anchors can do that
        raise ParamsError(name, ["a value holds itself"]) from None
    if odd:
        raise ParamsError(name, odd)
    checker = _Checker(document)
    checker.outline()
    plans = {scale: tuple(checker.entries(scale)) for scale in SCALES}
    claims = {scale: checker.claims(scale, plans[scale]) for scale in SCALES}
    if checker.problems:
        raise ParamsError(name, checker.problems)
    return Study(document["scale"], dict(document.get("local", {})), plans, claims)


class _Checker:
    """Collects mistakes, each under the key where it stands in the file, each once.

    One mistake must not hide another: whatever is wrong in one place, the rest is checked.
    """

    def __init__(self, document: dict):
        self.document = document
        self.problems: dict[str, None] = {}  # an ordered set
        self.reports = 0
        # scale -> (experiment, arm or None) that it leaves out, or that mistakes hide
        self.unknown: dict[str, set[tuple[str, str | None]]] = {scale: set() for scale in SCALES}

    def report(self, place: Place, text: str, scale: str | None = None) -> None:
        """File a mistake, under `scales.SCALE` if that is where the value comes from."""
        over = value_at(self.document, ("scales", str(scale)))
        own, below = depth(over, place), depth(self.document, place)
        # A key that both lack is missing below, unless the scale replaces the whole mapping.
        on_top = own == len(place) or names_itself(value_at(over, place[:own]))
        if own > below or (own == below and own and on_top):
            place = ("scales", str(scale), *place)
        self.problems[f"{'.'.join(place)}: {cut(text, 380)}"] = None
        self.reports += 1

    def valid(
        self, model: type[M], found: Any, place: Place = (), scale: str | None = None
    ) -> M | None:
        """What stands at `place` as a model; None, and the mistakes reported, where it is none."""
        try:
            return model.model_validate(found)
        except ValidationError as error:
            for inner, text in explain_all(error, model):
                self.report((*place, *inner), text, scale)
        return None

    def outline(self) -> None:
        self.valid(Document, self.document)

    def entries(self, scale: str) -> Iterator[Entry]:
        """All runs of one scale whose settings are valid; the rest is reported."""
        over = value_at(self.document, ("scales", scale)) or {}
        if not isinstance(over, dict):
            return  # the outline's mistakes say so
        sections = {key: self.document.get(key) for key in ("data", "defaults", "experiments")}
        plan = overlay(sections, over)
        if not all(isinstance(plan.get(key), dict) for key in sections):
            return  # the outline's mistakes say so
        own = sections["experiments"] or {}
        for name, found in plan["experiments"].items():
            name = str(name)
            place = ("experiments", name)
            if found is None and name in (over.get("experiments") or {}):
                self.unknown[scale].add((name, None))
                if name not in own:
                    self.report(place, nothing_to_leave_out(name, own), scale)
                continue  # else the scale says that it does not run it
            declared = value_at(self.document, (*place, "arms"))
            left_out, strange = _null_arms(found, declared)
            for arm in strange:
                self.report((*place, "arms", arm), nothing_to_leave_out(arm, declared), scale)
            left_out |= strange
            self.unknown[scale] |= {(name, arm) for arm in left_out}
            before = self.reports
            yield from self.runs(name, _without(found, left_out), plan, scale)
            if self.reports > before:
                self.unknown[scale].add((name, None))

    def runs(self, name: str, found: Any, plan: dict, scale: str) -> Iterator[Entry]:
        """The runs of an experiment whose settings are valid; the rest is reported."""
        place = ("experiments", name)
        experiment = self.experiment(found, place, scale)
        if experiment is not None:
            seen: set[str] = set()
            for point in points(experiment, place, plan["defaults"]):
                merged = reduce(overlay, (layer.settings for layer in point.layers))
                # Axes share their common point with each other and with the grid; no others may.
                mark = json.dumps([point.axis, merged], sort_keys=True, default=repr)
                if mark in seen:
                    text = "lists a run twice: another arm of this experiment has the same settings"
                    self.report((*place, "arms", point.arm), text, scale)
                    continue
                seen.add(mark)
                settings = self.settings(merged, point, plan["data"], scale)
                if settings is not None:
                    yield Entry(name, point.arm, point.axis, Run.of(settings))

    def claims(self, scale: str, entries: Sequence[Entry]) -> Claims | None:
        """The claims of one scale; None, and the mistakes reported, where they are not valid.

        Args:
            scale: which.
            entries: what it runs, which comparisons are held to.
        """
        section = self.document.get("claims")
        over = value_at(self.document, ("scales", scale, "claims")) or {}
        if not isinstance(section, dict):
            return None  # the outline's mistakes say so
        claims = self.valid(Claims, overlay(section, over), ("claims",), scale)
        if claims is not None and entries:
            for place, text in strangers(claims, entries, self.unknown[scale]):
                self.report(("claims", *place), text, scale)
        return claims

    def experiment(self, found: Any, place: Place, scale: str) -> Experiment | None:
        """The experiment; with mistakes in it, as much of it as is sound."""
        if whole := self.valid(Experiment, found, place, scale):
            return whole
        if not isinstance(found, dict):
            return None
        sound: dict[str, Any] = {"seeds": [0]}

        def fits(key: str, value: Any) -> bool:
            try:
                Experiment.model_validate({**sound, key: value})
            except ValidationError:
                return False
            return True

        sound |= {key: value for key, value in found.items() if fits(key, value)}
        arms = found.get("arms")
        if arms is not None and "arms" not in sound:
            named = arms.items() if isinstance(arms, dict) else ()
            sound["arms"] = {name: arm for name, arm in named if fits("arms", {name: arm})}
            if not sound["arms"]:  # without any the experiment would be read as one of another kind
                return None
        return Experiment.model_validate(sound) if len(sound) > 1 else None

    def settings(self, merged: dict, point: Point, sets: dict, scale: str) -> Settings | None:
        name = merged.get("data")
        data = sets.get(name) if isinstance(name, str) else None
        if data is None:
            allowed = ", ".join(map(str, sets))
            text = f"found {brief(name)}; must be one of the data sets that the file declares: "
            self.report(point.origin(("data",)), text + allowed, scale)
            return None
        whole = {**merged, "data": data, "data_name": name}
        misfit = [*misfits(whole)]
        for place, text in misfit:
            self.report(point.origin(place), text, scale)
        try:
            settings = Settings.model_validate(whole)
        except ValidationError as error:
            for place, text in explain_all(error, Settings):
                of_data = place[:1] == ("data",)
                origin = ("data", name, *place[1:]) if of_data else point.origin(place)
                self.report(origin, text, scale)
            return None
        return None if misfit else settings


def _null_arms(found: Any, declared: Any) -> tuple[set[str], set[str]]:
    """The arms that a scale sets to null, and so does not run: declared ones, and others."""
    arms = value_at(found, ("arms",))
    if not isinstance(arms, dict) or not isinstance(declared, dict):
        return set(), set()
    null = {name for name, arm in arms.items() if arm is None}
    known = {name for name in null if declared.get(name) is not None}
    return known, null - {*declared}


def _without(found: Any, arms: set[str]) -> Any:
    """An experiment without some of its arms."""
    if not arms:
        return found
    return {**found, "arms": {n: arm for n, arm in found["arms"].items() if n not in arms}}
