"""One turn of a conversation.

In: a message, the conversation so far, and the user's history and edits. Out: a `Reply`: a list with reasons, or a question that splits the
candidates best, or edits that wait for a confirmation; and the conversation after it.

The interest model ranks; nothing here changes a score except by the filters and boosts that any list request may have.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from penchant.assistant.terms import CatalogTerms, Facet
from penchant.assistant.understanding import Query, understand
from penchant.core.messages import Message, Translator, message
from penchant.core.schema import Histories
from penchant.explanation.topic_names import without_repeats
from penchant.recommender.lists import Edit, ListRequest, RankingOptions, RecommendationList
from penchant.recommender.lookup import ITEM
from penchant.recommender.recommender import Recommender

CANDIDATES = 200
"""Best items that a question is to split."""
MAX_CHOICES = 4
"""Values that a question offers."""
FEWEST_CANDIDATES = 2
NEIGHBOURS = 60
"""Items most like a named one, or nearest to some words, that are ranked for the user."""
NEAR_WORDS, MAX_BOOSTED = 1.5, 50
"""Standard deviations of a score that are added to the items nearest to the words of a request, and how many items."""
MAX_ALLOWED = 10_000
"""Items that the options of a list may name."""
REFUSED_NEIGHBOURS = 15
"""Items nearest to refused words that are left out, beside the topics that the words mean."""
MAX_QUESTIONS = 4
"""Of one conversation."""
CERTAIN = 1 - 1e-9
"""Share of the candidates' probability from which a value tells nothing: all of them have it."""


@dataclass(frozen=True)
class Question:
    """A question about one attribute.

    Attributes:
        name: Attribute or "topic".
        values: Offered, most probable first.
        bits: How much the answer is expected to tell (entropy of the value among the candidates).
    """

    name: str
    values: tuple[str, ...]
    bits: float


@dataclass(frozen=True)
class Conversation:
    """What stands so far.

    Attributes:
        query: All wishes.
        pending: Edits that wait for yes or no.
        shown: Item ids of the last list.
        asked: Attributes that were asked about; one of whose values none was wanted may be asked about again.
        offered: Values of the last question.
        language: Of the last message.
    """

    query: Query = field(default_factory=Query)
    pending: tuple[Edit, ...] = ()
    shown: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    offered: tuple[Facet, ...] = ()
    language: str = "en"


@dataclass(frozen=True)
class Reply:
    """The answer to one message.

    Attributes:
        text: In the language of the message.
        items: The list, with reasons; None where the reply is a question for a confirmation.
        question: What would narrow the list most; None where nothing would.
        proposed: Edits that wait for a confirmation.
        confirmed: Edits that the user confirmed: the caller stores them.
        query: How all wishes so far were understood.
        conversation: For the next message.
    """

    text: str
    items: RecommendationList | None
    question: Question | None
    proposed: tuple[Edit, ...]
    confirmed: tuple[Edit, ...]
    query: Query
    conversation: Conversation


