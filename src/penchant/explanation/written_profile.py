"""Profiles in words.

In: a `Profile`, and an engine that may write. Out: a paragraph and statements, each with the events behind it, in the reader's language.

Every statement is made from a number of the profile by a fixed sentence. A language model may put the statements into a paragraph of its own; each
of its sentences is checked against them (`language/evidence.py`), and where fewer than half are left the fixed sentences stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from penchant.core.messages import CHANNELS, Message, Translator, channel_names, message
from penchant.explanation.profile import Interest, Profile
from penchant.explanation.topic_names import without_repeats
from penchant.explanation.topics import Topics
from penchant.language.engine import Engine, Prompt
from penchant.language.evidence import CatalogNames, Evidence, quotable
from penchant.language.prompt_files import read_prompt
from penchant.language.screen import Screen

NUM_STATEMENTS = 5
FEWEST_KEPT = 0.5
"""Share of a model's sentences that must be supported; else the fixed sentences are used."""


@dataclass(frozen=True)
class Statement:
    """One sentence with the events behind it.

    Attributes:
        text: In the reader's language.
        evidence: Titles of events.
        name: Attribute of the interest, "topic", or "" for what is no interest; with `value` it can be edited.
        value: Value of the interest.
    """

    text: str
    evidence: tuple[str, ...] = ()
    name: str = ""
    value: str = ""


@dataclass(frozen=True)
class WrittenProfile:
    """A profile in words.

    Attributes:
        user_id: The user.
        language: Of the words.
        paragraph: Its sentences.
        statements: The facts behind it, one sentence each, strongest interest first.
        written_by: "template", or the language model.
        num_dropped: Sentences of the language model that its statements do not support.
        num_moderated: Supported sentences of the language model that moderation does not let through.
        reason: Why the template speaks although an engine was given; "" otherwise.
    """

    user_id: str
    language: str
    paragraph: tuple[str, ...]
    statements: tuple[Statement, ...]
    written_by: str
    num_dropped: int = 0
    num_moderated: int = 0
    reason: str = ""

    @property
    def text(self) -> str:
        """The paragraph as one text."""
        return ("" if self.language == "zh" else " ").join(self.paragraph)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return {**asdict(self), "text": self.text}


