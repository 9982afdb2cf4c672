"""The browser that the tests share, and the site as `make docs` builds it."""

import os
import subprocess
import sys
from pathlib import Path

import chromium
import pytest

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "browser"


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[browser]'")
    options = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium.find(), headless=True, args=options.split())
        yield started
        started.close()


@pytest.fixture(scope="session")
def site():
    """The folder of the site; what `make docs` left is brought up to date, which is quick where nothing changed."""
    pytest.importorskip("myst_nb", reason="Sphinx is not installed (make docs)")
    out = ROOT / "build" / "docs"
    words = ["-q", "-W", "--keep-going", "-c", "docs", "-d", str(ROOT / "build" / "doctrees"), ".", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "sphinx", *words], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return out
