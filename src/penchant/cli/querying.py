"""Commands that query a bundle.

In: a folder written by `penchant run`, and a user id, a history or content. Out: lists, interests, reasons, classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from penchant.cli.options import (
    AsJson,
    BundlePath,
    ColumnNames,
    EngineName,
    Items,
    UserId,
    column_names,
    language_config,
)
from penchant.cli.printing import columns_table, out, print_answer, reported_errors, shell_word
from penchant.cli.speaking import asked_language, said, said_source, spoken_language
from penchant.core.errors import ConfigError
from penchant.core.executor import ExecutorName, RayConfig, computing
from penchant.core.messages import CHANNELS, message

DIRECTIONS = {"rising": message("rising"), "fading": message("fading"), "steady": ""}
"""Words for the direction of an interest."""

if TYPE_CHECKING:
    from penchant.core.schema import Histories
    from penchant.explanation.network_attribution import NetworkAttribution
    from penchant.explanation.profile import Interest
    from penchant.explanation.written_profile import WrittenProfile
    from penchant.recommender.lookup import CatalogLookup
    from penchant.recommender.recommender import Recommender
    from penchant.reporting.heat import Heat


def predict(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Folder written by `penchant run` of a labelled task.")
    ],
    text: Annotated[str | None, typer.Option(help="Words.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image file.")] = None,
    audio: Annotated[Path | None, typer.Option(help="An audio file.")] = None,
    video: Annotated[Path | None, typer.Option(help="A video file.")] = None,
    mesh: Annotated[Path | None, typer.Option(help="A 3-D shape.")] = None,
    signal: Annotated[Path | None, typer.Option(help="Sensor readings.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Many at once: CSV, Parquet or JSON lines; media below its folder.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where the table's answers go: .parquet or .csv.")] = None,
    preview: Annotated[
        Path | None, typer.Option(help="Write the image, blurred beyond recognition, to this .jpg or .png.")
    ] = None,
    heat: Annotated[
        Path | None, typer.Option(help="Draw what of the text, image and audio adds to the answer, into this folder.")
    ] = None,
    column: ColumnNames = None,
    as_json: AsJson = False,
) -> None:
    """Classify content, with evidence and whether a reviewer should decide."""
    from penchant.classifiers.batch import predict_file
    from penchant.classifiers.bundle import MEDIA, TrainedClassifier
    from penchant.classifiers.prediction import prediction_lines
    from penchant.data.media import load_image
    from penchant.data.read.tables import read_table
    from penchant.reporting.moderation_report import blurred

    with reported_errors(as_json):
        trained = TrainedClassifier.load(bundle)
        if table is not None:
            written = output or table.with_name(f"{table.stem}-predicted.parquet")
            names = column_names(column)
            predict_file(trained, read_table(table).table, written, root=table.parent, columns=names, file=table)
            print_answer({"output": str(written)} if as_json else [f"written {written}"], as_json)
            return
        given = dict(zip(MEDIA, (image, audio, video, mesh, signal), strict=True))
        content: dict[str, Any] = {name: path for name, path in given.items() if path is not None}
        found = trained.predict(text=text, **content)
        if preview is not None and image is not None:
            blurred(load_image(image, trained.inputs.limits, max_side=512)).save(preview)
        print_answer(asdict(found) if as_json else map(said_source, prediction_lines(found)), as_json)
        if heat is not None:
            from penchant.explanation.heat_of_classifier import classifier_heat

            draw_heats(classifier_heat(trained, text=text, label=found.label, **content), heat, as_json)


def recommend(
    bundle: BundlePath,
    user: UserId = None,
    history: Items = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the list.")] = 10,
    one_per: Annotated[
        str | None,
        typer.Option(help="At most one item for each value of this attribute, such as a series; or `title`."),
    ] = None,
    all_users: Annotated[
        Path | None, typer.Option(help="Write the lists of all users to this Parquet file instead.")
    ] = None,
    executor: Annotated[
        ExecutorName, typer.Option(help="Where the lists of all users are computed: local or ray.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Head node of the Ray cluster, HOST:PORT; left out, Ray is started here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the best items of one user, with reasons."""
    from penchant.recommender.lists import RankingOptions

    with reported_errors(as_json):
        _only_one({"--user": user, "--history": history, "--all-users": all_users})
        _only_one({"--one-per": one_per, "--all-users": all_users})
        trained = loaded(bundle)
        if all_users is not None:
            with computing(executor, RayConfig(address=address)):
                rows = trained.recommend_all(all_users, k)
            print_answer(
                {"file": str(all_users), "rows": rows} if as_json else [f"{rows:,} rows in {all_users}"], as_json
            )
            return
        options = RankingOptions(one_per=one_per)
        found = trained.recommend(user_or_history(trained, user, history), k, options=options)
        if as_json:
            print_answer([asdict(s) for s in found], as_json)
            return
        table = columns_table("", "item", "title", "score", "why")
        for s in found:
            table.add_row(str(s.rank), s.item_id, s.title, f"{s.score:.3f}", "; ".join(map(said, s.reasons)))
        out.print(table)


