"""Every peer and Penchant on the same split, scored by the same code.

In: a data set, a protocol, seeds. Out: a section of `benchmarks/RESULTS.md`, and `scores.json` beside the lists.

    python benchmarks/leaderboard.py --set steam --protocol last_out --seeds 0 1 2 --minutes 3

Each row runs alone, one after the other, peers of other libraries in `.venv-peers`; what is finished is not run again unless `--again` names
it, and a command that was interrupted goes on where it was. Every row gets one thread, and times and limits are CPU time, so that other load
on the machine favours no row.
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
    "popularity_7_days": Peer("Popularity of 7 days", "simple_models.py", "popularity_7_days"),
    "popularity_30_days": Peer("Popularity of 30 days", "simple_models.py", "popularity_30_days"),
    "recency_popularity": Peer("Recency popularity", "simple_models.py", "recency_popularity"),
    "recency_popularity_last_seen": Peer(
        "Recency popularity, as of the user's last event", "simple_models.py", "recency_popularity_last_seen"
    ),
    "category_popularity": Peer("Recency popularity by category", "simple_models.py", "category_popularity"),
    "content_knn": Peer("Content kNN, centred and sharpened", "simple_models.py", "content_knn"),
    "content_ridge": Peer("Content ridge", "simple_models.py", "content_ridge"),
    "markov": Peer("Markov chain", "order_models.py", "markov"),
    "ease": Peer("EASE", "order_models.py", "ease"),
    "ease_decayed": Peer("EASE read with a half-life", "order_models.py", "ease_decayed"),
    "vsknn": Peer("VS-kNN", "order_models.py", "vsknn"),
    "stan": Peer("STAN", "order_models.py", "stan"),
    "blend": Peer("Blend of kNN, EASE, content, chain, recency", "order_models.py", "blend"),
    "implicit_knn_cosine": Peer("implicit ItemKNN cosine", "implicit_models.py", "item_knn_cosine"),
    "implicit_knn_bm25": Peer("implicit ItemKNN BM25", "implicit_models.py", "item_knn_bm25"),
    "implicit_als": Peer("implicit ALS", "implicit_models.py", "als"),
    "implicit_bpr": Peer("implicit BPR", "implicit_models.py", "bpr"),
    "rectools_ease": Peer("RecTools EASE, as shipped", "rectools_models.py", "ease_as_shipped"),
    "rectools_ease_mended": Peer("RecTools EASE, weights turned", "rectools_models.py", "ease_mended"),
    "lenskit_als": Peer("LensKit ALS", "lenskit_models.py", "als"),
    "lenskit_knn": Peer("LensKit ItemKNN", "lenskit_models.py", "item_knn"),
    "rectools_sasrec": Peer("RecTools SASRec, softmax", "rectools_models.py", "sasrec", True),
    "rectools_sasrec_bce": Peer("RecTools SASRec, BCE", "rectools_models.py", "sasrec_bce", True),
    "rectools_bert4rec": Peer("RecTools BERT4Rec", "rectools_models.py", "bert4rec", True),
    "rectools_esasrec": Peer("RecTools eSASRec", "rectools_models.py", "esasrec", True),
    "cornac_vbpr": Peer("Cornac VBPR", "cornac_models.py", "vbpr", True),
    "cornac_dmrl": Peer("Cornac DMRL", "cornac_models.py", "dmrl", True),
    "recbole_lightgcn": Peer("RecBole LightGCN", "recbole_models.py", "lightgcn", True),
    "recbole_sasrec": Peer("RecBole SASRec", "recbole_models.py", "sasrec", True),
}
NO_LIBRARY = ("simple_models.py", "order_models.py")
"""Scripts that run in Penchant's own environment."""
WITH_NETWORK = (f"{OURS}_network", f"{OURS}_with_network")


def main() -> None:
    given = _arguments()
    folders = [RUNS / _name(given, seed) for seed in given.seeds]
    for seed, folder in zip(given.seeds, folders, strict=True):
        try:
            prepare(
                given.set,
                given.protocol,
                seed,
                folder,
                max_users=given.max_users,
                content=not given.no_content,
                hidden=given.hide_time,
            )
        except PenchantError as error:
            sys.exit(str(error))
    rows = _rows(given)
    titles = {key: title for key, (title, _) in rows.items()}
    if not given.report_only:
        for key in _chosen(given, list(rows)):
            for seed, folder in zip(given.seeds, folders, strict=True):
                _run(key, rows[key][1], folder, seed, given)
    leaderboard_report.write(folders, titles, given.results, _command(given))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--set", choices=sorted(SETS), default="ml1m")
    add("--protocol", choices=PROTOCOLS, default="last_out")
    add("--seeds", type=int, nargs="+", default=[0], help="draws of ties, of cold items and of models")
    add("--minutes", type=float, default=0.0, help="limit of each row in CPU minutes, 0 for none")
    add("--hide-time", action="store_true", help="tell nobody the time of the request")
    add("--peers", nargs="*", choices=sorted(PEERS), help="only these; none named runs all, an empty list only ours")
    add("--quick", action="store_true", help="leave the slow networks out, ours too")
    add(
        "--again",
        nargs="*",
        default=[],
        help="run these rows again, though they are finished; `ours` names all of ours",
    )
    add("--config", action="append", default=[], type=Path, help="a TOML whose members make another row of ours")
    add("--ours", nargs="*", help="only these rows of ours, by their folder's name; an empty list runs peers only")
    add("--no-content", action="store_true", help="encode no content: ids only")
    add("--max-users", type=int, help="so many users only, for a trial")
    add("--python", help=f"of the peers of other libraries, {PEER_PYTHON} by default")
    add("--report-only", action="store_true", help="run nothing, write the section from what is finished")
    add("--results", type=Path, default=HERE / "RESULTS.md", help="Markdown to write the section into")
    return parser.parse_args()


