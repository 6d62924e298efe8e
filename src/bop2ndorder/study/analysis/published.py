"""The numbers that the papers publish: single runs at full scale, no spread given."""

from dataclasses import dataclass

BOP = "Helwegen et al. 2019, arXiv:1906.02107"
BOP2NDORDER = "Suarez-Ramirez et al. 2021, arXiv:2104.05124"


@dataclass(frozen=True)
class Published:
    """A published top-1 accuracy in percent: CIFAR-10 test, ImageNet validation images."""

    experiment: str
    network: str
    optimizer: str
    top1_percent: float
    source: str


PUBLISHED = (
    Published("cifar10", "binarynet", "bop", 91.3, BOP),
    Published("cifar10", "binarynet", "biased", 91.9, BOP2NDORDER),
    Published("cifar10", "binarynet", "corrected", 91.4, BOP2NDORDER),
    Published("imagenet", "xnornet", "bop", 45.9, BOP),
    Published("imagenet", "xnornet", "biased", 46.9, BOP2NDORDER),
    Published("imagenet", "birealnet", "bop", 56.6, BOP),
    Published("imagenet", "birealnet", "biased", 57.2, BOP2NDORDER),
)


def published_top1(experiment: str, source: str, network: str, optimizer: str) -> float:
    """The published top-1 accuracy in percent; nan where the papers give none.

    Nor on other images: the published experiments have the names of their data sources.
    """
    key = (experiment, network, optimizer) if source == experiment else None
    found = [p.top1_percent for p in PUBLISHED if (p.experiment, p.network, p.optimizer) == key]
    return found[0] if found else float("nan")
