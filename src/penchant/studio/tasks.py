"""The page of labelled tasks: try a classifier on words or a file, or read the courses of a table of readings.

In: words and an uploaded file, which is not kept. Out: the prediction with its evidence, or a plot for each person.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Response, UploadFile

from penchant.classifiers.bundle import TrainedClassifier
from penchant.core.errors import DataError
from penchant.core.messages import channel_names
from penchant.data.media.limits import MEDIA_ENDINGS
from penchant.reporting.courses import SHOWN, course_plot
from penchant.service.schemas import CoursesIn, FileIn, Name, PredictIn
from penchant.studio.page_context import ChangedOnPage, Context, PageContext
from penchant.studio.rendering import render


def add_tasks(router: APIRouter) -> None:
    """Add the page to the studio."""

    @router.get("/studio/tasks")
    def tasks(context: Context, task: Annotated[Name | None, Query()] = None) -> Response:
        context.require("read")
        return _page(context, task)

    @router.post("/studio/tasks", dependencies=[ChangedOnPage])
    def try_task(
        context: Context,
        task: Annotated[Name, Form()],
        words: Annotated[str, Form(max_length=20_000)] = "",
        file: Annotated[UploadFile | None, File()] = None,
    ) -> Response:
        """Classify words and one file, or follow people over time; nothing is kept."""
        context.require("read")
        service = context.service
        trained = service.tasks.about(task)
        uploaded = None if file is None or not file.filename else _uploaded(file)
        pool = context.request.app.state.pools["media" if uploaded else "encoders"]
        if trained.warning is not None:
            if uploaded is None:
                raise DataError("No table of readings was given.", where="file", fix="choose a file of readings")
            given = CoursesIn(readings=uploaded[1])
            found = pool.call(lambda: service.tasks.courses(task, given, service.uploads, service.scratch))
            plots = [(one.person, course_plot(one, one.person)) for one in found.values() if len(one.start)]
            return _page(context, task, plots=plots[:SHOWN], num_people=len(found))
        content: Mapping[str, Any] = {} if uploaded is None else {uploaded[0]: uploaded[1]}
        asked = PredictIn(text=words.strip() or None, **content)
        answer = pool.call(lambda: service.predict(task, asked))
        return _page(context, task, words=words, answer=answer)


def _page(context: PageContext, task: str | None, **found: Any) -> Response:
    names = context.service.tasks.names
    chosen = task or (names[0] if names else None)
    trained = None if chosen is None else context.service.tasks.about(chosen)
    values = {"words": "", "answer": None, "plots": None, "num_people": 0, **found}
    about = None if trained is None else _about(trained)
    return render(context, "tasks", names=names, task=chosen, about=about, **values)


def _about(trained: TrainedClassifier) -> dict[str, Any]:
    """Return what the page says of a task and what it asks for."""
    return {
        "classes": trained.classes,
        "reads": channel_names(trained.inputs.modalities),
        "reads_text": bool(trained.inputs.text_columns),
        "opened": channel_names(trained.inputs.opened),
        "follows": None if trained.warning is None else trained.warning.positive,
        "notes": [str(note) for note in trained.facts.get("notes", ())],
    }


def _uploaded(file: UploadFile) -> tuple[str, FileIn]:
    """Return the modality of an uploaded file by its name's ending, and its bytes."""
    ending = PurePosixPath(file.filename or "").suffix.lower()
    modality = next((name for name, endings in MEDIA_ENDINGS.items() if ending in endings), None)
    if modality is None:
        raise DataError(
            f"A file ending in {ending or 'nothing'!r} is none that a task reads.",
            where="file",
            fix="choose a picture, sound, video, a 3-D shape or a table of readings",
        )
    return modality, FileIn(data=base64.b64encode(file.file.read()).decode(), ending=ending)
