"""From the words of a request to a structured query.

In: one message of a user, in English or Chinese, and what stood before it. Out: a `Query`: what is wanted and unwanted, bounds of numbers, an item
to be like, words for the search, and lasting statements about the user.

Rules read negations, comparisons and numbers; `terms.py` says what the other words mean. A message is data: nothing in it is an instruction to this program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

from penchant.assistant.terms import COMPARATIVES, CatalogTerms, Facet, Mention
from penchant.core.scripts import HAN
from penchant.data.clean.function_words import WORDS as FUNCTION_WORDS
from penchant.data.clean.normalisation import language as language_by_script
from penchant.language.stop_words import stop_words
from penchant.recommender.lists import Edit

MAX_CHARACTERS = 2000
"""Of a message that are read."""
MAX_NUMBER = 1e15
"""A number from here on is no bound: no column holds it, and the options of a list take no more digits."""
Intent = Literal["request", "yes", "no", "neither", "reset", "statement", "explain", "empty"]
_BREAKS = re.compile(r"[,.;!?，。；！？、\n]|(?<!anything )(?<!everything )\bbut\b|\bthough\b|但是?|不过")
_NEGATION = re.compile(
    r"\b(?:no|not|n't|don'?t|doesn'?t|without|except|never|nothing|neither|nor|instead of|anything but|other than|less|hate|dislike|avoid|skip|"
    r"stopped|no longer|no more|quit|tired of|bored of|enough of)\b|n't\b|不要|别|不想|除了|没有|不喜欢|不再|讨厌|不看|不听|不吃|不买|少|拒绝|避开|厌倦|腻|非"
)
_EXEMPT = re.compile(r"\b(?:no problem|not sure|no idea|why not|not bad|don'?t mind)\b|有没有")
_BACK = re.compile(r"\b(?:rather|instead|only|just)\b|而是|只要|只想")
_AT_MOST = r"under|below|less than|at most|up to|cheaper than|no more than|not more than|maximum|max|before|until|older than|不超过|低于|少于|小于|最多|不高于|便宜于"
_AT_LEAST = r"over|above|more than|at least|from|since|after|newer than|no less than|not less than|minimum|min|不低于|高于|多于|大于|至少|超过|不少于"
_NUMBER = r"[$€£¥￥]?\s?(\d+(?:\.\d+)?)"
_BOUND = re.compile(rf"\b(?P<most>{_AT_MOST})\s*{_NUMBER}|\b(?P<least>{_AT_LEAST})\s*{_NUMBER}")
_BOUND_ZH = re.compile(
    rf"(?P<most>{'|'.join(w for w in _AT_MOST.split('|') if HAN.search(w))})\s*{_NUMBER}|(?P<least>{'|'.join(w for w in _AT_LEAST.split('|') if HAN.search(w))})\s*{_NUMBER}"
)
_AFTER_ZH = re.compile(r"(\d+(?:\.\d+)?)\s*(?:元|块|年|分钟)?\s*(以下|以内|之前|以前|以上|之后|以后)")
_BETWEEN = re.compile(rf"between\s*{_NUMBER}\s*and\s*{_NUMBER}|{_NUMBER}\s*(?:到|至|-|–|to)\s*{_NUMBER}")
_DECADE = re.compile(r"\b(?:the\s+)?((?:19|20)?\d0)(?:'?s)\b|((?:19|20)?\d0)年代")
_LIKE = re.compile(
    r"\b(?:(?:something|anything|one|more|films?|movies?|items?|songs?|books?|things?)\s+like|similar to|like|reminds? me of|as good as)\s+(.+)|类似(?:于)?(.+)|像(.+?)(?:一样|那样|这样)?(?:的|$)|和(.+?)差不多"
)
_LAST = re.compile(
    r"\b(?:the )?(?:last|latest|previous) (?:one|item|film|movie|song|book|thing)\b|上一个|上次那个|刚才那个|最后一个"
)
_PLACE = re.compile(
    r"\b(?:the )?(first|second|third|fourth|fifth)(?: one| item)?\b|第([一二三四五])(?:个|部|首|本|件)?"
)
_NUMBERED = re.compile(r"(?:\b(?:items?|products?)|物品|商品)\s*(?:no\.?\s*|number\s*|#)?([A-Za-z]*\d+)\b", re.I)
"""An item by a number or an id, which is looked up before; what is left names none."""
_PLACES = {"first": 0, "second": 1, "third": 2, "fourth": 3, "fifth": 4, "一": 0, "二": 1, "三": 2, "四": 3, "五": 4}
_LASTING = re.compile(
    r"\bi (?:no longer|don'?t|do not|never|hate|dislike|stopped|quit|love|like|always|really (?:like|love)|am (?:tired|bored) of|prefer)\b|from now on|"
    r"never (?:show|recommend)|我(?:不再|不喜欢|讨厌|从不|不吃|不看|不听|喜欢|爱|很喜欢|最喜欢|戒了|厌倦)|以后(?:不|别|都)?|再也不"
)
_ASKING = re.compile(
    r"\b(?:show|find|recommend|give|suggest|looking for|want|need|something|anything|would like|i'?d like|please)\b|\?|想|要|推荐|找|来点|有没有|有什么|给我|？"
)
_YES = re.compile(
    r"^\s*(?:yes|yep|yeah|sure|ok|okay|please do|do it|correct|right|confirm|好|好的|是|是的|对|可以|行|确认|嗯)[\s,.!。！，]*(?:please)?[\s.!。]*$",
    re.I,
)
_NO = re.compile(
    r"^\s*(?:no|nope|no thanks?|no thank you|don'?t|cancel|never mind|不|否|不用|不要|不是|算了|取消|不了)[\s,.!。！，]*$",
    re.I,
)
_NEITHER = re.compile(
    r"^\s*(?:none(?: of (?:these|those|them))?|neither(?: of (?:these|those|them))?|something else|others?|都不是|都不要|都不想|换别的|其他的?|别的)[\s.!。！]*$",
    re.I,
)
_RESET = re.compile(r"\b(?:start over|forget (?:that|it|everything)|reset|new search)\b|重新开始|重来|从头|清空", re.I)
_WHY = re.compile(r"^\s*why\b(?! not\b)|为什么|怎么会推荐|理由", re.I)
_EMPTY_TEXT = """
a about all also am an and any anything are as at be been best bit but by can could dear do does else every ever find for from get
give go good got great had has have having hello help here hey hi how i i'd i'm if in into is it its just kind kinda know let like
list little look looking lot make may maybe me might mind mood more most much my need new next nice no not now of off ok okay on
once one ones only or other our please preferably rather really recommend right see set should show so some somebody someone
something sort stuff such suggest suggestion suggestions take tell than thank thanks that the their them then there these they
thing things think this those to today tonight too try up us use very want wants was watch we well were what which while will with
within without would yes you your listen read buy choose item items film films movie movies song songs book books story stories
article articles track tracks product products piece pieces recommendation recommendations less cheaper expensive newer older
longer shorter calmer faster slower price cost year time don't doesn't nothing never except longer prefer love hate dislike enjoy
avoid skip stopped anymore
"""
_EMPTY_WORDS = frozenset(_EMPTY_TEXT.split())
_EMPTY_ZH = re.compile(
    r"我想要?|讲述?|介绍|请|给我|帮我|推荐|一些|一个|一点|点儿?|几个|有没有|有什么|什么|看看|想看|想听|想读|想买|来|找|关于|有关|的|了|吗|呢|吧|啊|和|与|或|但|也|就|都|"
    r"内容|东西|作品|电影|音乐|歌曲?|书|文章|商品|故事|类似|像|一样|不要|不想|别|除了|没有|不喜欢|喜欢|不再|讨厌|以后|最好|更|比较|便宜|价格|元|块|以下|以内|以上|不超过|低于|高于|今天|现在|看|听|读|买|吃|要|想|我|你"
)


@dataclass(frozen=True)
class Query:
    """What a user asks for, as far as it was understood.

    Attributes:
        intent: Kind of the message.
        wanted: Values the items must have; values of one name are alternatives.
        unwanted: Values no item may have.
        at_least, at_most: Column to bound.
        like: Items that the list should be like.
        unlike: Items that the list should not be like.
        words: That say what is wanted without naming a value; items near them come first.
        refused_words: That say what is not wanted without naming a value; the items nearest to them are left out.
        is_contested: Whether one topic holds what is wanted and what is refused, so that the words must tell them apart.
        edits: Lasting statements, to be confirmed before they become edits of the profile.
        language: Of the message, "en" or "zh".
        unknown: Words that mean nothing in this catalog.
        is_foreign: Whether it is in another language than English and Chinese, and names nothing of the catalog.
    """

    intent: Intent = "request"
    wanted: tuple[Facet, ...] = ()
    unwanted: tuple[Facet, ...] = ()
    at_least: dict[str, float] = field(default_factory=dict)
    at_most: dict[str, float] = field(default_factory=dict)
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    words: str = ""
    refused_words: str = ""
    is_contested: bool = False
    edits: tuple[Edit, ...] = ()
    language: str = "en"
    unknown: tuple[str, ...] = ()
    is_foreign: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it says nothing of what is wanted."""
        return not (self.wanted or self.like or self.words or self.at_least or self.at_most)

    def joined(self, later: Query) -> Query:
        """Return what stands after a further message: later wishes add to earlier ones, and replace those they contradict."""
        refused, wished = set(later.unwanted), set(later.wanted)
        renamed = {facet.name for facet in later.wanted}
        return replace(
            later,
            wanted=(*later.wanted, *(f for f in self.wanted if f not in refused and f.name not in renamed)),
            unwanted=(*later.unwanted, *(f for f in self.unwanted if f not in wished and f not in refused)),
            at_least={**self.at_least, **later.at_least},
            at_most={**self.at_most, **later.at_most},
            like=later.like or self.like,
            unlike=tuple(dict.fromkeys((*self.unlike, *later.unlike))),
            words=later.words or ("" if later.like or later.wanted else self.words),
            is_contested=self.is_contested or later.is_contested,
            refused_words=" ".join(filter(None, (self.refused_words, later.refused_words))),
        )