def profile(
    bundle: BundlePath,
    user: UserId = None,
    history: Items = None,
    in_words: Annotated[bool, typer.Option("--words", help="Write the profile in sentences.")] = False,
    engine: EngineName = "template",
    as_json: AsJson = False,
) -> None:
    """Print the interests of one user, with the events behind them."""
    with reported_errors(as_json):
        trained = loaded(bundle)
        found = trained.profile(user_or_history(trained, user, history))
        if in_words:
            from penchant.classifiers.output_screen import make_screen
            from penchant.language.engine import make_engine

            config = language_config(engine)
            writer = trained.profile_writer(spoken_language(), make_engine(config), make_screen(config.moderation))
            (written,) = writer.write([found])
            print_answer(written.as_dict() if as_json else _written_lines(written), as_json)
            return
        if as_json:
            print_answer(found.as_dict(), as_json)
            return
        table = columns_table("interest", "value", "share", "others", "strength", "", "because of")
        reader = spoken_language()
        for i in found.interests:
            shares = (
                (f"{i.share:.0%}", f"{i.expected:.0%}")
                if i.kind != "number"
                else (f"{i.share:.4g}", f"{i.expected:.4g}")
            )
            table.add_row(
                i.name,
                _shown_value(i, trained.lookup, reader),
                *shares,
                f"{i.strength:+.2f}",
                said(DIRECTIONS[i.direction]),
                "; ".join(i.evidence),
            )
        out.print(said(message("{user}: {count} events", user=found.user_id, count=found.num_events)), markup=False)
        out.print(table)
        channels = tuple(f"{said(CHANNELS.get(name, name))} {share:.0%}" for name, share in found.modalities.items())
        out.print(said(message("Channel shares of the reasons: {shares}", shares=channels)), markup=False)


def _shown_value(interest: Interest, lookup: CatalogLookup, language: str) -> str:
    """Return the value of an interest as a reader of this language sees it: a topic by its name there, a number beside that of others."""
    if interest.kind != "number":
        return lookup.shown(interest.name, interest.value, language)
    both = {"own": f"{interest.share:,.4g}", "others": f"{interest.expected:,.4g}"}
    if interest.share > interest.expected:
        return said(message("higher ({own}, others {others})", **both))
    return said(message("lower ({own}, others {others})", **both))


def _written_lines(written: WrittenProfile) -> list[str]:
    """Return a written profile as lines of text."""
    note = f" ({written.reason})" if written.reason else ""
    writer = said(message("fixed sentences")) if written.written_by == "template" else written.written_by
    return [
        written.text,
        "",
        *(f"- {statement.text}" for statement in written.statements),
        "",
        said(
            message(
                "written by: {name}; sentences dropped: {count}",
                name=f"{writer}{note}",
                count=written.num_dropped,
            )
        ),
    ]


