"""Pictures of the report and the studio for the READMEs.

In: the bundle of `penchant demo`. Out: docs/images/*.png, in English and Chinese, of at most 200 KB each.

    make pictures        # needs Chromium, a Chinese font and `pip install playwright`
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.studio.pages import add_studio

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH = 1280
SCALE = 1.5
"""Device pixels for one of the page, so that text stays sharp where a README shows the picture smaller."""
MAX_BYTES = 200_000
COLOURS = (256, 128, 64, 32)
"""Tried in turn until a picture is small enough."""
LANGUAGES = ("en", "zh")


def save(raw: bytes, path: Path) -> None:
    """Write a screenshot as PNG with few colours."""
    picture = Image.open(io.BytesIO(raw)).convert("RGB")
    for colours in COLOURS:
        out = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= MAX_BYTES:
            break
    else:
        raise SystemExit(
            f"{path.name} has {out.tell():,} bytes with {COLOURS[-1]} colours: take a smaller part of the page"
        )
    path.write_bytes(out.getvalue())
    print(f"{path.name}: {out.tell() / 1000:.0f} KB, {colours} colours")


@contextmanager
def served(bundle: Path, folder: Path, compare: list[Path]) -> Iterator[str]:
    """Serve a bundle on a free port of this machine, with a store that is thrown away."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = ServiceConfig(bundle=bundle, folder=folder, watch_seconds=60, compare=compare)
    app = create_app(config, add_pages=add_studio)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def report(page: Any, address: str, language: str) -> None:
    """Take the first screen of the report, and the value of each modality."""
    page.goto(f"{address}/studio/report?lang={language}")
    page.set_viewport_size({"width": WIDTH, "height": 1000})
    flow = page.locator("section.pipeline").bounding_box()
    bottom = flow["y"] + flow["height"]
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": bottom}
    save(page.screenshot(clip=clip, full_page=True), IMAGES / f"report-{language}.png")


def studio(page: Any, address: str, user: str, language: str) -> None:
    """Take a user's page after a click on a copy, so that the list shows what moved."""
    page.set_viewport_size({"width": WIDTH, "height": 860})
    page.goto(f"{address}/studio/user?id={user}&lang={language}")
    page.wait_for_selector(".chart[data-ready] svg")
    page.locator("button[value=like]").first.click()
    page.wait_for_selector(".changed")
    page.wait_for_load_state("networkidle")
    page.evaluate("document.activeElement.blur()")
    save(page.screenshot(), IMAGES / f"studio-{language}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--chinese", type=Path, help="the bundle of `penchant demo --language zh`, whose report is Chinese"
    )
    parser.add_argument("--user", default="u0007")
    given = parser.parse_args()
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    IMAGES.mkdir(parents=True, exist_ok=True)
    bundles = {"en": given.bundle, "zh": given.chinese or given.bundle}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for language in LANGUAGES:
            with served(bundles[language], Path(folder) / language, []) as address:
                context = browser.new_context(device_scale_factor=SCALE, reduced_motion="reduce", color_scheme="light")
                page = context.new_page()
                studio(page, address, given.user, language)
                if language == "en" or given.chinese:
                    report(page, address, language)
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
