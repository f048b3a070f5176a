"""The catalogs of translations, brought up to date with the source code by `make messages`.

In: source files and templates, `penchant.po`, `errors.json`. Out: `penchant.po` with every message of the code and no other, and `penchant.mo`,
which is read at run time; `errors.json` with every template of an error. The `.mo` is committed, so that an editable install and a wheel need
neither Babel nor a build step.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from error_texts import ErrorTexts
from penchant.core.messages import LANGUAGES, LOCALES

SOURCE = LOCALES.parent
KEYWORDS = {"message": None, "translate": None, "_": None, "pgettext": ((1, "c"), 2)}
METHODS = [("**.py", "python"), ("**.jinja", "jinja2")]
TRANSLATED = [language for language in LANGUAGES if language != "en"]
UNDATED = datetime(2000, 1, 1, tzinfo=UTC)


def po_file(language: str) -> Path:
    """Return where the translations of a language are."""
    return LOCALES / language / "LC_MESSAGES" / "penchant.po"


def translated(language: str) -> Catalog:
    """Return the translations as they are on disk."""
    with po_file(language).open("rb") as file:
        return read_po(file, locale=language)


def extracted() -> Catalog:
    """Return every message of the source code."""
    found = Catalog()
    for name, _, text, _, context in extract_from_dir(SOURCE, METHODS, {}, KEYWORDS):
        found.add(text, locations=[(f"src/penchant/{name}", 0)], context=context)
    return found


def update(language: str) -> None:
    """Write the catalogs of a language; a new message is left without a translation."""
    path = po_file(language)
    catalog = Catalog(locale=language, header_comment="", creation_date=UNDATED, revision_date=UNDATED, fuzzy=False)
    known = translated(language) if path.is_file() else Catalog(locale=language)
    for message in extracted():
        if message.id:
            old = known.get(message.id, message.context)
            catalog.add(message.id, old.string if old else "", sorted(set(message.locations)), context=message.context)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalog, width=0, sort_output=True, include_lineno=False)
    with path.with_suffix(".mo").open("wb") as file:
        write_mo(file, catalog)


def error_file(language: str) -> Path:
    """Return where the translations of errors are: English template to translation."""
    return LOCALES / language / "errors.json"


def error_translations(language: str) -> dict[str, str]:
    """Return the translations of errors as they are on disk."""
    found: dict[str, str] = (
        json.loads(error_file(language).read_text("utf-8")) if error_file(language).is_file() else {}
    )
    return found


def update_errors(language: str) -> None:
    """Write the templates of the code's errors; a new one is left without a translation."""
    known = error_translations(language)
    texts = {template: known.get(template, "") for template in sorted(ErrorTexts(SOURCE).templates())}
    error_file(language).write_text(json.dumps(texts, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    for chosen in TRANSLATED:
        update(chosen)
        update_errors(chosen)
