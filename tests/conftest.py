"""Fixtures that several files share, and the summary of what `deviation` measured."""

import os

import pytest

# Before torch is imported: small tensors gain nothing from threads, and on a busy machine two
# threads that wait for each other take ten times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def deviation(request):
    """deviation(case, measured, limit): assert measured <= limit and report it in the summary."""

    def check(case: str, measured: float, limit: float) -> None:
        measured = float(measured)
        request.node.user_properties.append(("deviation", (case, measured, limit)))
        assert measured <= limit, f"{case}: deviation {measured:.3g} exceeds {limit:.3g}"

    return check


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The digits that the runs of `tiny` are trained on, prepared once."""
    from tiny import DATA

    from bop2ndorder.data import open_data, prepare

    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare(DATA, folder, progress=False)
    return open_data(folder)


def pytest_terminal_summary(terminalreporter):
    reports = [r for outcome in ("passed", "failed") for r in terminalreporter.getreports(outcome)]
    largest: dict[str, tuple[float, float]] = {}
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == "deviation":
                case, measured, limit = value
                if case not in largest or not measured <= largest[case][0]:
                    largest[case] = (measured, limit)
    if largest:
        terminalreporter.section("largest deviation per case")
        width = max(map(len, largest))
        for case, (measured, limit) in sorted(largest.items()):
            mark = "" if measured <= limit else "  EXCEEDED"
            terminalreporter.write_line(f"{case:{width}}  {measured:9.2e}  of {limit:7.1e}{mark}")
