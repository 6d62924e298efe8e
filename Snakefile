"""The study: what is made from what.

prepare -> train -> evaluate (a record in git) -> analyse (tables, figures) -> notebook -> report

Whether a product is there is all that Snakemake has to see: names hold what decides a run, and
`outdated` brings in what is there but was made from something else. Inputs are `ancient`, so file
times, which git and DVC set as they please, decide nothing.

Any process may be stopped at any moment. `exec` leaves no shell between Snakemake and its jobs, so
that each job ends when Snakemake does (processes.py).
"""

import os
import subprocess
import sys
from pathlib import Path

from snakemake.utils import min_version

from bop2ndorder.study.config import load_study
from bop2ndorder.study.config.codes import unknown_code
from bop2ndorder.study.run.evaluate import RECORD as RECORD_FILES
from bop2ndorder.study.run.record import RUN_FILES
from bop2ndorder.study.workflow.lease import places
from bop2ndorder.study.workflow.processes import (
    CALLER,
    end_with_caller,
    lock_folder,
    stop_at_once,
)
from bop2ndorder.study.workflow.products import OUTDATED, Workflow

min_version("9.27")

if unknown := set(config) - {"scale", "tensorboard"}:
    sys.exit(
        "--config takes scale and tensorboard only, found "
        f"{', '.join(unknown)}: change params.yaml instead"
    )
# A folder for event files: they are watched, not kept, so nothing depends on them.
TENSORBOARD = config.pop("tensorboard", None)
try:
    STUDY, UNKNOWN = load_study("params.yaml", **config), unknown_code()
    WORK = Workflow(STUDY, STUDY.scale)
    # What the targets ask for; the markers stand for what is there but has to be made again.
    TRAINED = [WORK.run(run) / "done.json" for run in WORK.runs] + WORK.damages()
    REPORTED = [WORK.results / ".keys" / "report", *WORK.markers()]
except ValueError as error:
    # A mistake in params.yaml, or what a merge left in a notebook.
    sys.exit(str(error))

# A node of a cluster gets its variables from afar: its caller is not the one they name.
if workflow.is_main_process:
    end_with_caller()
    if UNKNOWN:
        print(UNKNOWN, file=sys.stderr)
os.environ[CALLER] = str(os.getpid())

DATA = WORK.data("{data}")
RUN = WORK.run("{run}")
RECORD = WORK.record("{run}")
EXPERIMENT = WORK.results / "{experiment}"
KEY = WORK.results / ".keys"
LOGS = Path("logs", WORK.scale)
# What the profile says of this machine; in Slurm's it says nothing, and each job has its own cards.
HERE = {name: found.value for name, found in workflow.global_resources.items()}
RUNS_PER_GPU = HERE.get("runs_per_gpu", 1)


def call(words):
    """The shell command of a rule: a call of the command line, which takes the shell's place."""
    return f"exec bop2ndorder --scale {WORK.scale} {words}"


onstart:
    # Of a cluster, Snakemake has jobs to cancel first.
    if workflow.local_exec:
        stop_at_once()
    try:
        lock_folder("snakemake")
    except BlockingIOError as error:
        sys.exit(str(error))


onerror:
    # A failed run hides nothing: the report shows what is there, and what is missing and why.
    subprocess.run(["bop2ndorder", "--scale", WORK.scale, "salvage"])


wildcard_constraints:
    run=r"[a-z0-9][a-z0-9.-]*",
    data=r"[a-z0-9][a-z0-9-]*",
    experiment="[a-z][a-z0-9_]*",
    product="[a-z0-9][a-z0-9._-]*",


localrules:
    all,
    prepare_all,
    train_all,
    outdated,
    evaluate,
    analyse,
    notebook,
    metrics,
    claims,
    page,
    report,


rule all:
    default_target: True
    input:
        TRAINED,
        REPORTED,


rule prepare_all:
    input:
        sorted({str(WORK.data(run.data) / "done.json") for run in WORK.runs.values()}),


