"""The numbers that the papers publish: single runs at full scale, no spread given.

Of Bop by Helwegen et al. 2019, arXiv:1906.02107; of Bop2ndOrder by Suarez-Ramirez et al. 2021,
arXiv:2104.05124.
"""

from math import nan

FULL_SCALE = "paper"  # the scale whose numbers bear comparison with these

# Top-1 accuracy in percent, of CIFAR-10 test and ImageNet validation images.
PUBLISHED = {
    ("cifar10", "binarynet", "bop"): 91.3,
    ("cifar10", "binarynet", "biased"): 91.9,
    ("cifar10", "binarynet", "corrected"): 91.4,
    ("imagenet", "xnornet", "bop"): 45.9,
    ("imagenet", "xnornet", "biased"): 46.9,
    ("imagenet", "birealnet", "bop"): 56.6,
    ("imagenet", "birealnet", "biased"): 57.2,
}


def published_top1(experiment: str, source: str, network: str, optimizer: str) -> float:
    """The published top-1 accuracy in percent; nan where the papers give none.

    Nor on other images: the published experiments have the names of their data sources.
    """
    return PUBLISHED.get((experiment, network, optimizer), nan) if source == experiment else nan
