"""JupyterLab and Chromium for the browser's tests: started, watched, and stopped again."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import expect, sync_playwright

HERE = Path(__file__).resolve().parents[1]
SCREENSHOTS = HERE / "build" / "screenshots"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WINDOW = {"width": 1280, "height": 900}
LEARNERS = "import sys, setup_course; setup_course.lab(sys.executable, sys.argv[1])"
SLOW = 90_000  # milliseconds; what waits that long on a busy machine is not broken
expect.set_options(timeout=SLOW)


@contextmanager
def jupyterlab(command, folder, own):
    """JupyterLab by `command` in `folder`, with its own settings in `own`; its address and its token."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    quiet = {"check_for_updates_class": "jupyterlab.NeverCheckForUpdate", "news_url": None}
    server_app = {"open_browser": False, "ip": "127.0.0.1", "port": port, "port_retries": 0}
    own.mkdir(parents=True, exist_ok=True)
    (own / "jupyter_server_config.json").write_text(
        json.dumps({"ServerApp": server_app, "LabApp": quiet, "IdentityProvider": {"token": "key"}}), "utf-8"
    )
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    settings = os.environ | dict.fromkeys(names, str(own)) | {"PYTHONPATH": str(HERE)}
    address = f"http://127.0.0.1:{port}"
    with (own / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(command, cwd=folder, env=settings, stdout=log, stderr=log)
    try:
        for _ in range(600):
            if server.poll() is not None or _answers(address):
                break
            time.sleep(0.1)
        assert server.poll() is None, (own / "log").read_text("utf-8")
        yield address
    finally:
        if server.poll() is None:
            stop = urllib.request.Request(f"{address}/api/shutdown?token=key", method="POST")
            urllib.request.urlopen(stop).close()
            server.wait(60)


def _answers(address):
    try:
        with urllib.request.urlopen(f"{address}/api") as answer:
            return answer.status == 200
    except (OSError, urllib.error.HTTPError):
        return False


def learners(work, own):
    """JupyterLab on a learner's copies, as `make course` starts it."""
    return jupyterlab([sys.executable, "-c", LEARNERS, str(work)], HERE, own)


def instructors(folder, own):
    """JupyterLab in a class folder, as the instructor starts it there."""
    return jupyterlab([sys.executable, "-m", "jupyterlab", "--allow-root"], folder, own)


@contextmanager
def chromium(executable):
    """The system's Chromium, with no window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()


class Visit:
    """A page in a fresh profile, which notes what its user would complain about.

    That is an error in the console, and a request that leaves this machine: it is stopped, too. `known` are
    patterns of what is no fault of ours.
    """

    def __init__(self, browser, address, known=()):
        self.address, self.known = address, known
        self.complaints = []
        context = browser.new_context(viewport=WINDOW)
        context.set_default_timeout(SLOW)
        context.route(lambda url: not _is_here(url), self._stop)
        self.page = context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self._complain(f"thrown: {error}"))
        self.page.on("websocket", lambda one: _is_here(one.url) or self._complain(f"asked: {one.url}"))

    def _stop(self, route):
        self._complain(f"asked: {route.request.url}")
        route.abort()

    def _heard(self, message):
        if message.type == "error":
            self._complain(f"console: {message.text} ({message.location.get('url', '')})")

    def _complain(self, said):
        if not any(re.search(pattern, said) for pattern in self.known):
            self.complaints.append(said)

    def open(self, path):
        """Go to a path of this JupyterLab."""
        self.page.goto(f"{self.address}/{path}{'&' if '?' in path else '?'}token=key")

    def screenshot(self, name, part=None):
        """What the window shows, or a part of the page, for eyes."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.mouse.move(0, 0)
        (part or self.page).screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    def close(self):
        """Leave; complain about all that was to complain about."""
        self.page.context.close()
        assert self.complaints == []


def _is_here(url):
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about", "file") or parts.hostname == "127.0.0.1"


class Notebook:
    """A notebook of a learner's folder, open in a page of JupyterLab."""

    def __init__(self, visit, work, name):
        self.visit, self.page, self.path = visit, visit.page, work / f"{name}.ipynb"
        visit.open(f"lab/tree/{name}.ipynb?reset")
        self.panel = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.panel.locator(".jp-Cell").first.wait_for()
        self.is_idle()

    def is_idle(self):
        """Wait for the kernel to have nothing to do."""
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle")

    def menu(self, *labels):
        """Choose from the menu bar."""
        bar = self.page.locator(".lm-MenuBar-item", has=self.page.get_by_text(labels[0], exact=True))
        bar.click()
        for label in labels[1:]:
            item = self.page.locator(".lm-Menu-item", has=self.page.get_by_text(label, exact=True))
            item.last.hover()
            last = item.last
        last.click()

    def run_all(self):
        """Run every cell until the last one has ended, or until one fails; the code cells, as saved."""
        self.menu("Run", "Run All Cells")
        return self.saved(lambda cells: all(cell["execution_count"] for cell in cells) or errors(cells))

    def saved(self, is_enough=lambda cells: True):
        """The code cells as JupyterLab saves them, as soon as they are what they should be."""
        end = time.monotonic() + SLOW / 1000
        while time.monotonic() < end:
            self.is_idle()
            self.page.keyboard.press("Control+s")
            self.page.wait_for_timeout(500)
            cells = json.loads(self.path.read_text("utf-8"))["cells"]
            code = [cell for cell in cells if cell["cell_type"] == "code"]
            if is_enough(code):
                return code
        raise AssertionError(f"{self.path.name} is not what it should be after {SLOW / 1000:g} s")

    def theme(self, name):
        """Choose a theme by the settings menu."""
        self.menu("Settings", "Theme", name)
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", name)


def errors(cells):
    """What code cells show that nobody wants to see: errors, and words on stderr."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    return [one for one in outputs if one["output_type"] == "error" or one.get("name") == "stderr"]
