"""Classifiers of labelled tasks beside the recommender.

In: content that comes with a request. Out: the prediction that `penchant predict` gives, or the courses that `penchant course` gives; the content
is not kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from penchant.classifiers.bundle import MEDIA, TrainedClassifier
from penchant.classifiers.course import Course, read_courses
from penchant.core.errors import NotFoundError, PenchantError, nearest
from penchant.data.media import MediaLimits
from penchant.service.schemas import CoursesIn, FileIn, MediaIn, PredictIn, PredictionOut
from penchant.service.scratch import ScratchFolder
from penchant.service.uploads import UploadStore


class ClassifierTasks:
    """Trained classifiers by name, read when the service starts.

    Args:
        folders: Name to the folder `penchant run` wrote for it.
        limits: Of files that come with requests, beside those of the run.

    Raises:
        ArtifactError: A folder holds no classifier, or an altered one.
    """

    def __init__(self, folders: Mapping[str, Path], limits: MediaLimits) -> None:
        loaded = {name: TrainedClassifier.load(folder) for name, folder in folders.items()}
        self._trained = {name: (_within(trained, limits), threading.Lock()) for name, trained in loaded.items()}

    @property
    def names(self) -> list[str]:
        return sorted(self._trained)

    def predict(
        self, task: str, given: PredictIn, uploads: UploadStore, scratch_folder: ScratchFolder
    ) -> PredictionOut:
        """Return one classifier's prediction for one piece of content; requests to one classifier run one after the other.

        Raises:
            NotFoundError: There is no such task.
            DataError: No input of that classifier was given.
            MediaError: A file cannot be read.
        """
        trained, lock = self._named(task)
        with scratch_folder.temporary() as scratch:
            kept = uploads.within(scratch)
            files = {
                modality: Path(scratch) / kept.keep(media, where=modality, ending=_ending(media))
                for modality in MEDIA
                if (media := getattr(given, modality)) is not None
            }
            with lock:  # encoders are loaded when first used
                found = trained.predict(text=given.text, evidence=given.evidence, **files)
            hidden = f"{Path(scratch).resolve()}/"
        notes = tuple(note.replace(hidden, "") for note in found.notes)
        return PredictionOut(task=task, **asdict(replace(found, notes=notes)))

    def courses(
        self, task: str, given: CoursesIn, uploads: UploadStore, scratch_folder: ScratchFolder
    ) -> dict[str, Course]:
        """Return the course of every person of a table of readings, by id.

        Raises:
            NotFoundError: There is no such task, or no such person in the table.
            ConfigError: The task has no rule for courses.
            DataError: The table cannot be read.
        """
        trained, lock = self._named(task)
        with scratch_folder.temporary() as scratch:
            kept = uploads.within(scratch)
            name = kept.keep(given.readings, where="readings", ending=_ending(given.readings))
            with _path_hidden(Path(scratch).resolve()), lock:
                found = read_courses(trained, Path(scratch) / name)
        if given.person is None:
            return found
        if given.person not in found:
            raise NotFoundError(
                f"There are no readings of {given.person!r}.", where="person", fix=nearest(given.person, found)
            )
        return {given.person: found[given.person]}

    def about(self, task: str) -> TrainedClassifier:
        """Return the classifier of a task.

        Raises:
            NotFoundError: There is no such task.
        """
        return self._named(task)[0]

    def _named(self, task: str) -> tuple[TrainedClassifier, threading.Lock]:
        if task not in self._trained:
            fix = nearest(task, self._trained) if self._trained else "start the service with --task NAME=BUNDLE"
            raise NotFoundError(f"There is no task {task!r}.", where="the address", fix=fix)
        return self._trained[task]


@contextmanager
def _path_hidden(folder: Path) -> Iterator[None]:
    """Take the name of a folder out of the errors of what is done there: it is the service's own."""
    try:
        yield
    except PenchantError as error:
        hidden = f"{folder}/"
        error.message, error.where, error.fix = (
            part.replace(hidden, "") for part in (error.message, error.where, error.fix)
        )
        raise


def _within(trained: TrainedClassifier, limits: MediaLimits) -> TrainedClassifier:
    """Return a classifier that also refuses what the service refuses: the run's files were the operator's own."""
    return replace(trained, inputs=replace(trained.inputs, limits=trained.inputs.limits.within(limits)))


def _ending(media: MediaIn) -> str:
    """Return the ending of a file, which gives the kind of meshes and signals; other kinds are known by their content."""
    if not isinstance(media, FileIn):
        return ""
    named = PurePosixPath(media.file or urlsplit(media.url or "").path).suffix.lower()
    return media.ending or (named if named.isascii() and named[1:].isalnum() else "")
