"""From values to pages.

In: the context of a request, the name of a template and its values. Out: an HTML response in the reader's language and theme.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from penchant.explanation.reasons import asked_reason
from penchant.studio.page_context import PageContext

HERE = Path(__file__).parent


def render(context: PageContext, template: str, status: int = 200, **values: Any) -> Response:
    """Return a page from a template, and keep the reader's choices for the next one."""
    text = _templates.get_template(f"{template}.html.jinja").render(
        _=context.translate,
        theme=context.theme,
        context=context,
        path=context.request.url.path,
        status=status,
        value_of=context.value_of,
        **values,
    )
    response = HTMLResponse(text, status, headers=_HEADERS)
    context.remember(response)
    return response


_HEADERS = {"Vary": "Cookie, Accept-Language", "Referrer-Policy": "same-origin"}
"""Without a referrer a browser hides the origin of a form, which the check of the origin needs."""


def _with(request: Request, **parameters: str) -> str:
    """Return the address of the page that is shown, with some parameters changed."""
    url = request.url if request.method == "GET" else request.url.replace(query="")
    changed = url.include_query_params(**parameters)
    return f"{changed.path}?{changed.query}"


def _make_templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["q"] = lambda text: quote(str(text), safe="")
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False, default=float)
    environment.filters["count"] = lambda number: f"{number:,.0f}"
    environment.globals.update(address_with=_with, asked_reason=asked_reason)
    return environment


_templates = _make_templates()
