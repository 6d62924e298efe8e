"""A Chromium for the tests of this folder."""

import chromium
import pytest


@pytest.fixture(scope="module")
def browser():
    if chromium.PROGRAM is None:
        pytest.skip("there is no Chromium here: `apt-get install chromium`")
    with chromium.Browser() as running:
        yield running
