"""Mutation testing of the code that decides the numbers of a report, with mutmut.

In: module names, a sample size and a seed. Out: the diff of each surviving mutant and a table module -> killed, timed out, survived;
`runs/mutants/` keeps every outcome, so that a second run resumes.

    python benchmarks/mutants.py                                     # every mutant: hours on two cores
    python benchmarks/mutants.py experiment/pool.py --sample 100     # a random hundred of one module

Each module gets a folder of its own, which links to src and tests and holds the settings of mutmut: this one file is mutated, and
only the tests of `TESTS` run, of these only the ones that call the mutated function. Each mutant runs in a process forked from a
server that has imported the tests and run none of them, since Polars' threads do not survive a fork. mutmut leaves decorated
functions (properties among them), docstrings, type annotations and module constants as they are; `SKIPPED` leaves out log lines and
the wording of errors. mutmut tests a function again when its source changed; after a change of tests alone pass --again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from contextlib import chdir
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src/penchant"
MODULES = ("experiment/*.py", "fusion/*.py", "metrics/*.py", "reporting/conclusions.py")
TESTS = {  # beside tests/metrics/test_ranking.py and test_ranking_edges.py for metrics/ranking.py, which need not stand here
    "fusion/late.py": ["tests/fusion/test_late_by_hand.py"],
    "metrics/classification_results.py": ["tests/metrics/test_classification.py"],
    "metrics/within_folds.py": ["tests/metrics/test_classification.py"],
    "reporting/conclusions.py": ["tests/metrics/test_ablation.py", "tests/reporting/test_report.py"],
}
SKIPPED = [r"raise \w+Error\(", r"\blog(ger)?\.\w+\("]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
GENERATE = (
    "import mutmut.__main__ as m; m.Path('mutants').mkdir(exist_ok=True); "
    "m.copy_src_dir(); m.copy_also_copy_files(); m.setup_source_paths(); m.create_mutants(1)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="files or folders below src/penchant; none: all of `MODULES`")
    parser.add_argument("--sample", type=int, default=0, help="mutants drawn for each module; 0 takes all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="test mutants anew that have an outcome")
    options = parser.parse_args()
    known = sorted(str(p.relative_to(PACKAGE)) for pattern in MODULES for p in PACKAGE.glob(pattern))
    wanted = [m for m in known if any(m == o or m.startswith(f"{o.rstrip('/')}/") for o in options.modules or [m])]
    rows, total = [], Counter[str]()
    for module in wanted:
        count = test(module, options.sample, options.seed, again=options.again)
        if count:
            rows.append(row(module, count))
            total.update(count)
    print(f"mutmut {version('mutmut')}, {date.today()}, sample {options.sample or 'all'}, seed {options.seed}\n")
    print("| module | mutants | killed | timed out | survived | no test | survived % |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", *rows, row("all", total), sep="\n")


def test(module: str, sample: int, seed: int, *, again: bool) -> Counter[str]:
    """Test the mutants of one module, print the diffs of those that survive, and return how many met which end."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code

    folder, tests = workplace(module)
    source = Path("src/penchant") / module
    with chdir(folder):
        mutmut("-c", GENERATE)
        meta = Path(f"mutants/{source}.meta")
        names = sorted(outcomes(meta)) if meta.exists() else []
        if sample and sample < len(names):
            names = random.Random(f"{seed} {module}").sample(names, sample)
        if not names:
            return Counter()
        waiting = [name for name in names if again or outcomes(meta)[name] is None]
        if waiting and tests:
            mutmut("-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 2), *waiting)
        found = {name: status_by_exit_code[outcomes(meta)[name] if tests else 33] for name in names}
        for name, status in found.items():
            if status not in ("killed", "timeout") and tests:
                print(f"# {status}: {name}\n{get_diff_for_mutant(name, path=source)}\n", flush=True)
    return Counter(found.values())


def workplace(module: str) -> tuple[Path, list[str]]:
    """Make the folder in which one module is mutated; return it and the tests of the module."""
    path = Path(module)
    own = [f"tests/{path.parent}/test_{path.stem}{end}.py" for end in ("", "_edges")]
    tests = [test for test in (*own, *TESTS.get(module, [])) if (ROOT / test).exists()]
    folder = ROOT / "runs/mutants" / module.removesuffix(".py").replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("src", "tests"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(ROOT / name)
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/penchant/{module}"],
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": ["-p", "no:schemathesis", "-p", "no:cacheprovider"],
        "do_not_mutate_patterns": SKIPPED,
        "process_isolation": "forkserver",
        "timeout_constant": 3.0,
        "timeout_multiplier": 10.0,
        "use_git_change_detection": False,
        "on_dependency_change": "ignore",
    }
    lines = (f"{name} = {json.dumps(value)}" for name, value in settings.items())
    project = (ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text("\n".join((project, "[tool.mutmut]", *lines, "")))
    return folder, tests


def row(name: str, count: Counter[str]) -> str:
    """Return one line of the table; a mutant that no test reaches has survived, one that was not run does not count."""
    run = sum(count.values()) - count["not checked"]
    alive = run - count["killed"] - count["timeout"]
    cells = (run, count["killed"], count["timeout"], count["survived"], alive - count["survived"])
    return f"| `{name}` | {' | '.join(map(str, cells))} | {100 * alive / max(run, 1):.0f} |"


def outcomes(meta: Path) -> dict[str, int | None]:
    """Return the exit code of each mutant of one module; None where it has not been tested."""
    return json.loads(meta.read_text())["exit_code_by_key"]


def mutmut(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], env=os.environ | ONE_THREAD, stdout=sys.stderr, check=True)


if __name__ == "__main__":
    main()
