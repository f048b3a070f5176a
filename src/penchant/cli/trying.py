"""Commands of trying a change on people: a trial's results, its log, and what another bundle would have earned.

In: a bundle, a trial's settings, a log of served lists. Out: metrics and estimates with intervals on stdout, the log as a file.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from penchant.cli.options import AsJson, BundlePath, Database, StateFolder
from penchant.cli.printing import columns_table, out, print_answer, reported_errors
from penchant.cli.querying import loaded
from penchant.cli.service import opened_store, part_of_service, service_config
from penchant.cli.speaking import said
from penchant.core.messages import message, unpacked

ESTIMATORS = {
    "ips": message("weighted (IPS)"),
    "snips": message("weighted, normalised (SNIPS)"),
    "doubly_robust": message("doubly robust"),
    "switch": message("doubly robust with a switch"),
    "logged": message("what was served"),
}


def off_policy(
    bundle: BundlePath,
    log: Annotated[Path, typer.Argument(help="Log of served lists, .parquet or .jsonl; `penchant served` writes one.")],
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Rank the candidates of each logged list, not the whole catalog.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate what the lists of a bundle would have earned on logged traffic, with intervals; refused where the log does not cover it."""
    from penchant.experiment.off_policy import evaluate_bundle, read_log

    with reported_errors(as_json):
        found = evaluate_bundle(loaded(bundle), read_log(log), rerank=rerank)
        if as_json:
            best = {"best": found.results.best.name}
            print_answer(asdict(found) | best, as_json)
            return
        table = columns_table("estimate", "reward a place", "95 %", "effective choices")
        for value in (*found.results.values, found.results.logged):
            ends = "–" if value.low != value.low else f"[{value.low:.4f}, {value.high:.4f}]"
            mark = " *" if value is found.results.best else ""
            table.add_row(
                f"{said(ESTIMATORS[value.name])}{mark}", f"{value.value:.4f}", ends, f"{value.effective:,.0f}"
            )
        out.print(table)
        facts = message(
            "{choices} places of {lists} lists and {users} users; mean weight {weight}; * read this one first",
            choices=f"{found.results.num_choices:,}",
            lists=f"{found.num_lists:,}",
            users=f"{found.results.num_units:,}",
            weight=f"{found.results.mean_weight:.3f}",
        )
        out.print(said(facts), markup=False)
        if found.learned_after:
            late = message(
                "Of {share} of the places the bundle learned from what the user did later: it may know the answers.",
                share=f"{found.learned_after:.0%}",
            )
            out.print(said(late), markup=False)


def served(
    bundle: BundlePath,
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Parquet file to write.")],
    kind: Annotated[
        list[str] | None, typer.Option(help="Kind of event that earns 1; repeatable. Left out: every kind.")
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0, help="Events so long after a list count; younger lists are left out.")
    ] = 24.0,
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Write the lists that a service served during trials, with what each place earned: the log for `penchant off-policy`."""
    with reported_errors(as_json), opened_store(bundle, database, folder) as store:
        config = service_config(bundle, database, folder)
        part = part_of_service("served_lists", "serve")
        secret = part_of_service("security", "serve").Secret.of(store, config.state_folder / "secret.key")
        trained = loaded(bundle)

        def history(user_id: str, events: Any) -> list[str]:
            own = trained.history(user_id, events)
            return [trained.lookup.items.ids[row] for row in own.item_index]

        log = part.ServedListLog(store, secret.subject)
        now = part_of_service("store", "serve").now()
        table = part.served_table(log, store, history, kinds=kind, hours=hours, now=now)
        table.write_parquet(output)
        lists = table["list_id"].n_unique()
        lines = [message("{lists} lists, {places} places in {file}", lists=lists, places=len(table), file=output.name)]
        print_answer({"file": str(output), "lists": lists, "places": len(table)} if as_json else lines, as_json)


def trial(
    bundle: BundlePath,
    settings: Annotated[Path, typer.Argument(metavar="TRIAL", help="TOML file of the trial.")],
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Print the metrics of a trial's variants, with intervals that may be read at any time."""
    with reported_errors(as_json), opened_store(bundle, database, folder) as store:
        config = part_of_service("trial", "serve").TrialConfig.read_file(settings)
        secret = part_of_service("security", "serve").Secret.of(
            store, service_config(bundle, database, folder).state_folder / "secret.key"
        )
        log = part_of_service("served_lists", "serve").ServedListLog(store, secret.subject)
        found = part_of_service("running_trial", "serve").read_results(config, log, store)
        if as_json:
            print_answer(part_of_service("schemas", "serve").TrialOut.of(found).model_dump(), as_json)
            return
        table = columns_table("variant", "users", "metric", "mean", "against the first", "outcome")
        for variant in found.variants:
            for one in variant.metrics:
                gap = one.against_first
                told = "" if gap is None or gap.low != gap.low else f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
                mean = "–" if one.mean != one.mean else f"{one.mean:.4f} ({one.num_users:,})"
                outcome = "" if gap is None else said(gap.outcome)
                table.add_row(variant.name, f"{variant.num_users:,}", one.metric, mean, told, outcome)
        out.print(table)
        for variant in found.variants:
            if variant.ended:
                ended = message("{variant} was ended: {reason}", variant=variant.name, reason=unpacked(variant.ended))
                out.print(said(ended), markup=False)
