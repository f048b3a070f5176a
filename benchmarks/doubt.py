"""How often a classifier is unsure about content unlike anything it learned, and what doubt and thresholds promise and keep.

`python benchmarks/doubt.py BUNDLE`, in: a bundle of a labelled task. Out: for each kind of content that it reads, the share that is unsure or missing:
emoji alone, sentences of other languages, silence, noise of several colours and loudnesses, pictures of one colour and of noise.

`python benchmarks/doubt.py configs/NAME.toml --draws 20 --learn 3000`, in: the settings of a task with text. Out: n-grams learn from so many samples
once; the others are drawn, again and again, into a half on which calibration, thresholds and doubt are chosen and a half that is asked.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

import penchant
from penchant.classifiers.classifier import ContentBatch, make_classifier
from penchant.data.clean.samples import clean_samples
from penchant.data.read.samples import read_samples
from penchant.data.split.samples import sample_units
from penchant.experiment.calibration import combine
from penchant.experiment.fit_classifiers import make_score_function
from penchant.experiment.imbalance import training_set, unweighted
from penchant.experiment.left_out import LeftOut, deal
from penchant.experiment.promises import ChoiceMaterial, calibration_error, compare_with_test, keep_promises
from penchant.pipelines.classification import ClassificationConfig

ROW = "n-grams"
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


def promises(path: Path, draws: int, learn: int) -> None:
    """Print what was promised and kept over draws, and whether a test part of the data's own is unlike its other parts."""
    config = ClassificationConfig.from_toml(path)
    samples = clean_samples(read_samples(config.data), config.clean, config.media, cache=config.cache / "media")
    batch, labels, count = ContentBatch(samples.catalog(), {}), samples.labels(), len(samples.classes)
    unit, rng = sample_units(samples), np.random.default_rng(0)
    part = samples.table["part"].to_numpy() if "part" in samples.table.columns else np.full(len(samples), "train")
    test = np.flatnonzero(part == "test")
    order = rng.permutation(np.flatnonzero(part == "train"))
    known, rest = order[:learn], order[learn:]
    if (part == "validation").any():
        rest = np.flatnonzero(part == "validation")
    rest = rest[~np.isin(unit[rest], unit[known])]
    cut = rng.random(len(known)) < 0.85
    weighted = training_set(known[cut], labels[known[cut]], count, np.ones((cut.sum(), 1), bool), config.fit.imbalance)
    score = make_score_function(config.fit.choose_by)
    model = make_classifier(ROW, {"model": "ngrams", "strength": [1.0, 4.0]})
    model.fit(batch, weighted, unweighted(known[~cut], labels[known[~cut]], count), score, seed=0)

    def material(rows: np.ndarray, found: np.ndarray) -> ChoiceMaterial:
        own = np.unique(unit[rows], return_inverse=True)[1]
        left_out = LeftOut(labels[rows], own, np.zeros(len(rows), np.int64), count)
        prior = np.log(np.bincount(labels[known], minlength=count) / len(known))
        rows_of = {ROW: ((ROW,), "one")}
        return ChoiceMaterial({ROW: found}, {ROW: np.ones(len(rows), bool)}, left_out, prior, samples.classes, rows_of)

    def chosen(seen: ChoiceMaterial):  # type: ignore[no-untyped-def]
        tune = config.fit.tune
        row = combine((ROW,), seen.found, seen.present, seen.left_out, seen.prior, samples.classes, tune, "one")
        return keep_promises(ROW, row, seen, tune)

    found = model.log_probability(batch.take(rest))
    kept, errors, aims, by_class = [], [], [], []
    for number in range(draws):
        half = deal(labels[rest], np.unique(unit[rest], return_inverse=True)[1], 2, np.random.default_rng(number)) == 0
        row, held = chosen(material(rest[half], found[half]))
        asked = material(rest[~half], found[~half])
        probability = row.combined.probability(asked.found, asked.present)
        truth, plausible = asked.left_out.labels, row.combined.decision.plausible(probability)
        inside = plausible[np.arange(len(truth)), truth]
        kept.append(inside.mean())
        by_class.append([inside[truth == k].mean() for k in range(count)])
        errors.append(calibration_error(probability, truth))
        answers = row.combined.decision.answers(probability), probability.argmax(axis=1)
        if held is not None:
            aims.append([asked.left_out.scores(probability, said, held.metric)[0] for said in answers])
    print(f"{config.name}: {len(known):,} learned, {len(rest):,} drawn {draws} times into halves")
    print(
        f"  plausible classes promised for {config.fit.tune.coverage}, kept for {np.mean(kept):.4f} (deviation {np.std(kept):.4f})"
    )
    print("  by class:", dict(zip(samples.classes, np.mean(by_class, axis=0).round(4).tolist(), strict=True)))
    print(f"  calibration error {np.mean(errors):.4f}, at most {np.max(errors):.4f}")
    gain = np.diff(np.array(aims)[:, ::-1], axis=1)[:, 0]
    low, high = np.quantile(gain, (0.025, 0.975))
    print(
        f"  aim, thresholds minus without: {gain.mean():+.4f} [{low:+.4f}, {high:+.4f}], changed in {(gain != 0).sum()}"
    )
    if len(test):
        row, held = chosen(material(rest, found))
        told = material(test, model.log_probability(batch.take(test)))
        probability = row.combined.probability(told.found, told.present)
        truth = told.left_out.labels
        inside = row.combined.decision.plausible(probability)[np.arange(len(truth)), truth]
        print(
            f"  on the test: kept {inside.mean():.4f}, calibration error {calibration_error(probability, truth):.4f}, right "
            f"{(probability.argmax(axis=1) == truth).mean():.4f}; on left-out samples calibration error {held.calibration_error:.4f}"
        )
        for one in compare_with_test(held, probability, truth, inside, samples.classes):
            print(f"  {one.check}: {one.advice}")


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=Path, help="a bundle, or the settings of a task")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--learn", type=int, default=3_000, help="samples that n-grams learn from")
    given = parser.parse_args()
    if given.place.suffix == ".toml":
        promises(given.place, given.draws, given.learn)
    else:
        main(given.place)
