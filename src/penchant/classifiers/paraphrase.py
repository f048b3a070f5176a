"""Augmentation of training texts by paraphrases of a language model.

In: texts. Out: a paraphrase of each, or none where the model wrote nothing new. Written batch by batch and stored with its provenance:
an interrupted run continues, and no text is sent to the model twice.
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
    """Language model and prompt for paraphrases of training texts."""

    through: str | None = None
    """A language the text is translated into and back, for example "French"; None asks for a paraphrase directly.

    Source: Sennrich et al., ACL 2016; Xie et al., Unsupervised data augmentation, NeurIPS 2020."""
    language: str = "English"
    """Language of the translation back."""
    prompt: str = PROMPT
    """Prompt where nothing is translated; {content} stands for the text."""
    probability: float = Field(0.5, ge=0, le=1)
    """Probability that a training text is replaced by its paraphrase, each time it is read."""
    max_tokens: int = Field(120, ge=1)
    """Maximum length of an answer in tokens."""
    max_characters: int = Field(1000, ge=1)
    """Longer texts are not paraphrased, nor are those that do not fit the model's positions."""
    batch_size: int = Field(8, ge=1)
    """Texts written at once, and the most work an interrupted run loses."""
    written: Path = Path("runs/cache/written")
    """Folder of earlier paraphrases. Relative to the working directory."""


def paraphrase(texts: Sequence[str], config: ParaphraseConfig) -> list[str | None]:
    """Return a paraphrase of each text; None where it is empty, too long for the setting or the model, or the model wrote nothing new.

    The output of a model of 135 million parameters is often no paraphrase: read some first.

    Raises:
        ConfigError: The prompt has no placeholder for the text.
        EncoderError: There is no such model here, or it cannot be loaded.
        MissingExtraError: The extra `llm` is not installed.
    """
    if "{content}" not in config.prompt:
        raise ConfigError(
            "The prompt has no placeholder for the text.",
            where="augment.paraphrase.prompt",
            fix="write {content} into it",
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
    """Return the models in the order in which they write."""
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
    """Return texts passed through the writers in order; "" where one of them wrote nothing, or where the text does not fit its model."""
    for writer in writers:
        given = list(dict.fromkeys(text for text in texts if text and writer.fits(text)))
        answers = dict(zip(given, writer(given), strict=True)) if given else {}
        texts = [answers.get(text, "") for text in texts]
    return list(texts)