class ProfileWriter:
    """Writes profiles of one catalog's users in one language.

    Args:
        topics: For names of topics in the reader's language.
        names: Of the catalog: a sentence that names another one than its statements do is dropped.
        language: Of the reader, "en" or "zh".
        engine: Writes the paragraph; None takes the fixed sentences.
        screen: Keeps abuse from being shown, of the language model and of titles that are quoted; None lets all through.
    """

    def __init__(
        self,
        topics: Topics,
        names: CatalogNames,
        *,
        language: str = "en",
        engine: Engine | None = None,
        screen: Screen | None = None,
    ) -> None:
        self._say, self._screen = Translator(language), screen
        self._topics, self._names, self._language = topics, names, language
        self._engine = engine if engine is not None and language in engine.languages else None
        self._unspoken = (
            ""
            if engine is None or self._engine is not None
            else message("the language model does not write this language")
        )

    def write(self, profiles: Sequence[Profile]) -> list[WrittenProfile]:
        """Return each profile in words; a language model writes them in batches.

        Raises:
            EncoderError: The engine does not answer.
        """
        found = [self.statements(profile) for profile in profiles]
        if self._engine is None:
            return [self._fixed(p, s, self._unspoken) for p, s in zip(profiles, found, strict=True)]
        prompts = [self._asked(statements) for statements in found]
        texts = self._engine.write(prompts)
        model = str(self._engine.provenance["model"])
        return [self._checked(*each, model) for each in zip(profiles, found, texts, strict=True)]

    def _checked(self, profile: Profile, statements: Sequence[Statement], text: str, model: str) -> WrittenProfile:
        """Return the sentences of a model that its statements support, or the fixed ones."""
        supported, dropped = self.evidence(statements).checked(text)
        kept = tuple(s for s in supported if self._screen is None or self._screen.allows(s))
        moderated, count = len(supported) - len(kept), len(supported) + dropped
        if not kept or len(kept) < FEWEST_KEPT * count:
            reason = (
                message("moderation kept {count} sentences of the model back", count=moderated)
                if moderated > dropped
                else message(
                    "{dropped} of {count} sentences of the model were not supported", dropped=dropped, count=count
                )
            )
            fixed = self._fixed(profile, statements, reason)
            return replace(fixed, num_dropped=dropped, num_moderated=moderated)
        return WrittenProfile(profile.user_id, self._language, kept, tuple(statements), model, dropped, moderated)

    def evidence(self, statements: Sequence[Statement]) -> Evidence:
        """Return what a sentence about these statements may say."""
        return Evidence(tuple(s.text for s in statements), self._names, self._language)

    def prompt(self, profile: Profile) -> Prompt:
        """Return what a language model is asked for a profile."""
        return self._asked(self.statements(profile))

    def fixed(self, profile: Profile, reason: str = "") -> WrittenProfile:
        """Return a profile in fixed sentences, with the reason why no model's are shown."""
        return self._fixed(profile, self.statements(profile), reason)

    def _asked(self, statements: Sequence[Statement]) -> Prompt:
        lines = "\n".join(f"- {statement.text}" for statement in statements)
        return read_prompt("profile", self._language).filled(statements=lines)

    def _fixed(self, profile: Profile, statements: Sequence[Statement], reason: str) -> WrittenProfile:
        """Return the paragraph of fixed sentences."""
        return WrittenProfile(
            profile.user_id,
            self._language,
            tuple(self._shown(self._say(sentence)) for sentence in self._sentences(profile)),
            tuple(statements),
            "template",
            reason=self._say.said(reason),
        )

    def _sentences(self, profile: Profile) -> list[Message]:
        """Return three to five sentences: what stands out, numbers, what changes, what was disliked, what the lists rest on."""
        valued = [i for i in profile.interests if i.kind != "number"]
        if not profile.num_events:
            return [message("Nothing is known of you yet.")]
        if not valued:
            found = [message("Nothing stands out yet in your {count} events.", count=profile.num_events)]
        else:
            names = without_repeats(map(self._name, valued))[:3]
            found = [message("You choose {names} more than others do.", names=names)]
            if valued[0].evidence:
                found.append(message("Among what you chose: {titles}.", titles=self._quoted(valued[0].evidence)))
        found += [self._number(i) for i in profile.interests if i.kind == "number"][:1]
        rising = without_repeats(self._name(i) for i in valued if i.direction == "rising")
        fading = without_repeats(self._name(i) for i in valued if i.direction == "fading")
        if rising:
            found.append(message("In the later half of your events there is more of {names}.", names=rising[:2]))
        if fading:
            found.append(message("In the later half of your events there is less of {names}.", names=fading[:2]))
        if profile.disliked:
            found.append(message("You did not like {titles}.", titles=self._quoted(profile.disliked)))
        return found

    def statements(self, profile: Profile) -> tuple[Statement, ...]:
        """Return the facts of a profile: the strongest interests as sentences with their numbers, then what was disliked and what lists rest on."""
        found = [self._statement(i, profile) for i in profile.interests[:NUM_STATEMENTS]]
        if profile.disliked:
            text = message("You did not like {titles}.", titles=self._quoted(profile.disliked))
            found.append(Statement(self._say(text), profile.disliked))
        strong = [name for name, share in profile.modalities.items() if share >= 0.1 and name in CHANNELS]
        if strong:
            text = message("Your recommendations rest on {channels}.", channels=channel_names(strong))
            found.append(Statement(self._say(text)))
        return tuple(
            replace(one, text=self._shown(one.text), evidence=tuple(map(self._shown, one.evidence))) for one in found
        )

    def _shown(self, text: str) -> str:
        return text if self._screen is None else self._screen.masked(text)

    def _statement(self, interest: Interest, profile: Profile) -> Statement:
        if interest.kind == "number":
            return Statement(self._say(self._number(interest)), interest.evidence, interest.name, interest.value)
        values: Mapping[str, Any] = {
            "name": self._name(interest),
            "share": f"{interest.share:.0%}",
            "count": profile.num_events,
            "expected": f"{interest.expected:.0%}",
            "titles": self._quoted(interest.evidence),
        }
        if interest.direction == "rising":
            text = message(
                "{share} of your {count} events are {name}, for all users {expected}, and of late there are more; for example {titles}.",
                **values,
            )
        elif interest.direction == "fading":
            text = message(
                "{share} of your {count} events are {name}, for all users {expected}, and of late there are fewer; for example {titles}.",
                **values,
            )
        else:
            text = message(
                "{share} of your {count} events are {name}, for all users {expected}; for example {titles}.", **values
            )
        return Statement(self._say(text), interest.evidence, interest.name, interest.value)

    def _number(self, interest: Interest) -> Message:
        name = Message(interest.name)  # a usual column, such as price, has a name in every language
        values = {"name": name, "own": f"{interest.share:,.4g}", "others": f"{interest.expected:,.4g}"}
        if interest.share > interest.expected:
            return message(
                "The {name} of what you choose is on average {own}, higher than that of all users, {others}.", **values
            )
        return message(
            "The {name} of what you choose is on average {own}, lower than that of all users, {others}.", **values
        )

    def _name(self, interest: Interest) -> str:
        return self._topics.shown(interest.value, self._language) if interest.kind == "topic" else interest.value

    def _quoted(self, titles: Sequence[str]) -> tuple[Message, ...]:
        return tuple(message("“{title}”", title=quotable(title)) for title in dict.fromkeys(titles))
