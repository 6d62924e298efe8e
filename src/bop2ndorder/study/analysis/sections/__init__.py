"""How each experiment is shown, and by which module of this folder."""

import importlib
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Section:
    """How an experiment is shown.

    Attributes:
        title: says {} where the images are to be named.
        asks: the question.
        module: the module of this folder that shows it.
    """

    title: str
    asks: str
    module: str

    def load(self) -> ModuleType:
        """The module; loaded here, since it takes a second.

        It has exhibits(records); headline(records), numbers for `dvc metrics`; and
        finding(records), what a person would say was found, as paragraphs: the first, of one to
        three sentences, is what to take along; none where the records do not say.
        """
        return importlib.import_module(f".{self.module}", __name__)


# In the order of the report.
SECTIONS = {
    "cifar10": Section(
        "BinaryNet on {}",
        "Which accuracy does each optimizer reach, and how soon? (Section 5.2 of the paper.)",
        "comparison",
    ),
    "imagenet": Section(
        "XNOR-Net and Bi-Real Net on {}",
        "The same with networks whose first and last layers are real-valued. (Section 5.3.)",
        "comparison",
    ),
    "mechanism": Section(
        "Mechanism",
        "What does each published rule do to the weights: does its threshold hold them back, how "
        "many, and for how long? (Beyond the paper.)",
        "mechanism",
    ),
    "rules": Section(
        "Rules and schedules apart",
        "How much of the difference between Bop and Bop2ndOrder is the rule, and how much the "
        "schedules that the paper gives it? (Beyond the paper.)",
        "rules",
    ),
    "grid": Section(
        "A fair grid",
        "How much does accuracy depend on gamma and threshold where thresholds mean the same to "
        "both rules? (Beyond the paper.)",
        "grid",
    ),
    "length": Section(
        "Length of training",
        "Does the difference between Bop and Bop2ndOrder depend on how many epochs the published "
        "schedules are compressed to? (Beyond the paper.)",
        "length",
    ),
    "hyperparameters": Section(
        "Hyperparameters",
        "How much does accuracy depend on gamma, sigma and threshold? (Sections 5.1.2, 5.1.3.)",
        "hyperparameters",
    ),
    "schedules": Section(
        "Schedules",
        "What does it change to let a hyperparameter decay during training? (Section 5.1.4.)",
        "schedules",
    ),
    "normalization": Section(
        "Normalization",
        "Batch or layer normalization, with and without bias correction? (Section 5.1.1.)",
        "normalization",
    ),
    "noise_floor": Section(
        "Noise floor",
        "Of gradients that are noise alone, m / sqrt(v) has the standard deviation sqrt(gamma / "
        "(2 - gamma)), the noise floor. Is threshold / noise floor what counts, and is a threshold "
        "at that height of use? (Beyond the paper.)",
        "noise_floor",
    ),
}

# The experiments of the final comparison, whose table leads the README and whose networks are
# shipped with the repository.
HEADLINE = ("cifar10", "imagenet")


def section_of(name: str) -> Section:
    """The experiment of that name; one that the paper does not have is a plain comparison."""
    title = name.replace("_", " ").capitalize()
    return SECTIONS.get(name) or Section(title, "", "comparison")
