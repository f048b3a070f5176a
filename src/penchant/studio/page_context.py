"""The page context: language, theme and scopes of a request.

In: a request with its cookies. Out: a `PageContext`; or a refusal, with the same scopes as the API. A change is taken only from the page itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import Depends, Query, Request, Response

from penchant.core.messages import LANGUAGES, preferred_language
from penchant.service.http_errors import RefusedError
from penchant.service.service import Service
from penchant.studio.language import PageTranslator

KEY, LANGUAGE, THEME = "penchant_key", "penchant_language", "penchant_theme"
"""Cookies."""
THEMES = ("auto", "light", "dark")
YEAR_SECONDS = 31_536_000


@dataclass(frozen=True)
class PageContext:
    """Language, theme and scopes of one request.

    Attributes:
        request: The request.
        service: The service.
        translate: Into the reader's language.
        theme: "auto" follows the system.
    """

    request: Request
    service: Service
    translate: PageTranslator
    theme: str

    def require(self, *scopes: str) -> None:
        """Let the request pass if its key has every scope.

        Raises:
            RefusedError: The key lacks a scope, or there is no key.
        """
        for scope in scopes:
            self.service.keyring.check(self._authorization, scope)

    def require_talk(self) -> None:
        """Let a request that talks pass: by its key's scope, and by the limits that the API has for such requests.

        Raises:
            RefusedError: As `require`; or the key asks too often.
        """
        self.service.talk_limits.check_rate(self.service.keyring.check(self._authorization, "personal"))

    def may(self, scope: str) -> bool:
        """Return whether the request's key has a scope."""
        try:
            self.require(scope)
        except RefusedError as error:
            return error.status not in (401, 403)
        return True

    def value_of(self, name: str, value: str) -> str:
        """Return the value of an attribute as it is shown: the name of a topic in the reader's language."""
        return self.service.snapshot.recommender.lookup.shown(name, value, self.translate.language)

    @property
    def has_key(self) -> bool:
        return KEY in self.request.cookies

    @property
    def _authorization(self) -> str | None:
        key = self.request.cookies.get(KEY)
        return f"Bearer {key}" if key else None

    def remember(self, response: Response) -> None:
        """Keep the choices of `?lang=` and `?theme=` for the next pages."""
        chosen = self.request.query_params
        for parameter, cookie, value in (("lang", LANGUAGE, self.translate.language), ("theme", THEME, self.theme)):
            if parameter in chosen:
                set_cookie(self.request, response, cookie, value, YEAR_SECONDS)


def page_context(
    request: Request,
    lang: Annotated[Literal["en", "zh"] | None, Query()] = None,
    theme: Annotated[Literal["auto", "light", "dark"] | None, Query()] = None,
) -> PageContext:
    """Return the context of a request: language and theme from its query, else from cookies, else from the browser's headers."""
    asked = lang or request.query_params.get("lang")  # an error page is made without a parsed query
    language = asked or request.cookies.get(LANGUAGE, "")
    if language not in LANGUAGES:
        language = preferred_language(request.headers.get("accept-language", ""))
    theme_name = theme or request.cookies.get(THEME, "")
    service: Service = request.app.state.service
    return PageContext(request, service, PageTranslator(language), theme_name if theme_name in THEMES else "auto")


def require_same_origin(request: Request) -> None:
    """Let a change pass only if this page sent it: another site may make a browser post, but cannot forge these headers.

    Raises:
        RefusedError: Another site sent it.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_ours = site == "same-origin"
    elif origin is not None:
        is_ours = urlsplit(origin).netloc == request.headers.get("host")
    else:  # another site cannot set this header without a preflight request, which is not answered
        is_ours = request.headers.get("hx-request") == "true"
    if not is_ours:
        raise RefusedError(
            "This change was not sent by the page itself.",
            where="Origin",
            fix="open the page and try again",
            status=403,
        )


def set_cookie(request: Request, response: Response, name: str, value: str, seconds: int | None) -> None:
    """Set a cookie that no script reads and no other site sends."""
    response.set_cookie(
        name, value, max_age=seconds, httponly=True, samesite="strict", secure=request.url.scheme == "https", path="/"
    )


Context = Annotated[PageContext, Depends(page_context)]
ChangedOnPage = Depends(require_same_origin)
"""A change is taken only from the page itself."""