def understand(text: str, terms: CatalogTerms, *, shown: Sequence[str] = (), last: str | None = None) -> Query:
    """Return what a message says.

    Args:
        text: The message; characters beyond `MAX_CHARACTERS` are not read.
        terms: Of the catalog.
        shown: Item ids of the list that the user sees, for "the second one" and "cheaper".
        last: The user's latest item, for "the last one".
    """
    text = " ".join(text[:MAX_CHARACTERS].split())
    language = "zh" if HAN.search(text) else "en"
    intent = _intent(text)
    if intent in ("yes", "no", "neither", "reset", "explain", "empty"):
        return Query(intent, language=language)
    left, bounds = _bounds(text, terms)
    like, unlike, left = _likes(left, terms, shown, last)
    bounds = _compared(text, terms, like[:1] or tuple(shown) or ((last,) if last else ()), bounds)
    missing = tuple(_NUMBERED.findall(left)) if not like and not unlike else ()
    left = _NUMBERED.sub(" ", left) if missing else left
    wanted, unwanted, left = _facets(left, terms)
    if not (wanted or unwanted or like or unlike or any(bounds)) and _is_foreign(text):
        return Query("request", language="en", is_foreign=True)
    more, refused, said, refused_words, left = _by_meaning(left, terms)
    named = {*wanted, *more}
    query = Query(
        intent,
        wanted=tuple(dict.fromkeys((*wanted, *more))),  # a topic may be named, and be found by meaning too
        unwanted=tuple(dict.fromkeys((*unwanted, *(facet for facet in refused if facet not in named)))),
        at_least=bounds[0],
        at_most=bounds[1],
        like=like,
        unlike=unlike,
        words=said or ("" if wanted or like else left),
        refused_words=refused_words,
        is_contested=any(facet in named for facet in refused),
        language=language,
        unknown=(*missing, *((left,) if left and (wanted or more or unwanted or like) else ())),
    )
    return _as_statement(query) if intent == "statement" else query


