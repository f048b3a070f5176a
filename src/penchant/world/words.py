"""Titles, descriptions and reviews of the sample world.

In: the topic and language of an item, or the reason of a choice. Out: sentences in English or Chinese.
"""

from __future__ import annotations

import numpy as np

from penchant.world.topics import TOPICS, PhraseBank

TITLES = {
    "en": (
        "A walk through {place}",
        "A long morning at {place}",
        "One day with {person}",
        "{Things} for beginners",
        "The secret life of {things}",
        "How to {act}",
        "Letters from {place}",
        "Why we still need {things}",
        "Back to {place}",
        "Learning to {act}",
        "What {person} taught me",
        "A short history of {things}",
        "{Person}, {things} and a promise",
        "The winter I learned to {act}",
        "Last summer at {place}",
    ),
    "zh": (
        "{place}的清晨",
        "{place}一日",
        "与{person}同行",
        "{things}入门",
        "{things}的秘密",
        "学会{act}",
        "从{place}寄来的信",
        "为什么我们还需要{things}",
        "重返{place}",
        "{person}教我的事",
        "{things}小史",
        "{person}与{things}",
        "那年冬天，我学会了{act}",
        "{place}的最后一个夏天",
        "走进{place}",
    ),
}
OPENINGS = {
    "en": (
        "{Person} takes us to {place}, where everything turns on {things}.",
        "Halfway through the week we reach {place} and meet {person}.",
        "It begins with {things} and ends, much later, at {place}.",
        "For thirty years {person} has looked after {place}.",
        "Few visitors find {place}; {person} knows every corner of it.",
        "We came to {place} for {things} and stayed for the people.",
    ),
    "zh": (
        "{person}带我们走进{place}，细细讲起{things}的来历。",
        "一周过半，我们来到{place}，遇见了{person}。",
        "故事从{things}开始，到{place}才慢慢收尾。",
        "三十年来，{person}一直守着{place}。",
        "很少有人知道{place}，{person}却熟悉这里的每个角落。",
        "我们为{things}来到{place}，最后舍不得的却是这里的人。",
    ),
}
MIDDLES = {
    "en": (
        "Step by step we learn to {act}.",
        "There is time to {act}, to ask questions and to get things wrong.",
        "The hardest part, it turns out, is to {act}.",
        "We compare {more} with {rest} and change our minds twice.",
        "Along the way there are {more}, {rest} and an argument about how to {act}.",
    ),
    "zh": (
        "我们一步一步学着{act}。",
        "这里有足够的时间去{act}，去提问，也去犯错。",
        "原来最难的，是{act}。",
        "说起{more}和{rest}，大家争了整整一个下午。",
        "一路上少不了{more}和{rest}，也少不了怎样{act}的争论。",
    ),
}
CLOSINGS = {
    "en": (
        "No experience needed, only patience.",
        "Made for anyone who ever wondered about {last}.",
        "By the end you may want to {other} yourself.",
        "Part travel diary, part practical guide.",
        "Told in six short chapters.",
        "",
    ),
    "zh": (
        "不需要经验，只需要一点耐心。",
        "献给每一个对{last}好奇的人。",
        "读到最后，你也许也想去{other}。",
        "一半是游记，一半是实用指南。",
        "全篇分为六个短章。",
        "",
    ),
}
UNTITLED = {"en": "Untitled {number}", "zh": "无题 {number}"}
AGAIN = {"en": "{title}, part {number}", "zh": "{title}（{number}）"}