rule train_all:
    input:
        TRAINED,


rule report:
    input:
        REPORTED,


rule outdated:
    output:
        touch(OUTDATED / "{product}"),


rule prepare:
    output:
        DATA / "done.json",
    log:
        LOGS / "prepare" / "{data}.log",
    shell:
        call("prepare {wildcards.data} 2> {log:q}")


rule train:
    input:
        ancient(lambda w: WORK.data_for(w.run)),
        lambda w: WORK.damaged(w.run),
    output:
        [RUN / name for name in (*RUN_FILES, "done.json")],
    log:
        WORK.log("{run}"),
    benchmark:
        WORK.log("{run}").with_suffix(".tsv")
    # So that it is GPUs, not cores, that say how many runs there are at once.
    threads: lambda w: WORK.cores(w.run, gpus=HERE.get("gpu", 0))
    resources:
        gpu=lambda w: places(WORK.runs[w.run].settings.gpus, RUNS_PER_GPU),
    params:
        checkpoint_seconds=lambda w, resources: resources.get("checkpoint_seconds", 0),
        runs_per_gpu=RUNS_PER_GPU,
        tensorboard=["--tensorboard", TENSORBOARD] if TENSORBOARD else [],
    shell:
        call(
            "train {wildcards.run} --checkpoint-every {params.checkpoint_seconds} "
            "--runs-per-gpu {params.runs_per_gpu} {params.tensorboard:q} 2> {log:q}"
        )


rule evaluate:
    input:
        ancient(RUN / "done.json"),
        lambda w: WORK.unrecorded(w.run),
    output:
        # `update`: a record that says the same is left as it is.
        update([RECORD / name for name in RECORD_FILES]),
    log:
        LOGS / "evaluate" / "{run}.log",
    # Before more runs are trained: what is done then has its record, wherever it ends.
    priority: 1
    shell:
        call("evaluate {wildcards.run} > {log:q} 2>&1")


rule analyse:
    input:
        ancient(lambda w: WORK.records(w.experiment)),
        lambda w: WORK.outdated(f"analysis-{w.experiment}"),
    output:
        KEY / "analysis-{experiment}",
        EXPERIMENT / "exhibits.json",
    log:
        LOGS / "analyse" / "{experiment}.log",
    shell:
        call("analyse {wildcards.experiment} 2> {log:q}")


rule notebook:
    input:
        ancient(KEY / "analysis-{experiment}"),
        lambda w: WORK.outdated(f"notebook-{w.experiment}"),
    output:
        KEY / "notebook-{experiment}",
        EXPERIMENT / "notebook.ipynb",
        EXPERIMENT / "notebook.html",
    log:
        LOGS / "notebook" / "{experiment}.log",
    shell:
        call("notebook {wildcards.experiment} 2> {log:q}")


rule metrics:
    input:
        ancient(WORK.records()),
        WORK.outdated("metrics"),
    output:
        KEY / "metrics",
        WORK.results / "metrics.json",
        WORK.results / "metrics_all.json",
        WORK.results / "plots" / "accuracy.csv",
        WORK.results / "plots" / "convergence.csv",
    log:
        LOGS / "metrics.log",
    shell:
        call("metrics 2> {log:q}")


rule claims:
    input:
        ancient(WORK.records()),
        WORK.outdated("claims"),
    output:
        KEY / "claims",
        WORK.results / "claims.csv",
    log:
        LOGS / "claims.log",
    shell:
        call("claims 2> {log:q}")


rule page:
    input:
        ancient(KEY / "metrics"),
        ancient(KEY / "claims"),
        ancient([KEY / f"analysis-{experiment}" for experiment in WORK.experiments]),
        ancient([KEY / f"notebook-{experiment}" for experiment in WORK.experiments]),
        WORK.outdated("report"),
    output:
        KEY / "report",
        WORK.results / "report.html",
    log:
        LOGS / "page.log",
    shell:
        call("report 2> {log:q}")