class Assistant:
    """Answers messages about one catalog.

    Args:
        recommender: Ranks.
    """

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        self.terms = CatalogTerms(recommender)

    def of(self, recommender: Recommender) -> Assistant:
        """Return the assistant of a recommender with the same catalog; what was found out about its words is kept."""
        other = copy.copy(self)
        other.recommender = recommender
        return other

    def reply(
        self,
        text: str,
        history: Histories,
        *,
        conversation: Conversation | None = None,
        edits: Sequence[Edit] = (),
        available: Bool[np.ndarray, " items"] | None = None,
        k: int = 10,
        like: Sequence[str] = (),
    ) -> Reply:
        """Return the answer to one message.

        Args:
            text: The message.
            history: The user's events; empty for somebody unknown.
            conversation: What the last reply returned; None begins.
            edits: The user's own, which hold for every list.
            available: Items that may be shown; None allows all.
            k: Length of the list.
            like: Items found by a picture or a sound that came with the message.
        """
        before = conversation or Conversation()
        last = self.recommender.lookup.items.ids[history.item_index[-1]] if history.num_events else None
        query = understand(text, self.terms, shown=before.shown, last=last)
        if query.intent == "empty" and not like:
            return self._said(message("Please say what you are looking for."), before, query)
        if (
            query.intent not in ("empty", "yes", "no", "neither") and not query.is_foreign
        ):  # of a button, or too short to tell
            before = replace(before, language=query.language)
        if like:
            query = replace(query, intent="request", like=(*query.like, *like))
        elif query.is_foreign:
            sentence = message("I understand English and Chinese, and the names of the catalog in any language.")
            return self._said(sentence, before, before.query)
        if before.pending and query.intent in ("yes", "no"):
            return self._decided(query.intent == "yes", before, history, edits, available, k)
        if query.intent == "reset":
            begun = Conversation(language=before.language)
            return self._said(
                message("Your wishes of this conversation are forgotten. What are you looking for?"), begun, query
            )
        if query.intent == "statement" and query.edits:
            return self._proposed(query, before)
        if query.intent == "neither" and self._has_others(before.offered):  # else none of them is preferred
            query = replace(query, unwanted=before.offered)
            before = replace(before, asked=tuple(n for n in before.asked if n != before.offered[0].name))
        wishes = before.query if query.intent in ("explain", "yes", "no") else before.query.joined(query)
        return self._listed(wishes, replace(before, pending=()), history, edits, available, k)

    # kinds of replies

    def _said(self, text: Message, conversation: Conversation, query: Query) -> Reply:
        return Reply(Translator(conversation.language)(text), None, None, (), (), query, conversation)

    def _proposed(self, query: Query, before: Conversation) -> Reply:
        """Ask whether a lasting statement is to change the profile."""
        say = Translator(query.language)
        refused = tuple(self._shown(Facet(e.name, e.value), query.language) for e in query.edits if e.action == "never")
        wished = tuple(self._shown(Facet(e.name, e.value), query.language) for e in query.edits if e.action == "more")
        parts = [say(message("Shall I never show you {names} again?", names=refused))] if refused else []
        parts += [say(message("Shall I show you more of {names} from now on?", names=wished))] if wished else []
        after = replace(before, pending=query.edits, language=query.language)
        return Reply(_joined(parts, query.language), None, None, query.edits, (), before.query, after)

    def _decided(
        self,
        is_confirmed: bool,
        before: Conversation,
        history: Histories,
        edits: Sequence[Edit],
        available: Bool[np.ndarray, " items"] | None,
        k: int,
    ) -> Reply:
        """Answer a yes or no to proposed edits, with a list that follows them."""
        say = Translator(before.language)
        after = replace(before, pending=())
        if not is_confirmed:
            return self._said(message("Your profile stays as it is."), after, before.query)
        confirmed = before.pending
        reply = self._listed(before.query, after, history, [*edits, *confirmed], available, k)
        changed = say(message("Your profile is changed."))
        return replace(reply, text=_joined([changed, reply.text], before.language), confirmed=confirmed)

    def _listed(
        self,
        query: Query,
        before: Conversation,
        history: Histories,
        edits: Sequence[Edit],
        available: Bool[np.ndarray, " items"] | None,
        k: int,
    ) -> Reply:
        """Answer with a list, and a question where that would help."""
        shown = np.ones(len(self.recommender.catalog), bool) if available is None else available
        (scores,) = self.recommender.scored(history).each()
        own = [
            *edits,
            *(Edit(f.name, f.value, "never") for f in query.unwanted),
            *(Edit(ITEM, i, "never") for i in query.unlike),
        ]
        options = self._options(query, k, shown)
        request = ListRequest(options, history.user_ids[0], history, own, scores)
        (found,) = self.recommender.recommend_many([request], shown)
        if isinstance(found, Exception):
            raise found
        question = self._question(query, before, request, shown)
        say = Translator(before.language)
        found = replace(
            found, items=tuple(replace(item, reasons=tuple(map(say.said, item.reasons))) for item in found.items)
        )
        after = replace(
            before,
            query=replace(query, edits=()),
            shown=tuple(item.item_id for item in found.items),
            asked=(*before.asked, question.name) if question else before.asked,
            offered=tuple(Facet(question.name, value) for value in question.values) if question else (),
        )
        parts = [say(sentence) for sentence in self._sentences(query, found, before.language)]
        if question is not None:
            values = tuple(self._shown(Facet(question.name, v), before.language) for v in question.values)
            parts.append(say(message("Would you rather have {values}?", values=values)))
        return Reply(_joined(parts, before.language), found, question, (), (), query, after)

    def _sentences(self, query: Query, found: RecommendationList, language: str) -> list[Message]:
        """Return what the list is, in one or two sentences."""
        sentences = []
        if not found.items:
            sentences.append(message("Nothing in the catalog fits all of that; take a wish back, or say “start over”."))
        elif query.is_open and not query.unwanted:
            sentences.append(message("Here is what fits you best."))
        else:
            wanted = without_repeats(self._shown(f, language) for f in query.wanted)
            like = tuple(message("“{title}”", title=self._title(i)) for i in query.like)
            if wanted:
                sentences.append(message("Here is what fits you best with {names}.", names=wanted))
            elif like:
                sentences.append(message("Here is what is most like {titles} and fits you.", titles=like))
            elif query.words:
                sentences.append(message("Here is what is nearest to “{words}” and fits you.", words=query.words))
            else:
                sentences.append(message("Here is what fits you best within these limits."))
        limits = (
            *(
                message("{column} at least {number}", column=Message(column), number=_number(number))
                for column, number in query.at_least.items()
            ),
            *(
                message("{column} at most {number}", column=Message(column), number=_number(number))
                for column, number in query.at_most.items()
            ),
        )
        if limits and found.items:
            sentences.append(message("Only {limits}.", limits=limits))
        unwanted = without_repeats(self._shown(f, language) for f in query.unwanted)
        if unwanted:
            sentences.append(message("Without {names}.", names=unwanted))
        if query.unknown and not query.words:
            sentences.append(message("Not understood: “{words}”.", words=" ".join(query.unknown)))
        return sentences

    # the list

    def _options(self, query: Query, k: int, available: Bool[np.ndarray, " items"]) -> RankingOptions:
        """Return the query as options of a list."""
        allow: list[str] = []
        near = 10 * NEIGHBOURS if query.wanted or query.at_least or query.at_most else NEIGHBOURS
        for item_id in query.like:  # few neighbours may pass the other wishes: more are looked at then
            allow += [f.item_id for f in self.recommender.similar(item_id, near, available=available).items]
        boost: list[str] = []
        if query.words:
            nearest = self.terms.nearest(query.words, NEIGHBOURS)
            if query.wanted or query.like:
                boost = [f"item:{item_id}:{NEAR_WORDS}" for item_id in nearest[:MAX_BOOSTED] if ":" not in item_id]
            else:
                allow = nearest
        if query.is_contested and query.words and query.refused_words:
            allow = self.terms.nearer(query.words, query.refused_words)
        refused = self.terms.nearest(query.refused_words, REFUSED_NEIGHBOURS) if query.refused_words else []
        return RankingOptions(
            k=k,
            where=[f"{facet.name}:{facet.value}" for facet in query.wanted if ":" not in facet.name][:50],
            at_least=[f"{column}:{number:.6f}" for column, number in query.at_least.items()],
            at_most=[f"{column}:{number:.6f}" for column, number in query.at_most.items()],
            allow=list(dict.fromkeys(allow))[:MAX_ALLOWED],
            deny=[*query.like, *refused],
            boost=boost,
            reasons=True,
        )

    def _question(
        self,
        query: Query,
        before: Conversation,
        request: ListRequest,
        available: Bool[np.ndarray, " items"],
    ) -> Question | None:
        """Return the question whose answer tells most about which candidate is meant; None after enough of them.

        Args:
            query: All wishes.
            before: With what was asked already.
            request: Of the list that is shown; the candidates are more of the same.
            available: Items that may be shown.
        """
        if len(before.asked) >= MAX_QUESTIONS or query.like:
            return None
        more = request.options.model_copy(update={"k": CANDIDATES, "reasons": False})
        (found,) = self.recommender.recommend_many([replace(request, options=more)], available)
        if isinstance(found, Exception) or len(found.items) < FEWEST_CANDIDATES:
            return None
        rows = self.recommender.lookup.rows([item.item_id for item in found.items])
        chance = _chances(np.array([item.score for item in found.items]))
        settled = {*before.asked, *(f.name for f in query.wanted)}
        return self._best_question(
            [name for name in self.recommender.lookup.facets if name not in settled], rows, chance
        )

    def _best_question(
        self, names: Sequence[str], rows: Int64[np.ndarray, " candidates"], chance: Float64[np.ndarray, " candidates"]
    ) -> Question | None:
        """Return the question about one of some attributes that tells most; None where the candidates are alike in all of them."""
        questions = [question for name in names if (question := self._about(name, rows, chance)) is not None]
        return max(questions, key=lambda question: question.bits, default=None)

    def _about(
        self, name: str, rows: Int64[np.ndarray, " candidates"], chance: Float64[np.ndarray, " candidates"]
    ) -> Question | None:
        """Return the question about one attribute."""
        lookup = self.recommender.lookup
        place = np.full(len(lookup.items), -1)
        place[rows] = np.arange(len(rows))
        shares: dict[str, float] = {}
        for value, own in lookup.facets[name].items():
            found = place[own]
            share = float(chance[found[found >= 0]].sum())
            if 0 < share < CERTAIN:
                shares[value] = share
        if len(shares) < 2:
            return None
        values = sorted(shares, key=lambda v: (-shares[v], v))
        p = np.minimum(np.array([shares[v] for v in values]), 1.0)
        rest = max(0.0, 1.0 - p[:MAX_CHOICES].sum())
        told = np.append(p[:MAX_CHOICES], rest)
        told = told[told > 0] / told.sum()
        return Question(name, tuple(values[:MAX_CHOICES]), float(-(told * np.log2(told)).sum()))

    def _has_others(self, offered: Sequence[Facet]) -> bool:
        """Return whether the attribute that was asked about has values that were not offered."""
        return bool(offered) and len(self.recommender.lookup.facets[offered[0].name]) > len(offered)

    def _shown(self, facet: Facet, language: str) -> str:
        return self.recommender.lookup.shown(facet.name, facet.value, language)

    def _title(self, item_id: str) -> str:
        return self.recommender.lookup.titles[self.recommender.lookup.row(item_id)]


def _joined(sentences: Sequence[str], language: str) -> str:
    return ("" if language == "zh" else " ").join(sentences)


def _number(number: float) -> str:
    return f"{round(number, 2):.12g}"


def _chances(scores: np.ndarray) -> np.ndarray:
    """Return how probable each candidate is: the reciprocal of its rank, scaled to a sum of 1.

    Scores of an ensemble have no common scale; the share of choices falls about as the reciprocal of the rank.
    """
    chance = 1.0 / (1.0 + np.arange(len(scores)))
    return chance / chance.sum()
