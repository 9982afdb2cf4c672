"""Every explorer in a real JupyterLab, moved by a real keyboard or mouse: `make test-browser`.

Each test opens a small notebook, runs it, moves controls, and waits for other pixels and other words. Then the notebook
is saved with its widget state, which must hold no error. Screenshots are kept in ``build/browser/``.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import chromium
import nbformat
import pytest
from conftest import SHOTS

from rdd_nb.experiments.notebook import WIDGETS, problems

pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[browser]'")
CHROMIUM = chromium.find()
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

ROOT = Path(__file__).parents[2]
WAIT = 60_000  # milliseconds; a busy machine is slow, not broken

DATA = """\
import torch, rdd_nb as rdd
from rdd_nb.course import widgets
torch.set_num_threads(1)
data = rdd.scenario(rdd.load("fashion-mnist-sample"), "coloured", seed=0)
train, test = data.train.sample(60, 0), data.test.sample(30, 0)
"""
SCORES = """\
from rdd_nb.distillation.initialization import initial_state
from rdd_nb.models.protocol import Protocol
from rdd_nb.data.synthetic_set import SyntheticSet
def pick(seed):
    images = initial_state(train, rdd.DistillConfig(ipc=10, init="real", seed=seed)).images
    labels = torch.arange(10).repeat_interleave(10)
    return SyntheticSet(images, labels, train.class_names, train.mean, train.std, 10)