def fairness(
    bundle: BundlePath,
    provider: Annotated[str | None, typer.Option(help="Attribute of the items that names who offers them.")] = None,
    value: Annotated[str | None, typer.Option(help="Attribute whose mix a list should keep, such as genres.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the lists.")] = 10,
    users: Annotated[int, typer.Option(min=1, help="Users whose lists are made.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draw of users.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Print whom the lists favour: exposure of items and providers, popularity amplification, miscalibration."""
    with reported_errors(as_json):
        found = loaded(bundle).fairness(k, provider=provider, value=value, users=users, seed=seed)
        if as_json:
            print_answer(found.as_dict(), as_json)
            return
        for line in found.lines():
            out.print(said(line), markup=False)
        if found.exposure is not None:
            table = columns_table("group", "of the catalog", "of choices", "of attention", "ratio")
            for name, *shares, ratio in found.rows():
                table.add_row(name, *(f"{share:.1%}" for share in shares), f"{ratio:.2f}")
            out.print(table)


def rules(
    bundle: BundlePath,
    users: Annotated[int, typer.Option(min=9, help="Users that the rules are fitted to and tested on.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the draw of users.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Print rules that give nearly the scores of a bundle, how nearly, and which attributes matter most."""
    with reported_errors(as_json):
        found = loaded(bundle).stand_in(users=users, seed=seed)
        if as_json:
            print_answer(found.as_dict(), as_json)
            return
        out.print(said(found.text), markup=False)
        table = columns_table("rule", "score", "share")
        for rule in found.rules:
            table.add_row(str(rule).split(": score")[0], f"{rule.score:+.2f}", f"{rule.share:.1%}")
        out.print(table)
        table = columns_table("attribute", "importance", "points")
        for name, value in list(found.importance.items())[:10]:
            table.add_row(name, f"{value:+.3f}", f"{found.weights()[name]:+.3g}")
        out.print(table)


def topics(
    bundle: BundlePath,
    as_json: AsJson = False,
) -> None:
    """Print the topics that items were grouped into, each with its most typical items."""
    import numpy as np

    with reported_errors(as_json):
        trained = loaded(bundle)
        language = asked_language()  # "": the bundle's own names
        groups, titles = trained.topics, trained.catalog.titles()
        sizes = np.bincount(groups.labels[groups.labels >= 0], minlength=len(groups.names))
        table = columns_table("topic", "items", "such as")
        found = []
        for number in np.argsort(-sizes, kind="stable"):
            name, typical = groups.names[number], [titles[row] for row in groups.examples(groups.names[number])]
            found.append({"topic": groups.shown(name, language), "items": int(sizes[number]), "typical": typical})
            table.add_row(groups.shown(name, language), f"{sizes[number]:,}", "; ".join(typical))
        if as_json:
            print_answer(found, as_json)
        else:
            out.print(table)


def explain(
    bundle: BundlePath,
    item: Annotated[str, typer.Option("--item", help="Which item.")],
    user: UserId = None,
    history: Items = None,
    top: Annotated[int, typer.Option(min=1, help="Events shown, the strongest first; the others are summed.")] = 20,
    counterfactual: Annotated[
        bool,
        typer.Option(
            "--counterfactual",
            help="Instead: without which events the item leaves the list, or with which edit it enters it.",
        ),
    ] = False,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the list.")] = 10,
    method: Annotated[
        Literal["integrated_gradients", "occlusion"] | None,
        typer.Option(
            "--method", help="Instead: of one network, by integrated_gradients or occlusion, with its checks."
        ),
    ] = None,
    member: Annotated[
        str | None, typer.Option("--member", help="The network that --method explains; by default the first.")
    ] = None,
    heat: Annotated[
        Path | None,
        typer.Option("--heat", help="Instead: draw what of the item's content adds to the score, into this folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Split one score into what past events, modalities and members contribute; the parts sum to it."""
    with reported_errors(as_json):
        trained = loaded(bundle)
        if heat is not None:
            asked = None if user is None and not history else user_or_history(trained, user, history)
            draw_heats([trained.heat(item, channel, asked) for channel in _with_content(trained, item)], heat, as_json)
            return
        if method is not None:
            print_attribution(
                trained.attribute(user_or_history(trained, user, history), item, member, method), top, as_json
            )
            return
        if counterfactual:
            other = trained.counterfactual(user_or_history(trained, user, history), item, k)
            print_answer(other.as_dict() if as_json else [said(other.text)], as_json)
            return
        found = trained.explain(user_or_history(trained, user, history), item)
        if as_json:
            print_answer(found.as_dict(), as_json)
            return
        table = columns_table("part", "contribution")
        for title, groups in (("channel", found.by_channel), ("member", found.by_member)):
            for name, value in groups.items():
                table.add_row(f"{title}: {name}", f"{value:+.4f}")
        table.add_row("for any user", f"{found.prior:+.4f}")
        strongest = sorted(found.by_event, key=lambda one: -abs(one[2]))
        for _, title, value in strongest[:top]:
            table.add_row(f"event: {title}", f"{value:+.4f}")
        if rest := strongest[top:]:
            weaker = message("{count} weaker events (--top {all})", count=f"{len(rest):,}", all=len(strongest))
            table.add_row(weaker, f"{sum(v for *_, v in rest):+.4f}")
        out.print(f"{found.title}: {found.score:.4f}", markup=False)
        sums = message(
            "The channels add up to the score, and so do the members, and so do “for any user” and the events"
        )
        for line in (sums, *found.notes):
            out.print(said(line), markup=False)
        out.print(table)


def _with_content(trained: Recommender, item: str) -> list[str]:
    """Return the channels with heat of which an item has content."""
    row = trained.lookup.row(item)
    return [name for name in trained.heat_channels if trained.content.channels[name].usable[row]]


def draw_heats(found: Sequence[Heat], folder: Path, as_json: bool) -> None:
    """Write each heat to a folder, and print where it is and whether it passed its check."""
    files = [(one, one.save(folder)) for one in found]
    if as_json:
        print_answer([{"file": str(path), **one.as_dict()} for one, path in files], as_json)
        return
    print_answer([f"{path}: {said(one.said)}" for one, path in files], as_json)


def print_attribution(found: NetworkAttribution, top: int, as_json: bool) -> None:
    """Print which events and modalities a network's score comes from, and whether that may be believed."""
    if as_json:
        print_answer(found.as_dict(), as_json)
        return
    table = columns_table("part", "attribution")
    for name, value in found.by_part().items():
        table.add_row(f"channel: {name}", f"{value:+.4f}")
    for _, title, value in sorted(found.events, key=lambda one: -abs(one[2]))[:top]:
        table.add_row(f"event: {title}", f"{value:+.4f}")
    out.print(said(found.text), markup=False)
    out.print(table)


def loaded(bundle: Path) -> Recommender:
    """Return the recommender of a folder."""
    from penchant.recommender.recommender import Recommender

    return Recommender.load(bundle)


def _only_one(given: dict[str, object | None]) -> None:
    """Refuse options that exclude each other."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ConfigError(
            f"{' and '.join(names)} are given, and only one of them can be followed.",
            where="options",
            fix=f"leave out {' or '.join(names)}",
        )


def user_or_history(bundle: Recommender, user: str | None, history: str | None) -> str | Histories:
    """Return whom the answer is for: a user's id, or the history of items named by id.

    Raises:
        ConfigError: Neither is given, or both.
        NotFoundError: An item is unknown.
    """
    _only_one({"--user": user, "--history": history})
    if history is not None:
        return bundle.history_of([item.strip() for item in history.split(",") if item.strip()])
    if user is None:
        example = shell_word(bundle.histories.user_ids[0])
        raise ConfigError(
            "No user was given.", where="--user", fix=f"give --user {example}, or --history ITEM,ITEM for a new user"
        )
    return user
