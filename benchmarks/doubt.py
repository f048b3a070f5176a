"""How often a classifier is unsure about content unlike anything it learned: `python benchmarks/doubt.py BUNDLE`.

In: a bundle of a labelled task. Out: for each kind of content that it reads, the share that is unsure or missing: emoji alone, sentences of
other languages, silence, noise of several colours and loudnesses, pictures of one colour and of noise.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

import penchant

EMOJI = ["😀", "😂", "❤️", "👍", "😭", "🔥", "🙏", "😡", "🎉", "🤔"]
SENTENCES = {
    "en": [
        "The room was clean and the staff were kind",
        "I do not like it at all",
        "We had a lovely day in the park with the dog",
    ],
    "zh": ["房间很干净，服务也很好", "我一点也不喜欢这里", "今天我们在公园玩得很开心"],
    "fr": [
        "La chambre était propre et le service très bon",
        "Je n'aime pas du tout cet endroit",
        "Nous avons passé une très belle journée avec des amis",
    ],
    "de": [
        "Das Zimmer war sauber und das Essen sehr gut",
        "Ich mag das nicht so sehr",
        "Wir haben einen schönen Tag mit dem Hund gehabt",
    ],
    "es": [
        "La habitación estaba limpia y el personal es muy bueno",
        "No me gusta nada este lugar",
        "Hoy es un día muy bonito para la familia",
    ],
    "ru": ["Номер был чистый и персонал вежливый", "Мне это совсем не нравится", "Сегодня был прекрасный день"],
    "ar": ["كانت الغرفة نظيفة والخدمة ممتازة", "لا يعجبني هذا المكان", "قضينا يوما جميلا"],
    "ja": ["部屋はとても清潔でした", "ここは全然好きではありません", "今日は楽しい一日でした"],
    "ko": ["방이 깨끗하고 직원이 친절했어요", "여기가 정말 싫어요", "오늘은 즐거운 하루였어요"],
}


def colours(rng: np.random.Generator, power: float, count: int = 32_000) -> np.ndarray:
    """Return noise whose spectrum falls with a power of the frequency: 0 is white."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    sound = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** power)
    return sound / np.abs(sound).max()


def main(bundle: Path) -> None:
    """Print the shares."""
    classifier, rng = penchant.load(bundle), np.random.default_rng(0)
    reads = classifier.inputs.modalities
    asked: dict[str, list[dict]] = {}
    if "text" in reads:
        asked["emoji alone"] = [{"text": "".join(rng.choice(EMOJI, size))} for size in (1, 2, 3) * 7]
        learned = {
            kind
            for kind, share in (classifier.novelty.languages if classifier.novelty else {}).items()
            if share >= 0.02
        }
        asked["other languages"] = [
            {"text": text} for kind, texts in SENTENCES.items() if kind not in learned for text in texts
        ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "audio" in reads:
            for number in range(20):
                soundfile.write(folder / f"silence{number}.wav", np.zeros(8000 * (1 + number % 6), np.float32), 16_000)
                noise = colours(rng, (0, 0, 0.5, 1)[number % 4]) * (0.05, 0.2, 0.8)[number % 3]
                soundfile.write(folder / f"noise{number}.wav", noise.astype(np.float32), 16_000)
            for kind in ("silence", "noise"):
                asked[kind] = [{"audio": folder / f"{kind}{number}.wav"} for number in range(20)]
        if "image" in reads:
            for number in range(20):
                Image.new("RGB", (128, 128), tuple(rng.integers(0, 256, 3).tolist())).save(
                    folder / f"blank{number}.png"
                )
                Image.fromarray(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)).save(
                    folder / f"static{number}.png"
                )
            for kind in ("blank", "static"):
                asked[f"{kind} pictures"] = [{"image": folder / f"{kind}{number}.png"} for number in range(20)]
        for kind, contents in asked.items():
            found = [classifier.predict(evidence=False, **content) for content in contents]
            print(f"{kind}: {np.mean([one.is_unsure for one in found]):.2f} of {len(found)} unsure")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