def _is_foreign(text: str) -> bool:
    """Return whether a text is in another language than English and Chinese: by its script, else by words that name nothing in any of them.

    Two different such words must say so, and more than say English: one may be in a name.
    """
    if language_by_script(text) not in ("en", "zh"):
        return any(character.isalpha() for character in text)
    said = {word.casefold() for word in re.findall(r"[^\W\d_]+", text)}
    english = stop_words("en")
    others = max(len(said & stop_words(code) - english) for code in FUNCTION_WORDS if code != "en")
    return others >= 2 and others > len(said & english)


def _intent(text: str) -> Intent:
    if not re.search(r"\w", text):
        return "empty"
    for intent, pattern in (("yes", _YES), ("no", _NO), ("neither", _NEITHER), ("reset", _RESET), ("explain", _WHY)):
        if pattern.search(text):
            return intent  # type: ignore[return-value]
    low = _EXEMPT.sub(" ", text.casefold())  # "I don't mind a thriller" states no dislike
    would = re.search(r"\bi(?:'d| would) (?:like|love|prefer)\b", low)
    return (
        "statement" if _LASTING.search(low) and not would and not _ASKING.search(_LASTING.sub(" ", low)) else "request"
    )


def _as_statement(query: Query) -> Query:
    """Return a lasting statement: its wishes become edits that wait for a confirmation."""
    refused = [Edit(f.name, f.value, "never") for f in query.unwanted]
    # one edit a value: what was refused by name is not wished for by the other words of the statement
    edits = [*refused, *(Edit(f.name, f.value, "more") for f in query.wanted if f not in query.unwanted)]
    return (
        replace(query, wanted=(), unwanted=(), words="", edits=tuple(edits))
        if edits
        else replace(query, intent="request")
    )


