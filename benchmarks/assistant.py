"""The assistant and profiles in words on the generated world, whose right answers are known.

    python benchmarks/assistant.py requests --bundle runs/demo --world runs/world-small
    python benchmarks/assistant.py turns --bundle runs/demo --world runs/world-small
    python benchmarks/assistant.py profiles --bundle runs/demo --world runs/world-small --engine local --users 100

In: a bundle that `penchant demo` wrote, and the world's truth, which nothing but this script reads. Out: figures on stdout.

A request is drawn with its answer: a topic in words of the world's phrase banks (seldom those of a topic's name), a collection, a bound of the
price, a refused topic. Topics of the bundle are matched with true ones by the majority of their items.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.assistant.dialogue import Assistant, Question
from penchant.core.schema import Histories
from penchant.language.engine import EngineConfig, make_engine
from penchant.metrics.intervals import mean_interval
from penchant.recommender.lookup import TOPIC
from penchant.recommender.recommender import Recommender
from penchant.world.topics import TOPICS

K = 10
MAX_TURNS = 8
WORDS = {
    "en": {
        "topic": (
            "something about {thing}",
            "I'd like to hear about {thing}",
            "show me {thing}",
            "anything with {thing}?",
        ),
        "category": (" from the {value}", ", {value} please"),
        "price": (" under {number}", " for at most {number}"),
        "refused": (", but nothing about {thing}", ", no {thing}", ", without {thing}"),
    },
    "zh": {
        "topic": ("想看关于{thing}的", "推荐一些{thing}的内容", "来点和{thing}有关的", "有没有讲{thing}的"),
        "category": ("，{value}",),
        "price": ("，{number}元以下", "，不超过{number}元"),
        "refused": ("，不要{thing}", "，别给我{thing}"),
    },
}


@dataclass(frozen=True)
class Drawn:
    """A request and its answer.

    Attributes:
        text: The request.
        topic: True topic that is wanted.
        refused: True topic that must not appear; "" for none.
        category: Collection that is wanted; "" for any.
        most: Bound of the price; infinite for none.
        language: Of the request.
    """

    text: str
    topic: str
    refused: str
    category: str
    most: float
    language: str


def draw(count: int, truth: pl.DataFrame, seed: int) -> list[Drawn]:
    """Draw requests, half of them Chinese; each has at least three items that fit it."""
    rng = np.random.default_rng(seed)
    found: list[Drawn] = []
    names = sorted(set(truth["topic"].to_list()))
    while len(found) < count:
        language = ("en", "zh")[len(found) % 2]
        words, topic = WORDS[language], str(rng.choice(names))
        text = str(rng.choice(words["topic"])).format(thing=_thing(topic, language, rng))
        category = f"{rng.choice(truth['season'])} collection" if rng.random() < 0.3 else ""
        most = round(float(rng.uniform(5, 15)), 0) if rng.random() < 0.3 else np.inf
        refused = str(rng.choice([n for n in names if n != topic])) if rng.random() < 0.4 else ""
        if category:
            text += str(rng.choice(words["category"])).format(value=category)
        if np.isfinite(most):
            text += str(rng.choice(words["price"])).format(number=int(most))
        if refused:
            text += str(rng.choice(words["refused"])).format(thing=_thing(refused, language, rng))
        drawn = Drawn(text, topic, refused, category, most, language)
        if _fits(truth, drawn).sum() >= 3:
            found.append(drawn)
    return found


def _thing(topic: str, language: str, rng: np.random.Generator) -> str:
    bank = TOPICS[topic][language]
    return str(rng.choice([*bank.things, *(p.removeprefix("the ") for p in bank.places)]))


def _fits(truth: pl.DataFrame, drawn: Drawn) -> np.ndarray:
    fits = (truth["topic"] == drawn.topic).to_numpy() & (truth["price"].to_numpy() <= drawn.most)
    return fits & ((truth["season"] + " collection" == drawn.category).to_numpy() | (drawn.category == ""))


def requests(trained: Recommender, truth: pl.DataFrame, count: int, seed: int) -> dict[str, Any]:
    """Ask each request once, for a user of the bundle."""
    assistant, holds = Assistant(trained), holding_topics(trained, truth)
    place = {item: n for n, item in enumerate(truth["item_id"])}
    rows: list[dict[str, Any]] = []
    rng = np.random.default_rng(seed)
    for drawn in draw(count, truth, seed):
        began = time.perf_counter()
        reply = assistant.reply(drawn.text, trained.history(str(rng.choice(trained.histories.user_ids))), k=K)
        shown = [place[item.item_id] for item in (reply.items.items if reply.items else ())]
        query = reply.query
        fits = _fits(truth, drawn)[shown]
        refused = np.array([truth["topic"][n] == drawn.refused for n in shown])
        bound = np.array([truth["price"][n] > drawn.most for n in shown])
        topics = {f.value for f in query.wanted if f.name == TOPIC}
        parsed = {
            "topic": topics == {holds[drawn.topic]},
            "category": {f.value for f in query.wanted if f.name == "category"} == ({drawn.category} - {""}),
            "price": query.at_most == ({"price": drawn.most} if np.isfinite(drawn.most) else {}),
            "refused": not drawn.refused
            or holds[drawn.refused] in {f.value for f in query.unwanted if f.name == TOPIC}
            or (
                holds[drawn.refused] == holds[drawn.topic] and bool(query.refused_words)
            ),  # one topic of the bundle holds both
        }
        rows.append(
            {
                "language": drawn.language,
                "hit": float(fits.any()) if shown else 0.0,
                "precision": float(fits.mean()) if shown else 0.0,
                "parsed": float(all(parsed.values())),
                **{f"parsed_{name}": float(value) for name, value in parsed.items()},
                "violations": int(refused.sum() + bound.sum()),
                "seconds": time.perf_counter() - began,
                "text": drawn.text,
            }
        )
    table = pl.DataFrame(rows)
    numbers = [c for c in table.columns if c not in ("language", "text")]
    wrong = table.filter((pl.col("parsed") == 0) | (pl.col("hit") == 0))["text"].to_list()
    return {
        "all": table.select(pl.col(numbers).mean()).to_dicts()[0] | {"violations": int(table["violations"].sum())},
        "by language": table.group_by("language").agg(pl.col(numbers).mean()).sort("language").to_dicts(),
        "wrong": wrong[:12],
    }


def holding_topics(trained: Recommender, truth: pl.DataFrame) -> dict[str, str]:
    """Return each true topic with the topic of the bundle that holds most of its items; one may hold two."""
    true = dict(zip(truth["item_id"], truth["topic"], strict=True))
    counts: dict[str, Counter[str]] = {}
    for item_id, label in zip(trained.catalog.item_ids, trained.topics.labels.tolist(), strict=True):
        if label >= 0:
            counts.setdefault(true[item_id], Counter())[trained.topics.names[label]] += 1
    return {topic: found.most_common(1)[0][0] for topic, found in counts.items()}


class RandomOrder(Assistant):
    """Asks about attributes in random order; all else is the same."""

    rng = np.random.default_rng(0)

    def _best_question(self, names: Sequence[str], rows: np.ndarray, chance: np.ndarray) -> Question | None:
        for name in self.rng.permutation(list(names)):
            if (question := super()._best_question([str(name)], rows, chance)) is not None:
                return question
        return None


def turns(trained: Recommender, truth: pl.DataFrame, count: int, seed: int) -> dict[str, Any]:
    """Simulate users who look for one item of a topic they like and answer questions about it."""
    rng = np.random.default_rng(seed)
    users = pl.read_csv(truth_folder / "users.csv").filter(pl.col("user_id").is_in(trained.histories.user_ids))
    likes = dict(zip(users["user_id"], users["likes_topic"].fill_null(""), strict=True))
    needed: dict[str, list[int]] = {"ours": [], "random order": []}
    for user in rng.permutation(sorted(u for u, t in likes.items() if t))[:count]:
        history = trained.history(str(user))
        liked = truth.with_row_index("row").filter(pl.col("topic").is_in(likes[user].split("|")))
        own = {trained.lookup.items.ids[i] for i in history.item_index}
        targets = [i for i in liked["item_id"] if i not in own and i in trained.lookup.items]
        target = str(rng.choice(targets))
        for name, assistant in (("ours", Assistant(trained)), ("random order", RandomOrder(trained))):
            needed[name].append(_turns_to(assistant, history, target))
    ours, other = (np.array(needed[name], float) for name in ("ours", "random order"))
    gap = mean_interval(other - ours)
    return {"ours": ours.mean(), "random order": other.mean(), "saved": gap, "found": float((ours < MAX_TURNS).mean())}


def _turns_to(assistant: Assistant, history: Histories, target: str) -> int:
    lookup = assistant.recommender.lookup
    row = lookup.row(target)
    text, conversation = "recommend me something", None
    for turn in range(1, MAX_TURNS):
        reply = assistant.reply(text, history, conversation=conversation, k=K)
        if reply.items is not None and target in {item.item_id for item in reply.items.items}:
            return turn
        if reply.question is None:
            return MAX_TURNS
        own = [v for v in reply.question.values if row in lookup.facets[reply.question.name][v]]
        conversation = reply.conversation
        text = own[0] if own else "none of these"
    return MAX_TURNS


def profiles(trained: Recommender, truth: pl.DataFrame, engine: str, count: int, seed: int) -> dict[str, Any]:
    """Write profiles, and check every sentence against the raw events with rules of this script's own."""
    rng = np.random.default_rng(seed)
    made = make_engine(EngineConfig(engine=engine))
    users = [str(u) for u in rng.permutation(trained.histories.user_ids)[:count]]
    found = [trained.profile(user) for user in users]
    writer = trained.profile_writer("en", made)
    began = time.perf_counter()
    written = writer.write(found)
    seconds = time.perf_counter() - began
    checks = [IndependentCheck(trained, user) for user in users]
    after = [check.is_supported(s) for check, w in zip(checks, written, strict=True) for s in w.paragraph]
    report = {
        "users": count,
        "sentences": len(after),
        "unsupported after the check": 1 - float(np.mean(after)),
        "by the model": float(np.mean([w.written_by != "template" for w in written])),
        "seconds a user": seconds / count,
    }
    if made is not None:
        raw = made.write([writer._prompt(w.statements) for w in written])
        before = [
            check.is_supported(s)
            for check, text in zip(checks, raw, strict=True)
            for s in re.split(r"(?<=[.!?])\s+", " ".join(text.split()))
            if s
        ]
        report["sentences before the check"] = len(before)
        report["unsupported before the check"] = 1 - float(np.mean(before))
    if "topic" in truth.columns:
        report["true top interest named"] = named(trained, truth, written)
    return report


