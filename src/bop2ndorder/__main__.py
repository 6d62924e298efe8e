"""The command `bop2ndorder`, also as `python -m bop2ndorder`, wherever the package lies.

The library comes without what the study needs; the command, which is all study, says so then.
"""

import sys


def main() -> None:
    try:
        from .study.cli import main as command
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit(
            "The command bop2ndorder runs the study, but here is the library alone: "
            'pip install "bop2ndorder[study]" brings what it needs.'
        )
    command(prog_name="bop2ndorder")


if __name__ == "__main__":
    main()
