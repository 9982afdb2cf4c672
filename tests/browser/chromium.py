"""Find a Chromium for the browser tests, or install one; run as a script, it says in one line what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """The executable: ``$CHROMIUM``, one on the path, or the one that Playwright downloaded."""
    named = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if named:
        return named
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if os.path.exists(own) else None


def install() -> None:
    """By the system's packages where we may, else Playwright's own build."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "chromium"], timeout=900, **quiet)
    if find() is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], timeout=900, **quiet)


if __name__ == "__main__":
    try:
        import playwright  # noqa: F401
    except ImportError:
        sys.exit("test-browser: Playwright is missing and could not be installed: pip install '.[browser]'")
    if find() is None:
        print("Installing Chromium (once) …", flush=True)
        install()
    where = find()
    if where is None:
        sys.exit(
            "test-browser: Chromium is missing and could not be installed: apt-get install chromium, or CHROMIUM=…"
        )
    print(f"Browser: {where}")