def named(trained: Recommender, truth: pl.DataFrame, written: Any) -> dict[str, float]:
    """Return the share of users driven by topics whose true top topic is named in the paragraph."""
    users = pl.read_csv(truth_folder / "users.csv")
    holds = holding_topics(trained, truth)
    true = dict(zip(truth["item_id"], truth["topic"], strict=True))
    driven = set(users.filter(pl.col("by_topic") >= 0.5)["user_id"].to_list())
    hits = []
    for one in written:
        if one.user_id not in driven:
            continue
        history = trained.history(one.user_id)
        own = Counter(true[trained.lookup.items.ids[i]] for i in history.item_index)
        likes = users.filter(pl.col("user_id") == one.user_id).row(0, named=True)
        wanted = set(f"{likes['likes_topic']}|{likes['later_topic']}".split("|"))
        top = max(wanted, key=lambda t: own[t])
        text = one.text + " ".join(s.text for s in one.statements)
        hits.append(holds[top] in text)
    return {"users": len(hits), "share": float(np.mean(hits)) if hits else float("nan")}


class IndependentCheck:
    """Whether a sentence about a user is true of the raw events: by looking up what it names, not by the writer's statements.

    Titles in quotation marks must be among the user's own items; values of attributes and topics must be had by an item of the history; a
    percentage must be the share of one of the named values, among the user's events or all events, within a point; another number must be the
    number of events or a mean of a numeric column; "more", "higher" and "lower" must have the right sign.
    """

    def __init__(self, trained: Recommender, user: str) -> None:
        self._lookup = trained.lookup
        history = trained.history(user)
        self._rows, self._weights = history.item_index, history.weight
        every = trained.histories
        self._all = np.bincount(every.item_index, weights=np.maximum(every.weight, 0), minlength=len(trained.catalog))
        self._count = history.num_events
        self._titles = {self._lookup.titles[row] for row in self._rows}

    def is_supported(self, sentence: str) -> bool:
        quoted = re.findall(r"“([^”]+)”", sentence)
        if any(title not in self._titles for title in quoted):
            return False
        bare = re.sub(r"“[^”]+”", " ", sentence)
        values, bare = self._values(bare)
        own, others = {}, {}
        for name, value in values:
            rows = self._lookup.facets[name][value]
            mask = np.zeros(len(self._all), bool)
            mask[rows] = True
            positive = max(float(np.maximum(self._weights, 0).sum()), 1e-12)
            own[value] = float(self._weights[mask[self._rows]].sum()) / positive
            others[value] = float(self._all[mask].sum() / self._all.sum())
            if not mask[self._rows].any():
                return False
        if re.search(r"\bmore than\b", bare) and values and any(own[v] <= others[v] for _, v in values):
            return False
        shares = [*own.values(), *others.values()]
        numbers = [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?(?!\d*%)", bare)]
        percents = [float(n) / 100 for n in re.findall(r"(\d+(?:\.\d+)?)\s?%", bare)]
        if any(all(abs(p - s) > 0.011 for s in shares) for p in percents):
            return False
        means = [m for column in self._lookup.numbers for m in self._means(column)]
        known = [float(self._count), *means]
        plain = [n for n in numbers if n / 100 not in percents]
        return not any(all(abs(n - m) > 0.005 * max(abs(m), 1) + 0.5 for m in known) for n in plain)

    def _values(self, text: str) -> tuple[list[tuple[str, str]], str]:
        """Return what a text names, the longest first (PG-13 does not name PG), and the rest of the text."""
        every = ((name, value) for name, facet in self._lookup.facets.items() for value in facet)
        found = []
        for name, value in sorted(every, key=lambda pair: (-len(pair[1]), pair)):
            text, count = re.subn(rf"(?<![\w·]){re.escape(value)}(?![\w-])", " ", text)
            if count:
                found.append((name, value))
        return found, text

    def _means(self, column: str) -> list[float]:
        values = self._lookup.numbers[column]
        own = values[self._rows][self._weights > 0]
        weight = np.where(np.isnan(values), 0, self._all)
        mean = float(np.nansum(values * weight) / max(weight.sum(), 1e-12))
        return [float(np.nanmean(own)) if len(own) else np.nan, mean]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["requests", "turns", "profiles"])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--world", type=Path, help="left out: profiles of other data")
    parser.add_argument("--engine", default="template", choices=["template", "local"])
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bundle = Recommender.load(given.bundle)
    truth_folder = (given.world or Path()) / "truth"
    facts = pl.read_csv(truth_folder / "items.csv") if given.world else pl.DataFrame({"item_id": []})
    if given.world:
        facts = facts.filter(pl.col("item_id").is_in(bundle.catalog.item_ids))
    if given.what == "requests":
        answer: Any = requests(bundle, facts, given.users, given.seed)
    elif given.what == "turns":
        answer = turns(bundle, facts, min(given.users, 200), given.seed)
    else:
        answer = profiles(bundle, facts, given.engine, given.users, given.seed)
    print(json.dumps(answer, indent=1, ensure_ascii=False, default=str))
