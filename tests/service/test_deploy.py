"""What the image and the compose file start is what the command line takes, and nobody is root."""

from __future__ import annotations

import json
import re
from pathlib import Path

import typer.main
import yaml

from penchant.cli import app

DEPLOY = Path(__file__).parents[2] / "deploy"
OPTIONS = {
    option
    for parameter in typer.main.get_command(app).commands["serve"].params  # type: ignore[attr-defined]
    for option in (*parameter.opts, *parameter.secondary_opts)
}


def test_image_starts_the_service_as_somebody_without_rights():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    entry, command = (json.loads(found) for found in re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", text, re.MULTILINE))
    assert entry == ["penchant"]
    assert command[0] == "serve"
    assert {part for part in command if part.startswith("--")} <= OPTIONS
    assert text.rindex("USER penchant") > text.rindex("FROM")
    assert "/healthz" in text[text.index("HEALTHCHECK") :]


def test_image_names_no_index_and_installs_locked_versions():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "://" not in re.sub(r"http://127\.0\.0\.1\S*", "", text)
    assert "--constraint constraints.txt" in text


def test_every_locked_package_has_hashes():
    lines = (DEPLOY.parent / "requirements" / "lock.txt").read_text(encoding="utf-8").splitlines()
    packages = [n for n, line in enumerate(lines) if not line.startswith(" ")]
    assert len(packages) > 150
    assert all(lines[n].endswith("\\") and lines[n + 1].strip().startswith("--hash=sha256:") for n in packages)


def test_compose_file_starts_what_there_is():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    command, *rest = services["service"]["command"]
    assert command == "serve"
    assert {part.partition("=")[0] for part in rest if part.startswith("--")} <= OPTIONS
    assert all(port.startswith("127.0.0.1:") for one in services.values() for port in one.get("ports", ()))
    assert "POSTGRES_PASSWORD:?" in services["store"]["environment"]["POSTGRES_PASSWORD"]
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    hosts = {target.partition(":")[0] for job in scraped for one in job["static_configs"] for target in one["targets"]}
    assert hosts <= services.keys()