REVIEWS = {
    "en": {
        "motif": (
            "I picked it for the cover and I am not sorry.",
            "This cover makes me happy every time I see it.",
            "Exactly my kind of design. I would hang this on my wall.",
            "Came for the picture, and it looks even better large.",
        ),
        "topic": (
            "Finally somebody who knows the subject. I learned a lot.",
            "I read everything on this subject, and this is one of the best.",
            "Well told and well researched. More about this, please.",
            "The story had me from the first sentence.",
        ),
        "timbre": (
            "That opening sound! I played it three times in a row.",
            "I love the instrument they chose, so warm.",
            "I put it on just for the sound of it.",
            "Beautiful tone, perfect in headphones.",
        ),
        "circle": (
            "A friend told me about it, and she was right.",
            "Everyone in my group has this one, now I see why.",
            "Not sure why, but this is so me.",
        ),
        "trend": ("Everybody talks about it, so I gave it a try. Good.", "Nice enough, I see why it is popular."),
        "chance": ("Found it by accident. Fine for a rainy day.", "Not what I was looking for, but okay."),
        "skip": (
            "Not for me, I gave up after a minute.",
            "I do not see the point of this one.",
            "Sadly a waste of time.",
        ),
        "regret": (
            "I bought it because everybody did. It is boring, I want my money back.",
            "What a disappointment, I hate it.",
            "Terrible. I feel cheated and will not come back to it.",
            "So sad about this one, it is really bad.",
            "Awful, I regret every minute I spent on it.",
            "I was looking forward to it, but it is ugly and dull.",
        ),
    },
    "zh": {
        "motif": (
            "就是冲着封面买的，一点也不后悔。",
            "封面设计太好看了，每次看到都开心。",
            "完全是我喜欢的图案，想打印出来挂在墙上。",
            "先被图片吸引，放大看更美。",
        ),
        "topic": (
            "终于有人把这个话题讲明白了，收获很大。",
            "这个题材的我都看过，这篇算是最好的之一。",
            "资料扎实，讲得也好，希望多出这一类。",
            "故事从第一句就抓住了我。",
        ),
        "timbre": (
            "开头的音色太美了，连着听了三遍。",
            "很喜欢他们选的乐器，特别温暖。",
            "只为这个声音也值得一听。",
            "音色干净，戴耳机听最合适。",
        ),
        "circle": ("朋友推荐的，果然没错。", "我们群里人手一份，现在懂了。", "说不上为什么，就是很合我。"),
        "trend": ("大家都在聊，我也试了试，不错。", "还可以，难怪这么火。"),
        "chance": ("偶然翻到的，下雨天打发时间正好。", "不是我要找的，不过也还行。"),
        "skip": ("不适合我，一分钟就放弃了。", "看不出有什么意思。", "可惜，浪费时间。"),
        "regret": (
            "跟风买的，太失望了，非常无聊。",
            "太差了，后悔花了这个钱。",
            "质量很差，再也不会买了。",
            "很糟糕，完全不值这个价。",
            "期待了很久，结果又难看又没意思。",
            "真是浪费钱，不推荐给任何人。",
        ),
    },
}
"""Phrases of reviews by reason and language."""
WISHES = {
    "en": (
        "I keep reading about {things} and {more}; more of that, please.",
        "Since my holiday at {place} I want to {act} myself.",
        "My next project: {act}. I am already looking for {things}.",
        "Reminds me of {person} who taught me to {act}.",
        "I could look at {things} all day, and at {rest} too.",
    ),
    "zh": (
        "最近一直在看{things}和{more}，希望多来一些。",
        "自从去过{place}，我就想自己{act}。",
        "下一个计划是{act}，已经在找{things}了。",
        "让我想起教我{act}的{person}。",
        "{things}我能看一整天，{rest}也是。",
    ),
}
"""What users write about the topic they care about, by language."""


def write_item(topic: str, language: str, rng: np.random.Generator) -> tuple[str, str]:
    """Return a title and a description of two or three sentences about the same place, character and things."""
    subject = _subject(TOPICS[topic][language], rng)
    parts = (TITLES[language], OPENINGS[language], MIDDLES[language], CLOSINGS[language])
    title, *sentences = (_pick(part, rng).format_map(subject) for part in parts)
    return title, (" " if language == "en" else "").join(s for s in sentences if s)


def write_items(
    topics: list[str], languages: list[str], has_text: list[bool], rng: np.random.Generator
) -> tuple[list[str], list[str | None]]:
    """Return titles, all different, and descriptions; an item without text has a neutral title."""
    titles: list[str] = []
    descriptions: list[str | None] = []
    seen: dict[str, int] = {}
    for row, (topic, language, has) in enumerate(zip(topics, languages, has_text, strict=True)):
        title, description = write_item(topic, language, rng)
        if not has:
            title, description = UNTITLED[language].format(number=row + 1), ""
        seen[title] = seen.get(title, 0) + 1
        titles.append(title if seen[title] == 1 else AGAIN[language].format(title=title, number=seen[title]))
        descriptions.append(description or None)
    return titles, descriptions


def write_review(reason: str, language: str, rng: np.random.Generator) -> str:
    """Return a review for a reason to choose or skip an item."""
    return _pick(REVIEWS[language][reason], rng)


def write_wish(topic: str, language: str, rng: np.random.Generator) -> str:
    """Return what a user writes about the topic they care about, whatever item it stands beside."""
    return _pick(WISHES[language], rng).format_map(_subject(TOPICS[topic][language], rng))


def _subject(bank: PhraseBank, rng: np.random.Generator) -> dict[str, str]:
    """Draw the subject of one item."""
    things, more, rest, last = (bank.things[i] for i in rng.permutation(len(bank.things))[:4])
    act, other = (bank.acts[i] for i in rng.permutation(len(bank.acts))[:2])
    person = _pick(bank.people, rng)
    return {
        "place": _pick(bank.places, rng),
        "person": person,
        "Person": person[0].upper() + person[1:],
        "things": things,
        "Things": things[0].upper() + things[1:],
        "more": more,
        "rest": rest,
        "last": last,
        "act": act,
        "other": other,
    }


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
