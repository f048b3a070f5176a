"""Every peer and Penchant on the same split, scored by the same code.

In: a data set, a protocol, a seed. Out: a section of `benchmarks/RESULTS.md`, and `scores.json` beside the lists.

    python benchmarks/leaderboard.py --set ml1m --protocol last_out --seed 0 --minutes 10

Each peer runs alone, one after the other, in `.venv-peers`; what is finished is not run again unless `--again` names it.
Every row gets one thread, and times and limits are CPU time, so that other load on the machine favours no row.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import leaderboard_report
from leaderboard_report import OURS
from leaderboard_split import PROTOCOLS, SETS, own_config, prepare
from penchant.core.errors import PenchantError

HERE = Path(__file__).resolve().parent
RUNS = Path("runs/leaderboard")
PEER_PYTHON = Path(".venv-peers/bin/python")


@dataclass(frozen=True)
class Peer:
    """One row.

    Attributes:
        title: What the table calls it.
        script: In `benchmarks/peers`.
        model: Name within the script.
        is_slow: Left out by `--quick`.
    """

    title: str
    script: str
    model: str
    is_slow: bool = False


PEERS = {
    "popularity": Peer("Popularity", "simple_models.py", "popularity"),
    "recency_popularity": Peer("Recency popularity", "simple_models.py", "recency_popularity"),
    "content_knn": Peer("Content kNN", "simple_models.py", "content_knn"),
    "implicit_knn_cosine": Peer("implicit ItemKNN cosine", "implicit_models.py", "item_knn_cosine"),
    "implicit_knn_bm25": Peer("implicit ItemKNN BM25", "implicit_models.py", "item_knn_bm25"),
    "implicit_als": Peer("implicit ALS", "implicit_models.py", "als"),
    "implicit_bpr": Peer("implicit BPR", "implicit_models.py", "bpr"),
    "rectools_ease": Peer("RecTools EASE, as shipped", "rectools_models.py", "ease_as_shipped"),
    "rectools_ease_mended": Peer("RecTools EASE, weights turned", "rectools_models.py", "ease_mended"),
    "lenskit_als": Peer("LensKit ALS", "lenskit_models.py", "als"),
    "lenskit_knn": Peer("LensKit ItemKNN", "lenskit_models.py", "item_knn"),
    "rectools_sasrec_64": Peer("RecTools SASRec softmax, 64", "rectools_models.py", "sasrec_64", True),
    "rectools_sasrec_128": Peer("RecTools SASRec softmax, 128", "rectools_models.py", "sasrec_128", True),
    "rectools_sasrec_256": Peer("RecTools SASRec softmax, 256", "rectools_models.py", "sasrec_256", True),
    "cornac_vbpr": Peer("Cornac VBPR", "cornac_models.py", "vbpr", True),
    "cornac_dmrl": Peer("Cornac DMRL", "cornac_models.py", "dmrl", True),
    "recbole_lightgcn": Peer("RecBole LightGCN", "recbole_models.py", "lightgcn", True),
    "recbole_sasrec": Peer("RecBole SASRec", "recbole_models.py", "sasrec", True),
}


def main() -> None:
    given = _arguments()
    name = f"{given.set}-{given.protocol}-{given.seed}" + (f"-users{given.max_users}" if given.max_users else "")
    folder = RUNS / name
    try:
        prepare(given.set, given.protocol, given.seed, folder, max_users=given.max_users, content=not given.no_content)
    except PenchantError as error:
        sys.exit(str(error))
    ours, titles = _ours(given), {key: peer.title for key, peer in PEERS.items()}
    for key, (title, command) in ours.items():
        titles[key] = title
        if given.ours is None or key in given.ours:
            _run(key, command, folder, given)
    all_peers = [key for key, peer in PEERS.items() if not (given.quick and peer.is_slow)]
    for key in all_peers if given.peers is None else given.peers:
        peer = PEERS[key]
        python = Path(given.python) if given.python else PEER_PYTHON
        _run(key, [str(python), str(HERE / "peers" / peer.script), peer.model], folder, given)
    leaderboard_report.write(folder, titles, given.results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--set", choices=sorted(SETS), default="ml1m")
    add("--protocol", choices=PROTOCOLS, default="last_out")
    add("--seed", type=int, default=0, help="of ties, cold items and models")
    add("--minutes", type=float, default=0.0, help="limit of each fit in CPU minutes, 0 for none")
    add("--peers", nargs="*", choices=sorted(PEERS), help="only these; none named runs all, an empty list only ours")
    add("--quick", action="store_true", help="leave the slow networks out")
    add("--again", nargs="*", default=[], help="run these rows again, though they are finished")
    add("--config", action="append", default=[], type=Path, help="a TOML whose members make another row of ours")
    add("--ours", nargs="*", help="only these rows of ours, by their folder's name; an empty list runs peers only")
    add("--no-content", action="store_true", help="encode no content: ids only")
    add("--max-users", type=int, help="so many users only, for a trial")
    add("--python", help=f"of the peers, {PEER_PYTHON} by default")
    add("--results", type=Path, default=HERE / "RESULTS.md", help="Markdown to write the section into")
    return parser.parse_args()


def _ours(given: argparse.Namespace) -> dict[str, tuple[str, list[str]]]:
    """Return title and command of each row of ours: the set's own TOML, the default members, and each TOML given."""
    own = own_config(given.set, given.protocol)
    paths = {OURS: own, f"{OURS}_default": None} if own else {OURS: None}
    paths |= {f"{OURS}_{path.stem}": path for path in given.config}
    command = [sys.executable, str(HERE / "peers" / "penchant_models.py"), "default"]
    return {
        key: (f"Penchant, {path.name}", [*command, "--config", str(path)])
        if path
        else ("Penchant, default members", command)
        for key, path in paths.items()
    }


def _run(key: str, command: list[str], folder: Path, given: argparse.Namespace) -> None:
    """Run one row unless it is finished; a row that fails keeps its reason."""
    out = folder / "rows" / key
    if (out / "facts.json").exists() and key not in given.again:
        print(f"{key}: finished before", flush=True)
        return
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    options = ["--split", str(folder), "--out", str(out), "--minutes", str(given.minutes), "--seed", str(given.seed)]
    print(f"{key} ...", flush=True)
    began = time.perf_counter()
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        try:
            done = subprocess.run([*command, *options], stdout=log, stderr=subprocess.STDOUT, check=False, env=_quiet())
            failed = done.returncode != 0
        except FileNotFoundError:
            failed = True
            log.write(f"There is no {command[0]}; `make leaderboard` builds it.\n")
    if failed:
        lines = [line for line in (out / "log.txt").read_text("utf-8", "replace").splitlines() if line.strip()]
        reason = lines[-1][:200] if lines else "ended without a word"
        (out / "facts.json").write_text(json.dumps({"reason": reason, "failed": True}, indent=2), encoding="utf-8")
    facts = json.loads((out / "facts.json").read_text("utf-8"))
    said = facts.get("reason") or f"validation NDCG@10 {facts['validation']:.4f}, {facts['stopped']}"
    print(f"{key}: {said}, {time.perf_counter() - began:.0f} s", flush=True)


def _quiet() -> dict[str, str]:
    """Return the environment of every row: one thread, and memory that is kept for the next batch, not given back after each."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    memory = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
    return {
        **os.environ,
        **threads,
        **memory,
        "POLARS_MAX_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONWARNINGS": "ignore",
        "PYTHONHASHSEED": "0",
    }


if __name__ == "__main__":
    main()