def _name(given: argparse.Namespace, seed: int) -> str:
    kind = ("-hidden" if given.hide_time else "") + ("-ids" if given.no_content else "")
    return f"{given.set}-{given.protocol}{kind}-{seed}" + (f"-users{given.max_users}" if given.max_users else "")


def _command(given: argparse.Namespace) -> str:
    """Return the command that makes the whole section."""
    parts = [f"--set {given.set} --protocol {given.protocol} --seeds", *map(str, given.seeds)]
    parts += ["--hide-time"] if given.hide_time else []
    parts += ["--no-content"] if given.no_content else []
    parts += [f"--minutes {given.minutes:g}"] if given.minutes else []
    return "python benchmarks/leaderboard.py " + " ".join(parts)


def _rows(given: argparse.Namespace) -> dict[str, tuple[str, list[str]]]:
    """Return title and command of every row: ours by default members, by the set's own TOML, by each TOML given, with a network; peers."""
    script = [sys.executable, str(HERE / "peers" / "penchant_models.py")]
    rows = {OURS: ("Penchant, default members", [*script, "default"])}
    own = own_config(given.set, given.protocol)
    for path in [*([own] if own else []), *given.config]:
        rows[f"{OURS}_{path.stem}"] = (f"Penchant, {path.name}", [*script, "default", "--config", str(path)])
    rows[f"{OURS}_network"] = ("Penchant's network over ids alone", [*script, "network"])
    rows[f"{OURS}_with_network"] = ("Penchant, default members and SASRec", [*script, "with_network"])
    python = str(Path(given.python) if given.python else PEER_PYTHON)
    for key, peer in PEERS.items():
        interpreter = sys.executable if peer.script in NO_LIBRARY else python
        rows[key] = (peer.title, [interpreter, str(HERE / "peers" / peer.script), peer.model])
    return rows


def _chosen(given: argparse.Namespace, keys: list[str]) -> list[str]:
    """Return the rows to run, the quick peers first, ours after them, networks last."""
    ours = [key for key in keys if key.startswith(OURS)] if given.ours is None else given.ours
    peers = list(PEERS) if given.peers is None else given.peers
    quick = [key for key in peers if not PEERS[key].is_slow] + [key for key in ours if key not in WITH_NETWORK]
    slow = [key for key in ours if key in WITH_NETWORK] + [key for key in peers if PEERS[key].is_slow]
    return quick if given.quick and given.peers is None else quick + slow


def _run(key: str, command: list[str], folder: Path, seed: int, given: argparse.Namespace) -> None:
    """Run one row on one draw unless it is finished; a row that fails keeps its reason."""
    out, name = folder / "rows" / key, f"{key}, seed {seed}"
    again = key in given.again or (key.startswith(OURS) and "ours" in given.again)
    if (out / "facts.json").exists() and not again:
        print(f"{name}: finished before", flush=True)
        return
    ranked = _times_ranked(out)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    options = ["--split", str(folder), "--out", str(out), "--minutes", str(given.minutes), "--seed", str(seed)]
    print(f"{name} ...", flush=True)
    began = time.perf_counter()
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        try:
            done = subprocess.run([*command, *options], stdout=log, stderr=subprocess.STDOUT, check=False, env=_quiet())
            failed = done.returncode
        except FileNotFoundError:
            failed = 1
            log.write(f"There is no {command[0]}; `make leaderboard` builds it.\n")
    facts_path = out / "facts.json"
    facts = json.loads(facts_path.read_text("utf-8")) if facts_path.exists() else {}
    if failed or not facts:
        lines = [line for line in (out / "log.txt").read_text("utf-8", "replace").splitlines() if line.strip()]
        facts = {"reason": lines[-1][:200] if lines else f"ended without a word, exit code {failed}", "failed": True}
    facts |= {"commit": _commit(), "minutes": given.minutes, "ranked": ranked + ("reason" not in facts)}
    facts_path.write_text(json.dumps(facts, indent=2, default=float), encoding="utf-8")
    said = facts.get("reason") or f"validation NDCG@10 {facts['validation']:.4f}, {facts['stopped']}"
    print(f"{name}: {said}, {time.perf_counter() - began:.0f} s", flush=True)


def _times_ranked(out: Path) -> int:
    """Return how often this row has ranked this test before."""
    path = out / "facts.json"
    return int(json.loads(path.read_text("utf-8")).get("ranked", 0)) if path.exists() else 0


def _commit() -> str:
    """Return the commit, with a plus where the code differs from it; empty outside a repository."""
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", "../src", "../configs", ":(glob)**/*.py"]
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=HERE
        )
        changed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + "+" * bool(changed)


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
