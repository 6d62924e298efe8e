"""Records of a trained study, altered, and what `bop2ndorder verify` says of them."""

import json

from click.testing import CliRunner
from commands import workflow

from bop2ndorder.study.cli import main

ALL_SAME = "2 of 2 records reproduced bit for bit"


def change(path, **changes):
    """Change fields of a JSON file; those of mappings in it one by one."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(content))


def record(run, name="provenance.json"):
    return workflow().record(run) / name


def verified(*arguments, code=0):
    """What verify prints, and that it ends with this code."""
    result = CliRunner().invoke(main, ["verify", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output
