"""Words that name nothing: articles, pronouns, auxiliaries.

In: codes of languages. Out: their stop words.
"""

from __future__ import annotations

from functools import cache


@cache
def stop_words(*languages: str) -> frozenset[str]:
    """Return the stop words of some languages in lower case; of a language without a list there are none.

    Source: stopwords-iso, https://github.com/stopwords-iso.
    """
    import stopwordsiso  # reads its lists, and most answers of a service need none

    known = [name for name in languages if stopwordsiso.has_lang(name)]
    return frozenset(word for name in known for word in stopwordsiso.stopwords(name))
