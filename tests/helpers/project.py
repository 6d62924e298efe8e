"""A small copy of the project in a folder of its own, with real git, Snakemake and DVC."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
from studies import ROOT, cut_down, keep, read, write

from bop2ndorder.study.numerics import PINS

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "test"), ("EMAIL", "test@example.org"))
}


class Project:
    """A copy of the project's tracked files and what the tools make of them.

    Attributes:
        folder: where it is.
        output: what the last command printed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.output = ""

    @classmethod
    def of_this_project(cls, folder: Path) -> "Project":
        """Copy the files that git does not ignore here, as they are, into a new repository."""
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.check_output(listing, cwd=ROOT, text=True)
        for name in listed.rstrip("\0").split("\0"):
            if (ROOT / name).exists() and not name.startswith(("results/", "dvc.lock", "tests/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        project = cls(folder)
        project.git("init", "-q", "-b", "main")
        return project

    def copy(self, folder: Path) -> "Project":
        """The same, in another folder, with all that git and DVC do not know."""
        return Project(shutil.copytree(self.folder, folder, symlinks=True))

    def clone(self, folder: Path) -> "Project":
        """What `git clone` gives."""
        subprocess.run(["git", "clone", "-q", self.folder, folder], check=True, env=self._env())
        return Project(folder)

    def call(self, *command: str, fails: bool = False) -> str:
        """Run a command in the folder; what it printed."""
        done = subprocess.run(
            command, cwd=self.folder, env=self._env(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.output = done.stdout
        assert (done.returncode != 0) == fails, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen:
        """Start a command in a process group of its own; it prints to the file `output`."""
        with (self.folder.parent / f"{self.folder.name}.output").open("w") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=self._env(), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        """All processes that work in the folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()).is_relative_to(self.folder):
                    found.append(process)
        return found

    def git(self, *arguments: str) -> str:
        return self.call("git", *arguments)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def dvc(self, *arguments: str) -> Counter:
        """Run DVC; how often each rule ran within it."""
        return _rules(self.call("dvc", *arguments))

    def snakemake(self, *arguments: str, fails: bool = False) -> Counter:
        """Run Snakemake; how often each rule ran, or with `-n` would."""
        return _rules(self.call("snakemake", *arguments, fails=fails))

    def trained(self) -> list[str]:
        """Ids of the runs that the last command trained, or would."""
        return re.findall(
            r"^(?:local)?rule train:\n(?: .*\n)*? +wildcards: run=(\S+)", self.output, re.M
        )

    def runs(self, scale: str = "quick") -> list[str]:
        """Ids of the runs that have a folder."""
        folder = self.folder / "runs" / scale
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def run_of(self, part: str) -> str:
        """The one run whose id holds a text."""
        (run,) = (run for run in self.runs() if part in run)
        return run

    def add_remote(self, folder: Path) -> None:
        """Name DVC's remote in the file that git does not track, as each user does."""
        self.dvc("remote", "add", "--local", "--default", "storage", str(folder))

    def is_current(self) -> bool:
        """Whether neither Snakemake nor DVC finds anything to do."""
        nothing = not self.snakemake("-n") and "Nothing to be done" in self.output
        return nothing and "Data and pipelines are up to date." in self.call("dvc", "status")

    def change(self, change) -> None:
        """Apply a function to the study in params.yaml."""
        study = read(self.folder)
        change(study)
        write(study, self.folder)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text, (name, old)
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def keep_every_epoch(self) -> None:
        """Let runs, which train for seconds here, write a checkpoint after each epoch."""
        for name in ("default", "slurm"):
            profile = f"profiles/{name}/config.yaml"
            self.edit(profile, "checkpoint_seconds: 60", "checkpoint_seconds: 0")

    def files(self, pattern: str) -> dict[str, bytes]:
        """Path -> content of all files that fit a pattern."""
        found = sorted(path for path in self.folder.glob(pattern) if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}

    def _env(self) -> dict[str, str]:
        """This Python's tools, the copy's code, no configuration of the user's or an outer make."""
        return {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith("MAKE") and not any(name in pins for pins in PINS.values())
            },
            **IDENTITY,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "src"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "DVC_NO_ANALYTICS": "1",
            "DVC_GLOBAL_CONFIG_DIR": str(self.folder.parent / "dvc-global"),
            "DVC_SITE_CACHE_DIR": str(self.folder.parent / "dvc-site"),
        }


def four_runs() -> dict:
    """Two experiments that share a run: normalization with two, cifar10 with three."""
    study = keep(cut_down(), "normalization", "cifar10")
    normalization = study["experiments"]["normalization"]
    normalization["grid"] = {"optimizer.bias_correction": ["none", "constant"]}
    cifar10 = study["experiments"]["cifar10"]
    cifar10["set"] = {**normalization["set"], "train_on": "train"}
    point = normalization["set"]["optimizer"]
    cifar10["arms"] = {
        "bop": {
            "set": {"optimizer": {"name": "bop", "threshold": 1.0e-8}},
            "grid": {"optimizer.gamma": [1.0e-4]},
        },
        "biased": {"set": {"optimizer": {**point, "bias_correction": "none"}}},
        "adam": {"set": {"optimizer": {**point, "bias_correction": "adam"}}},
    }
    cifar10["seeds"] = [0]
    compared = {"experiment": "cifar10", "measure": "accuracy", "planned": 2}
    primary = {"biased": {**compared, "of": {"arm": ["biased"]}, "against": {"arm": ["bop"]}}}
    claim = {"claim": "It is better.", "criterion": "It is more accurate.", "primary": primary}
    study["claims"]["statements"] = {"C1": claim}
    for scale in ("quick", "small"):
        sizes = study["scales"][scale]["experiments"]["cifar10"]
        study["scales"][scale]["experiments"]["cifar10"] = {"set": sizes["set"]}
    # A second scale that needs no download either.
    study["scales"]["small"] = study["scales"]["quick"]
    return study


def _rules(output: str) -> Counter:
    return Counter(re.findall(r"^(?:local)?rule (\w+):$", output, re.M))
