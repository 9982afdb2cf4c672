"""Install Pango, which WeasyPrint needs, where it is missing and we may; run as a script by ``.ci/run``."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys

PACKAGES = ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0")


def missing() -> bool:
    """Whether a PDF could not be made for want of a library of the system."""
    return not all(map(ctypes.util.find_library, ("pango-1.0", "pangoft2-1.0")))


if __name__ == "__main__":
    if missing() and shutil.which("apt-get") and os.geteuid() == 0:
        print("Installing Pango (once) …", flush=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES], timeout=900, **quiet)
    if missing():
        print(f"Pango is missing, so tests of PDF are skipped: apt-get install {' '.join(PACKAGES)}", file=sys.stderr)