def _bounds(text: str, terms: CatalogTerms) -> tuple[str, tuple[dict[str, float], dict[str, float]]]:
    """Return the text without its bounds, and the bounds: (at least, at most)."""
    least: dict[str, float] = {}
    most: dict[str, float] = {}
    left = text

    def put(into: dict[str, float], found: re.Match[str], number: float) -> None:
        nonlocal left
        column = terms.number_named(_around(text, found), number) if number < MAX_NUMBER else None
        if column is not None:
            into[column] = number
            left = left.replace(found.group(0), " ")

    for found in _BETWEEN.finditer(text):
        low, high = sorted(float(n) for n in found.groups() if n)
        put(least, found, low)
        put(most, found, high)
    for found in _DECADE.finditer(text):
        year = int(found.group(1) or found.group(2))
        year += 0 if year > 100 else 1900 if year >= 30 else 2000
        put(least, found, year)
        put(most, found, year + 9)
    for pattern in (_BOUND, _BOUND_ZH):
        for found in pattern.finditer(left.casefold()):
            number = float(next(n for n in found.groups()[1:] if n and re.fullmatch(r"\d+(?:\.\d+)?", n)))
            put(most if found.group("most") else least, found, number)
    for found in _AFTER_ZH.finditer(left):
        put(most if found.group(2) in ("以下", "以内", "之前", "以前") else least, found, float(found.group(1)))
    return left, (least, most)


def _around(text: str, found: re.Match[str]) -> str:
    """Return the clause around a match."""
    starts = [0, *(m.end() for m in _BREAKS.finditer(text) if m.end() <= found.start() and m.group() != ".")]
    ends = [m.start() for m in _BREAKS.finditer(text) if m.start() >= found.end() and m.group() != "."]
    return text[starts[-1] : min([*ends, len(text)])]


