"""A learner that is killed anywhere leaves a whole bundle, and the next one learns from each event once."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learner_process import learn
from penchant.core.artifacts import open_artifact
from penchant.core.errors import ArtifactError
from penchant.data.histories import Event
from penchant.learning.learner import open_learner
from penchant.learning.settings import LearningConfig
from penchant.recommender.persistence import KIND
from penchant.recommender.recommender import Recommender
from penchant.recommender.versions import mark_of
from penchant.service.config import ServiceConfig
from penchant.service.store import Store, now

KILLS = 20


def watch(bundle: Path, stop: threading.Event, broken: list[str], looks: list[int]) -> None:
    """Check the served bundle again and again, as a service that takes it over does: file by file against the manifest."""
    while not stop.is_set():
        try:
            open_artifact(bundle, kind=KIND, exact=True)
        except ArtifactError:
            time.sleep(0.05)  # it may have been exchanged between two of its files; then a second look is whole
            try:
                open_artifact(bundle, kind=KIND, exact=True)
            except ArtifactError as error:
                broken.append(error.message)
        looks.append(1)
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_learner_breaks_nothing_and_counts_each_event_once(own_shop: Path):
    config = ServiceConfig(bundle=own_shop)
    config.state_folder.mkdir()
    store = Store.open(config.address)
    base = Recommender.load(own_shop)
    stop, broken, looks = threading.Event(), [], []
    watcher = threading.Thread(target=watch, args=(own_shop, stop, broken, looks))
    watcher.start()
    chance = random.Random(7)
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["learner_process"])
    secret = config.state_folder / "secret.key"
    sent = 0
    for _ in range(KILLS):
        process = context.Process(target=learn, args=(own_shop, config.address, secret))
        process.start()
        served = mark_of(own_shop)
        began, limit = time.monotonic(), chance.uniform(0.0, 1.5)
        moved = None  # it is killed within 1.5 s of its first version, in the middle of one of the next
        while time.monotonic() - began < 60 and (moved is None or time.monotonic() - moved < limit):
            user = f"u{chance.randrange(60)}"
            store.append([[Event(user, f"i{chance.randrange(24)}", "like", now() - 1000, None, f"e{sent}")]])
            sent += 1
            time.sleep(0.02)
            if moved is None and mark_of(own_shop) != served:
                moved = time.monotonic()
        process.kill()
        process.join()
    stop.set()
    watcher.join()
    assert not broken
    assert len(looks) > 100
    learner = open_learner(own_shop, config.address, secret, LearningConfig(promote="at_once"))
    with learner.versions.learning():
        learner.step()
        assert learner.step().made is None
    learner.close()
    fitted = Recommender.load(own_shop).fitted
    assert fitted is not None
    expected = sorted(
        (user, int(row)) for user in store.user_ids() for row in base.history(user, store.events(user)).item_index
    )
    found = sorted(
        (user, int(row))
        for place, user in enumerate(fitted.user_ids)
        if user in set(store.user_ids())
        for row in fitted.rows(place, place + 1).item_index
    )
    assert found == expected
    assert fitted.num_events == base.histories.num_events + sent
    assert np.isfinite(Recommender.load(own_shop).score(base.histories.rows(0, 3))).all()
    store.close()
