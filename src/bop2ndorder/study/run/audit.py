"""What a threshold does to the weights: counted now and then, for each epoch's row of the history.

A weight is due when it has the sign of m: without a threshold it would flip. Those that are due
after a step were kept by the threshold; with those that flipped in it they are all that were due.
"""

from typing import Any

import torch
from torch import Tensor

from ...optim import Bop, Bop2ndOrder
from .updates import Updates

EVERY = 10
COLUMNS = ("due", "held", "off", "wait", "threshold_steps", "gradient_rms")
OF_A_LAYER = ("held", "off", "threshold_steps", "gradient_rms")


class Audit:
    """Counts of an epoch, over every 10th step of the run; nothing that trains is changed.

    All sums stay on the device until `row`. An m of 0 is not due, and a weight that equals the
    threshold is held.

    Args:
        updates: of the run. Of latent weights, and of a rule without a moment m, nothing is known.
    """

    def __init__(self, updates: Updates):
        self.updates = updates
        self.weights = [layer.weight for layer in updates.layers.values()]
        self.sizes = [weight.numel() for weight in self.weights]
        self.known = "m" in getattr(updates.flipper, "moments", ())
        device, count = self.weights[0].device, len(self.weights)
        self.steps = 0
        # Of each layer.
        self.flips = torch.zeros(count, dtype=torch.int64, device=device)
        self.kept = torch.zeros_like(self.flips)
        self.squares = torch.zeros(count, dtype=torch.float64, device=device)  # of the gradient
        # Sums over the steps of threshold / gamma: of each layer, and of all.
        self.thresholds = torch.zeros(count + 1, dtype=torch.float64, device=device)
        # Of each shadow: its flips, and the weights on which its decision is another.
        self.shadow_flips = torch.zeros(len(updates.shadows), dtype=torch.int64, device=device)
        self.disagreeing = torch.zeros_like(self.shadow_flips)

    def begin(self) -> None:
        """Forget what was counted; an epoch begins."""
        self.steps = 0
        for total in (self.flips, self.kept, self.squares, self.thresholds):
            total.zero_()
        self.shadow_flips.zero_()
        self.disagreeing.zero_()

    def takes(self, step: int) -> bool:
        """Whether a step, counted from 0, is one that counts."""
        return self.known and (step + 1) % EVERY == 0

    @torch.no_grad()
    def before(self) -> None:
        """To be called before a step that counts."""
        self._add_flips(-1)

    @torch.no_grad()
    def after(self) -> None:
        """To be called after it, while its gradients are there."""
        self.steps += 1
        self._add_flips(1)
        states = [self.updates.flipper.state[weight] for weight in self.weights]
        pairs = list(zip(self.weights, states, strict=True))
        self.kept += torch.stack([(weight * state["m"] > 0).sum() for weight, state in pairs])
        gradients = [w.grad.to(state["m"].dtype) for w, state in pairs]
        self.squares += torch.stack([torch.mul(g, g).sum() for g in gradients])
        if type(self.updates.flipper) in THRESHOLDS:
            self.thresholds += self._thresholds(states)
        for place, shadow in enumerate(self.updates.shadows.values()):
            # Both began the step with the same weights.
            others = zip(self.weights, shadow.weights, strict=True)
            self.disagreeing[place] += sum((one != other).sum() for one, other in others)

    def _add_flips(self, sign: int) -> None:
        self.flips.add_(_flips(self.updates.flipper, self.weights), alpha=sign)
        for place, shadow in enumerate(self.updates.shadows.values()):
            flips = _flips(shadow.optimizer, shadow.weights).sum()
            self.shadow_flips[place].add_(flips, alpha=sign)

    def _thresholds(self, states: list[dict[str, Any]]) -> Tensor | float:
        flipper = self.updates.flipper
        [group] = flipper.param_groups
        means: Tensor | None = None
        if "v" in flipper.moments:
            sums = torch.stack([state["v"].sum() for state in states]).double()
            # By slices and not by a tensor of sizes, which would have to be copied to the device.
            parts = [total / size for total, size in zip(sums, self.sizes, strict=True)]
            means = torch.stack([*parts, sums.sum() / sum(self.sizes)])
        return THRESHOLDS[type(flipper)](group, states[0], means)

    def row(self) -> dict[str, float | None]:
        """The epoch's columns, None where they say nothing.

        due: share of the weights that were due; held: share of those that the threshold kept;
        off: share of all weights that were kept; wait: off by the flip rate, so many are
        held to every flip, which is no wait of a single weight where m turns back before it flips;
        threshold_steps: how many typical gradients in a row move m from 0 to the threshold;
        gradient_rms: the root mean square of the gradient. held/NAME and so on are those of a
        layer. disagree/NAME: of the weights that the rule or a shadow of that name flips, the share
        that one of the two alone does.
        """
        flips, kept, squares = self.flips.tolist(), self.kept.tolist(), self.squares.tolist()
        thresholds = self.thresholds.tolist()
        everywhere = self._facts(
            sum(flips), sum(kept), sum(squares), thresholds[-1], sum(self.sizes)
        )
        found = {name: everywhere[name] for name in COLUMNS}
        layers = [
            self._facts(*facts)
            for facts in zip(flips, kept, squares, thresholds[:-1], self.sizes, strict=True)
        ]
        for name in OF_A_LAYER:
            for layer, facts in zip(self.updates.layers, layers, strict=True):
                found[f"{name}/{layer}"] = facts[name]
        others = zip(self.shadow_flips.tolist(), self.disagreeing.tolist(), strict=True)
        for name, (theirs, differing) in zip(self.updates.shadows, others, strict=True):
            # Flips of both are in the sum of flips twice, those of one are in both once.
            either = (sum(flips) + theirs + differing) // 2
            found[f"disagree/{name}"] = differing / either if either else None
        return found

    def _facts(
        self, flips: int, kept: int, squares: float, threshold: float, size: int
    ) -> dict[str, float | None]:
        looked_at = size * self.steps
        facts = dict.fromkeys(COLUMNS)
        if not looked_at:
            return facts
        rms = (squares / looked_at) ** 0.5
        facts["gradient_rms"] = rms
        if rms and type(self.updates.flipper) in THRESHOLDS:
            facts["threshold_steps"] = threshold / self.steps / rms
        if due := kept + flips:
            facts |= {"due": due / looked_at, "held": kept / due, "off": kept / looked_at}
            facts["wait"] = kept / flips if flips else None
        return facts


def _flips(optimizer: Any, weights: list[Tensor]) -> Tensor:
    """Flips of each weight tensor so far; before its first step an optimizer has no state."""
    none = torch.zeros((), dtype=torch.int64, device=weights[0].device)
    return torch.stack([optimizer.state.get(w, {}).get("flips", none) for w in weights])


def _of_bop(group: dict[str, Any], state: dict[str, Any], means: None) -> Any:
    return group["threshold"] / (group["gamma"] * group["lr"])


def _of_bop2ndorder(group: dict[str, Any], state: dict[str, Any], means: Tensor) -> Tensor:
    gamma = group["gamma"] * group["lr"]
    a = b = 1.0
    if group["bias_correction"] == "constant":
        a, b = gamma, group["sigma"]
    elif group["bias_correction"] == "adam":
        a, b = state["a"], state["b"]
    # (m / a) / (sqrt(v / b) + eps) > tau, solved for m; with the mean of v for v.
    return group["threshold"] * a / gamma * ((means / b).sqrt() + group["eps"])


# Optimizer -> its threshold on m in units of gamma; of a group, a state in it and means of v.
THRESHOLDS = {Bop: _of_bop, Bop2ndOrder: _of_bop2ndorder}