def _likes(
    text: str, terms: CatalogTerms, shown: Sequence[str], last: str | None
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Return the items the list should be like, those it should not, and the text without them."""
    like: list[str] = []
    unlike: list[str] = []
    left = text
    for pattern in (_LAST, _PLACE):
        for found in pattern.finditer(text.casefold()):
            place = next((_PLACES[g] for g in found.groups() if g), None) if found.groups() else None
            item = last if pattern is _LAST else shown[place] if place is not None and place < len(shown) else None
            if item is not None:
                (unlike if _is_negated(text, found.start()) else like).append(item)
                left = left.replace(text[found.start() : found.end()], " ")
    for found in _LIKE.finditer(left):
        named = next(g for g in found.groups() if g is not None)
        item = terms.item_in(named)
        if item is not None:
            (unlike if _is_negated(left, found.start()) else like).append(item)
            left = left[: found.start()] + " " + _without_title(named, item, terms) + left[found.end() :]
            break
    return tuple(dict.fromkeys(like)), tuple(dict.fromkeys(unlike)), left


def _without_title(named: str, item: str, terms: CatalogTerms) -> str:
    """Return what stands beside a title."""
    low = named.casefold()
    forms = [title for title, item_id in terms.titles.items() if item_id == item and title in low]
    if not forms:
        return ""
    title = max(forms, key=len)
    place = low.find(title)
    return named[:place] + " " + named[place + len(title) :]


def _compared(
    text: str, terms: CatalogTerms, items: Sequence[str], bounds: tuple[dict[str, float], dict[str, float]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Add the bounds of comparisons, such as cheaper, newer, calmer: with one item, or with the median of the list that the user sees."""
    least, most = bounds
    low = text.casefold()
    for word, (kind, direction) in COMPARATIVES.items():
        column = terms.column_like(kind)
        if column is None or word not in low or column in least or column in most:
            continue
        numbers = [number for item in items if (number := terms.number_of(item, column)) is not None]
        if numbers:
            number = median(numbers)
            step = 0.001 * abs(number) or 0.001  # strictly less or more
            (least if direction > 0 else most)[column] = number + direction * step
    return least, most


def _facets(text: str, terms: CatalogTerms) -> tuple[tuple[Facet, ...], tuple[Facet, ...], str]:
    """Return the values that are wanted and refused by name, and the text without them."""
    wanted: dict[Facet, None] = {}
    unwanted: dict[Facet, None] = {}
    mentions = [m for m in terms.mentions(text) if not _is_empty(text[m.start : m.end])]
    for mention in mentions:
        (unwanted if _is_negated(text, mention.start) else wanted).update(dict.fromkeys(mention.facets))
    return tuple(f for f in wanted if f not in unwanted), tuple(unwanted), _cut(text, mentions)


def _cut(text: str, mentions: Iterable[Mention]) -> str:
    """Return a text with its mentions replaced by a sign that ends no clause."""
    for mention in reversed(list(mentions)):
        text = f"{text[: mention.start]} {text[mention.end :]}"
    return text


def _by_meaning(text: str, terms: CatalogTerms) -> tuple[tuple[Facet, ...], tuple[Facet, ...], str, str, str]:
    """Return the topics that the remaining words mean, clause by clause.

    Returns:
        Topics that are wanted and refused, the words for each, and the words that mean no topic.
    """
    wanted: list[Facet] = []
    refused: list[Facet] = []
    words: dict[str, list[str]] = {"wanted": [], "refused": [], "left": []}
    for start, clause in _clauses(text):
        for offset, part in _halves(clause):
            content = _content(part)
            if not content:
                continue
            is_refused = _is_negated(text, start + offset + len(part))
            found = terms.by_meaning(content, refused=is_refused)
            (refused if is_refused else wanted).extend(found)
            words["refused" if is_refused else "wanted" if found else "left"].append(content)
    said = (" ".join(words[name]) for name in ("wanted", "refused", "left"))
    return tuple(dict.fromkeys(wanted)), tuple(dict.fromkeys(refused)), *said  # type: ignore[return-value]


def _clauses(text: str) -> list[tuple[int, str]]:
    found, start = [], 0
    for mark in _BREAKS.finditer(text):
        found.append((start, text[start : mark.start()]))
        start = mark.end()
    return [*found, (start, text[start:])]


def _halves(clause: str) -> list[tuple[int, str]]:
    """Return a clause as what stands before its first negation and from there on."""
    exempt = [(m.start(), m.end()) for m in _EXEMPT.finditer(clause.casefold())]
    for mark in _NEGATION.finditer(clause.casefold()):
        if not any(a <= mark.start() < b for a, b in exempt):
            return (
                [(0, clause[: mark.start()]), (mark.start(), clause[mark.start() :])] if mark.start() else [(0, clause)]
            )
    return [(0, clause)]


def _is_negated(text: str, place: int) -> bool:
    """Return whether a negation stands before a place in the same clause, without a "but" between them."""
    starts = [m.end() for m in _BREAKS.finditer(text[:place])]
    before = text[starts[-1] if starts else 0 : place].casefold()
    before = _EXEMPT.sub(lambda m: "_" * len(m.group()), before)
    marks = list(_NEGATION.finditer(before))
    return bool(marks) and not _BACK.search(before[marks[-1].end() :])


def _content(text: str) -> str:
    """Return the words of a text that say what it is about."""
    if HAN.search(text):
        return " ".join(part for part in _EMPTY_ZH.sub(" ", text).split() if HAN.search(part) or part.isalpha()).strip()
    found = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text)
    return " ".join(w for w in found if w.casefold() not in _EMPTY_WORDS)


def _is_empty(phrase: str) -> bool:
    return phrase.casefold() in _EMPTY_WORDS
