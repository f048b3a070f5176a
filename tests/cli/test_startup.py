"""What a user waits for before the first letter is printed."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numpy", "polars", "scipy", "sklearn", "torch", "fastapi", "penchant.pipelines")


def test_help_imports_no_library_of_the_commands() -> None:
    code = (
        "import sys\nfrom penchant.cli import app\nfrom typer.testing import CliRunner\n"
        "assert 'recommend' in CliRunner().invoke(app, ['--help']).output\n"
        "assert 'FOLDER' in CliRunner().invoke(app, ['recommend', '--help']).output.upper()\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
