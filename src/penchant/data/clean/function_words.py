"""The language of a text in Latin letters, by its function words.

In: a text. Out: the code of its language, or "latin" where too few function words tell. A short list of the most frequent words decides,
which is enough to tell a language that a classifier never saw, and asks for two different words before it says anything.
"""

from __future__ import annotations

import re

from penchant.data.clean.normalisation import language

WORDS = {
    "en": "the and is was you it for that this with are not but have be they we my your of to in on at what so all just from his her me",
    "de": "der die das und ist nicht ich ein eine zu mit auf den war es sehr wir sie uns auch für von dem hat aber wie bin am im so noch haben",
    "fr": "le la les et est une un des je ne pas que dans pour sur il nous vous très était avec ce cette mais qui au aux tout jamais du plus c'est",
    "es": "el la los las y es una un de que no en muy con por para me mi se del lo pero como está estoy más al todo este esta qué día nada",
    "it": "il la che di e è un una non per sono con mi del della molto era si le gli ma anche come questo ho più nel alla al sempre abbiamo",
    "pt": "o a os as e é um uma de que não em com para por do da no na muito mas eu você está foi mais se meu minha isso ao também dia",
    "nl": "de het een en is niet ik van dat op te zijn met was voor maar ook heel we je aan er naar bij heb dit mijn nog deze zeer",
    "sv": "och det är en ett inte jag som på att med för var den till av har vi mycket men så om från mig när också kan bra",
    "pl": "i nie się na jest to w z że do był była jak ale bardzo po co tak dla jestem ten ta mnie już tylko od za przez dzień",
    "tr": "ve bir bu çok için da de ne ben ama gibi daha var yok değil olarak en o mi ile sonra kadar her şey güzel iyi bugün",
    "id": "yang dan di ini itu dengan untuk tidak saya aku ada dari ke akan pada kita juga sudah bisa sangat lagi adalah kami hari",
}
"""Language to its most frequent words, as in any frequency list."""
LISTS = {code: frozenset(text.split()) for code, text in WORDS.items()}
LEAST = 2
"""Different function words of a language that a text must hold."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_NAMES = re.compile(r"(?:https?://|www\.)\S+|[@#]\w+")


def kind_of_language(text: str) -> str:
    """Return the language of a text: by its script where it is not Latin ("zh", "ru", ...), else by its function words, "latin" where these do not tell."""
    plain = _NAMES.sub(" ", text)
    if not any(character.isalpha() for character in plain):
        return "none"
    script = language(plain)
    if script != "en":
        return script
    found = {word.replace("’", "'") for word in _WORD.findall(plain.lower())}
    hits = {code: len(found & known) for code, known in LISTS.items()}
    best = max(hits, key=lambda code: hits[code])
    others = max(count for code, count in hits.items() if code != best)
    return best if hits[best] >= LEAST and hits[best] > others else "latin"
