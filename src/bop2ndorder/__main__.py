"""`python -m bop2ndorder`: the command line, at every commit and wherever the package lies."""

from .study.cli import main

main(prog_name="bop2ndorder")
