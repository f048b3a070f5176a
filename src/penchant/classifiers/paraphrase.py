"""Augmentation of training texts by paraphrases of a language model.

In: texts. Out: each in other words, or none where the model wrote nothing new. Written batch by batch and kept with its provenance, so that
a killed run goes on and no text is asked about twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ConfigError
from penchant.core.logs import progress_bar
from penchant.language.descriptions import DescribeConfig, DescriptionWriter
from penchant.language.local import LocalConfig
from penchant.language.written import WrittenStore

PROMPT = "Say the following in other words and keep its meaning. Answer with the new text only.\n\n{content}"
TRANSLATE = "Translate the following into {language}. Answer with the translation only.\n\n{content}"


class ParaphraseConfig(LocalConfig):
    """Which language model says training texts in other words, and how."""

    through: str | None = None
    """A language the text is translated into and back, for example "French"; None asks for other words at once.

    Source: Sennrich et al., ACL 2016; Xie et al., Unsupervised data augmentation, NeurIPS 2020."""
    language: str = "English"
    """Into which it is translated back."""
    prompt: str = PROMPT
    """What is asked where nothing is translated; {content} stands for the text."""
    chance: float = Field(0.5, ge=0, le=1)
    """Of a training text to be read in its other words, each time it is seen."""
    max_tokens: int = Field(120, ge=1)
    """Longest answer."""
    max_characters: int = Field(1000, ge=1)
    """Longer texts are not asked about."""
    batch_size: int = Field(8, ge=1)
    """Texts written at once, and the most work a killed run loses."""
    written: Path = Path("runs/cache/written")
    """Folder of what was written before; relative to where the command is given."""


def paraphrase(texts: Sequence[str], config: ParaphraseConfig) -> list[str | None]:
    """Return each text in other words; None where it is empty, too long, or the model wrote nothing new.

    What a model of 135 million parameters writes is often no paraphrase: read some before you trust them.

    Raises:
        ConfigError: The prompt has no place for the text.
        EncoderError: There is no such model here, or it cannot be loaded.
        MissingExtraError: The extra `llm` is not installed.
    """
    if "{content}" not in config.prompt:
        raise ConfigError(
            "The prompt has no place for the text.", where="augment.paraphrase.prompt", fix="write {content} into it"
        )
    writers = _writers(config)
    mark = fingerprint([writer.provenance for writer in writers])
    store = WrittenStore(config.written, mark)
    keys = {text: fingerprint(text) for text in texts if 0 < len(text.strip()) <= config.max_characters}
    known = store.read()
    missing = sorted((text for text, key in keys.items() if key not in known), key=lambda text: (-len(text), text))
    with progress_bar("paraphrase", len(missing)) as bar:
        for start in range(0, len(missing), config.batch_size):
            batch = missing[start : start + config.batch_size]
            done = {keys[text]: new for text, new in zip(batch, _through(writers, batch), strict=True)}
            store.append(done, writers[-1].provenance)
            known |= done
            bar.advance(len(batch))
    found = [known.get(keys[text], "") if text in keys else "" for text in texts]
    return [new if new and new.strip() != text.strip() else None for text, new in zip(texts, found, strict=True)]


def _writers(config: ParaphraseConfig) -> list[DescriptionWriter]:
    """Return who writes, one after the other."""
    languages = [] if config.through is None else [config.through, config.language]
    prompts = [TRANSLATE.replace("{language}", language) for language in languages] or [config.prompt]
    return [
        DescriptionWriter(
            DescribeConfig(
                columns=[],
                prompt=prompt,
                model=config.model,
                revision=config.revision,
                cache=config.cache,
                max_tokens=config.max_tokens,
                batch_size=config.batch_size,
            )
        )
        for prompt in prompts
    ]


def _through(writers: Sequence[DescriptionWriter], texts: Sequence[str]) -> list[str]:
    """Return texts passed from writer to writer; "" where one of them wrote nothing."""
    for writer in writers:
        given = [text for text in texts if text]
        answers = iter(writer(given) if given else [])
        texts = [next(answers) if text else "" for text in texts]
    return list(texts)
