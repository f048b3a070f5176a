"""Prompts kept as files, with a version each.

In: a name and a language. Out: the prompt with its values filled in, and its version, which is part of the provenance of every text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from penchant.core.errors import ConfigError
from penchant.language.engine import Prompt

FOLDER = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class PromptFile:
    """One prompt.

    Attributes:
        version: Changes with every change of the wording.
        system: Instructions.
        user: The request, with placeholders such as {statements}.
    """

    version: str
    system: str
    user: str

    def filled(self, **values: str) -> Prompt:
        """Return the prompt with its placeholders replaced; values are data and are not read for placeholders themselves."""
        text = self.user
        parts = []
        while text:
            place, name = min(
                ((found, name) for name in values if (found := text.find(f"{{{name}}}")) >= 0), default=(len(text), "")
            )
            parts.append(text[:place] + (values[name] if name else ""))
            text = text[place + len(name) + 2 :] if name else ""
        return Prompt(self.system, "".join(parts))


@cache
def read_prompt(name: str, language: str) -> PromptFile:
    """Return a prompt in a language.

    Raises:
        ConfigError: There is none.
    """
    path = FOLDER / f"{name}.{language}.txt"
    if not path.is_file():
        raise ConfigError(
            f"There is no prompt {name!r} in {language!r}.", where=str(path.parent), fix='use "en" or "zh"'
        )
    head, system, user = path.read_text("utf-8").split("\n---\n")
    return PromptFile(head.removeprefix("version: ").strip(), system.strip(), user.strip())
