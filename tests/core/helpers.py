"""What tests of this layer share."""

import subprocess
import sys


def python(code, **environment):
    import os

    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**kept, **environment}, timeout=600
    )
