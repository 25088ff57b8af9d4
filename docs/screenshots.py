"""Take the documentation's pictures of MLflow's pages again.

    pip install -e '.[docs]'       # and a Chromium on the PATH, as Debian's package chromium
    python docs/screenshots.py     # some minutes: it trains first

In a project of its own, below a temporary folder: two runs and a sweep of two on the bundled
digits, all of them tested, one registered; then `convforge ui`, and a browser that looks at it.
With `--project FOLDER` the project stays there, and is not made again where it is.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
CONVFORGE = (sys.executable, "-m", "convforge")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Without what a browser does besides showing the page.
BROWSER_OPTIONS = (
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = {"width": 1440, "height": 810}
WIDE = {"width": 1920, "height": 810}
# MLflow's pages draw their charts some time after everything else.
SETTLED_MILLISECONDS = 6000
# A machine with other work takes its time.
LONGEST_MILLISECONDS = 180_000
LARGEST_BYTES = 150_000
TRAININGS = (
    ("model=maxout_cnn", "trainer.epochs=8"),
    ("model=lecture_cnn", "trainer.epochs=6"),
    ("-m", "model=prelu_cnn", "optimizer.learning_rate=0.02,0.005", "trainer.epochs=3"),
)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", type=Path, help="keep the project here")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the pictures")
    given = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        parser.error(f"no browser on the PATH: none of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        project = (given.project or Path(folder) / "project").absolute()
        if not project.exists():
            make_project(project)
        with pages(project) as address, opened(browser) as page:
            take_all(page, address, given.out)


def make_project(project: Path) -> None:
    """Runs, a sweep, their tests, and a registered model."""
    shutil.copytree(ROOT / "conf", project / "conf")
    (project / "data").mkdir()
    shutil.copy2(ROOT / "data" / "mnist-5k.zip", project / "data")
    for overrides in TRAININGS:
        run(project, "train", *overrides)
    runs = [path.parent for path in sorted(project.glob("outputs/*/**/model"))]
    for folder in runs:
        run(project, "evaluate", str(folder))
    first = min(project.glob("outputs/train/*"))
    run(project, "register", str(first), "--alias", "champion")


def run(project: Path, *words: str) -> None:
    """A command of convforge's in the project."""
    print("convforge", *words, flush=True)
    subprocess.run([*CONVFORGE, *words], cwd=project, check=True)


@contextmanager
def pages(project: Path) -> Iterator[str]:
    """`convforge ui` in the project; the address that it says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*CONVFORGE, "ui", "--port", str(port)]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[1]
        finally:
            process.terminate()


@contextmanager
def opened(browser: str) -> Iterator[Page]:
    """A page of a browser that knows nothing yet."""
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            profile, executable_path=browser, args=list(BROWSER_OPTIONS), viewport=SIZE
        )
        page = context.pages[0]
        page.set_default_timeout(LONGEST_MILLISECONDS)
        yield page
        context.close()


def take_all(page: Page, address: str, out: Path) -> None:
    """The first look with a sweep's runs, the charts, a run, the models."""
    server, experiment = address.split("/convforge/")
    base = f"{server}/#/experiments/{experiment}"
    page.goto(address)
    page.get_by_role("columnheader", name="test_accuracy").first.wait_for()
    page.locator(".ag-row button").first.click()  # The sweep's runs.
    take(page, out / "mlflow-runs.png")
    page.goto(f"{base}/runs?compareRunsMode=CHART")
    page.get_by_text("loss vs val_loss").first.wait_for()
    take(page, out / "mlflow-charts.png")
    page.goto(f"{base}/runs")
    page.get_by_role("link", name="model=maxout_cnn").first.click()
    page.get_by_text("Show more").first.click()
    take(page, out / "mlflow-run.png")
    # Its columns are MLflow's own, and the figures the last.
    page.set_viewport_size(WIDE)
    page.goto(f"{base}/models")
    page.get_by_role("columnheader", name="Dataset").first.wait_for()
    take(page, out / "mlflow-models.png")


def take(page: Page, path: Path) -> None:
    """The page as it is now, in few enough colours for Git."""
    page.wait_for_timeout(SETTLED_MILLISECONDS)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    assert size <= LARGEST_BYTES, f"{path} has {size:,} bytes"
    print(f"{path}: {size:,} bytes")


if __name__ == "__main__":
    main()