sets = {"first": pick(0), "second": pick(1)}
protocol = Protocol(steps=40, width=8)
scores = {name: rdd.evaluate(s, test, nets=2, protocol=protocol, device="cpu") for name, s in sets.items()}
"""
TAIL = """\
import torch
from rdd_nb.course import widgets
losses = torch.empty(400).exponential_(generator=torch.Generator().manual_seed(0))
explorer = widgets.TailExplorer(losses, tail=0.2, groups=["rare" if x > 2 else "common" for x in losses.tolist()])
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of our own: its folder, its address and its token."""
    root = tmp_path_factory.mktemp("lab")
    settings = {
        "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
    }
    for name, values in settings.items():
        path = root / ".settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(root / ".config"),
        "JUPYTERLAB_SETTINGS_DIR": str(root / ".settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(root / ".workspaces"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "OMP_NUM_THREADS": "1",
    }
    options = (
        f"--no-browser --allow-root --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0 "
        f"--IdentityProvider.token={token} --LabApp.expose_app_in_browser=True "
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"
    )
    log = root / "server.log"
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "jupyter", "lab", *options.split(), f"--ServerApp.root_dir={root}"]
        server = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment, cwd=root)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=2).close()
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
        else:
            pytest.fail(f"JupyterLab did not answer: {log.read_text()[-2000:]}")
        yield root, address, token
    finally:
        server.terminate()
        server.wait(30)


class Notebook:
    """One notebook in one page."""

    def __init__(self, lab, browser, name, code):
        root, address, token = lab
        self.name, self.path = name, root / f"{name}.ipynb"
        cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("explorer.panel()")]
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.path)
        self.page = browser.new_page(viewport={"width": 1280, "height": 1150})
        self.page.goto(f"{address}/lab/tree/{self.path.name}?token={token}&reset", timeout=WAIT)
        self.page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.context", timeout=WAIT)
        # Asked for before the kernel is there, "run all" does nothing.
        ran = self.page.evaluate(
            """async () => { const app = window.jupyterapp; await app.restored; const p = app.shell.currentWidget;
            await p.context.ready; await p.sessionContext.ready; await p.sessionContext.session.kernel.info;
            await app.commands.execute('application:toggle-left-area').catch(() => null);
            return await app.commands.execute('notebook:run-all-cells'); }"""
        )
        assert ran is not False, self.page.locator(".jp-Notebook").inner_text()
        self.image = self.page.locator("img.widget-image")
        self.image.wait_for(timeout=WAIT)

    def pixels(self):
        """A digest of the picture as the browser holds it."""
        return self.page.evaluate(
            """async () => { const answer = await fetch(document.querySelector('img.widget-image').src);
            const data = await answer.arrayBuffer();
            let h = 0n; for (const b of new Uint8Array(data)) h = (h * 31n + BigInt(b)) & 0xffffffffffffn;
            return h.toString(); }"""
        )

    @property
    def caption(self):
        return self.page.locator("p[role=status], p.rdd-error").inner_text()

    @contextlib.contextmanager
    def changes(self, says=None):
        """Inside, a control is moved; on leaving, the picture and the caption must become others."""
        pixels, caption = self.pixels(), self.caption
        yield
        until = time.monotonic() + WAIT / 1000
        while time.monotonic() < until:
            if self.pixels() != pixels and self.caption != caption and (says or "") in self.caption:
                return
            time.sleep(0.1)
        self.shot("failed")
        pytest.fail(f"nothing changed, or not to {says!r}; the caption says: {self.caption}")

    def control(self, description):
        """The box of the control that is called so."""
        return self.page.locator(f"label.widget-label:text-is('{description}')").locator("xpath=..")

    def press(self, description, key):
        """Move a control by the keyboard alone."""
        self.control(description).locator(".noUi-handle, input").first.focus()
        self.page.keyboard.press(key)

    def button(self, name):
        return self.page.locator("button").filter(has_text=re.compile(f"^\\s*{re.escape(name)}\\s*$"))

    def push(self, name):
        """Push a button by the keyboard alone."""
        self.button(name).focus()
        self.page.keyboard.press("Enter")

    def shot(self, what):
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.image.scroll_into_view_if_needed()
        self.page.screenshot(path=str(SHOTS / f"{self.name}_{what}.png"))

    def save(self):
        """Save with the widget state; what is wrong in it."""
        self.page.evaluate("async () => await window.jupyterapp.commands.execute('docmanager:save')")
        notebook = nbformat.read(self.path, as_version=4)
        models = [m["model_name"] for m in notebook.metadata.get("widgets", {}).get(WIDGETS, {})["state"].values()]
        assert {"ImageModel", "OutputModel"} <= set(models), "the state was saved, so the scan means something"
        return problems(self.path)

    def close(self):
        self.page.evaluate("async () => await window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()


@pytest.fixture
def open_notebook(lab, browser):
    opened = []

    def start(name, code):
        opened.append(Notebook(lab, browser, name, code))
        return opened[-1]

    yield start
    for notebook in opened:
        notebook.close()


def is_whole(notebook):
    """The picture is drawn at its size, inside the page, and the words stand below it."""
    picture = notebook.image.bounding_box()
    words = notebook.page.locator("p[role=status]").bounding_box()
    assert picture["width"] > 600 and picture["height"] > 250
    assert words["y"] >= picture["y"] + picture["height"] - 1
    assert picture["x"] + picture["width"] <= 1280
    assert notebook.page.locator(".rdd-error").count() == 0
    notebook.shot("after")
    assert notebook.save() == []


def test_tail(open_notebook):
    notebook = open_notebook("tail", TAIL)
    assert notebook.caption.startswith("The worst 20% of 400 losses")
    with notebook.changes("The worst 21%"):
        notebook.press("tail", "ArrowRight")
    with notebook.changes("The worst 100%"):
        notebook.press("tail", "End")
    with notebook.changes("The worst 95%"):
        notebook.press("tail", "PageDown")
    is_whole(notebook)


def test_clusters(open_notebook):
    code = DATA + "explorer = widgets.ClusterExplorer(train, spaces=('style', 'pixels', 'probabilities'))"
    notebook = open_notebook("clusters", code)
    with notebook.changes("'pixels'"):
        notebook.push("pixels")
    with notebook.changes("5 groups"):
        notebook.press("groups", "ArrowRight")
    with notebook.changes("trouser"):
        notebook.press("class", "ArrowRight")
    with notebook.changes("Cluster 2"):
        notebook.press("cluster", "ArrowUp")
        notebook.page.keyboard.press("Enter")
    with notebook.changes("'probabilities'"):
        notebook.button("probabilities").click()
    is_whole(notebook)


def test_cockpit(open_notebook):
    config = "rdd.DistillConfig(objective='erm', ipc=5, iterations=250, width=8, batch_real=16)"
    notebook = open_notebook("cockpit", DATA + f"explorer = widgets.DistillationCockpit(train, {config}, device='cpu')")
    assert notebook.caption.startswith("Ready")
    assert notebook.button("Stop").is_disabled() and notebook.button("Resume").is_disabled()
    with notebook.changes("Running: iteration"):
        notebook.button("Run").click()
    with notebook.changes("Stopped: iteration"):
        notebook.button("Stop").click()
    notebook.shot("stopped")
    done = notebook.caption
    time.sleep(1)
    assert notebook.caption == done, "it does stop"
    with notebook.changes("Done: iteration 250 of 250"):
        notebook.button("Resume").focus()
        notebook.page.keyboard.press("Enter")
    is_whole(notebook)


def test_subgroups(open_notebook):
    notebook = open_notebook("subgroups", DATA + SCORES + "explorer = widgets.SubgroupExplorer(scores, test)")
    assert notebook.caption.startswith("off-colour")
    with notebook.changes("on-colour"):
        notebook.control("group").locator("option", has_text="on-colour").click()
    with notebook.changes("off-colour"):
        notebook.press("place", "ArrowLeft")
    with notebook.changes("Accuracy: second"):
        notebook.push("first")
    with notebook.changes("Accuracy: second"):
        notebook.push("group")
    with notebook.changes("nats"):
        notebook.push("CVaR of the loss")
    with notebook.changes("11%"):
        notebook.press("tail", "ArrowRight")
    is_whole(notebook)


def test_compare(open_notebook):
    runs = "{name: (sets[name], scores[name]) for name in sets}"
    notebook = open_notebook("compare", DATA + SCORES + f"explorer = widgets.RunComparer({runs})")
    assert notebook.caption.startswith("second against first")
    with notebook.changes("first against second"):
        notebook.button("Swap").click()
    with notebook.changes("by class"):
        notebook.push("class")
    is_whole(notebook)


def test_a_broken_explorer_says_so(open_notebook):
    """The scan can fail: an error that only the browser met is shown, and found in what it leaves."""
    broken = TAIL + "explorer.compute = lambda tail: 1 / 0"
    notebook = open_notebook("broken", broken)
    notebook.press("tail", "ArrowRight")
    notebook.page.locator("p.rdd-error").wait_for(timeout=WAIT)
    assert notebook.caption == "This did not work: ZeroDivisionError: division by zero"
    notebook.shot("after")
    assert notebook.save() == ["a widget raised ZeroDivisionError: ZeroDivisionError: division by zero"]
