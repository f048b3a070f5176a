"""Request and response schemas of the API.

In: JSON and query strings. Out: validated requests; and the schemas of the answers, which OpenAPI shows.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints

from penchant.core.messages import unpacked
from penchant.language.screen import MAX_MESSAGE
from penchant.recommender.lists import Id, Printable, RankingOptions

if TYPE_CHECKING:
    from penchant.service.trial_results import MetricResult, TrialResults

MAX_KIND = 64
Name = Annotated[str, StringConstraints(min_length=1, max_length=64), Printable]


def _normalised_kind(kind: str) -> str:
    """Return a kind of event as it is stored; lower case may be longer: "İ" becomes two characters."""
    normalised = kind.strip().lower()
    if not 1 <= len(normalised) <= MAX_KIND:
        raise ValueError(
            f"has {len(normalised)} characters in lower case and without spaces around; 1 to {MAX_KIND} fit"
        )
    return normalised


Kind = Annotated[Name, AfterValidator(_normalised_kind)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=2000), Printable]
Prose = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]


def _written_time(value: Any) -> Any:
    """Refuse numbers, also those in a text, which would be read as seconds or milliseconds by their size."""
    if isinstance(value, datetime) or (isinstance(value, str) and value[4:5] == "-"):
        return value
    raise ValueError("is not a time such as 2025-01-31T12:00:00Z")


def _written_flag(value: Any) -> Any:
    """Accept what a query string can hold of a boolean, and no other spelling of one."""
    if isinstance(value, bool) or value in ("true", "false"):
        return value
    raise ValueError("is neither true nor false")


Time = Annotated[datetime, BeforeValidator(_written_time), Field(strict=False)]
QueryFlag = Annotated[bool, BeforeValidator(_written_flag)]
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]


class ApiModel(BaseModel):
    """Base of the schemas: unknown keys are refused, a field's docstring is its description."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ApiInput(ApiModel):
    """Base of bodies: JSON's own types, so that `"5"` is no number and 0 no boolean, as the schema says."""

    model_config = ConfigDict(strict=True)


class MediaIn(ApiInput):
    """A media file: exactly one of the three."""

    data: Annotated[str, Field(max_length=64_000_000)] | None = None
    """The file itself, in base64."""
    file: Annotated[str, Field(max_length=1000)] | None = None
    """A path below the service's media folder."""
    url: Annotated[str, Field(max_length=2000)] | None = None
    """An https address on a host of the allow-list."""


class EventIn(ApiInput):
    """One event."""

    user_id: Id
    """The user."""
    item_id: Id
    """The item; an event of an unknown item is stored and counts once the item is added."""
    kind: Kind = "click"
    """view, click, play, like, cart, purchase, rating, review, skip, dislike, or a kind of your own."""
    value: Finite | None = None
    """A rating, seconds, an amount."""
    at: Time | None = None
    """Time; without an offset it is UTC. Missing: now. The future is refused beyond five minutes of skew."""
    event_id: Id | None = None
    """The same id of the same user is stored once, however often it is sent."""
    text: Prose | None = None
    """What the user wrote, such as a review."""
    image: MediaIn | None = None
    """What the user showed, such as a photo of what they bought."""
    audio: MediaIn | None = None
    """What the user said: a voice note."""


class EventBatch(ApiInput):
    """Several events; all are stored, or none."""

    events: Annotated[list[EventIn], Field(min_length=1, max_length=10_000)]


class EventsStored(ApiModel):
    """The events are on disk."""

    stored: int
    """New ones."""
    duplicates: int
    """Events whose `event_id` was stored before."""
    unknown_items: int
    """About items that are not in the catalog (yet)."""
    with_content: int = 0
    """Events whose words, picture or sound are read: within about a second the lists of their users know them."""
    unread_content: int = 0
    """Texts, pictures and sounds that nothing in the bundle reads; they are not stored, the events are."""


class EventNameIn(ApiInput):
    """What names events of a user: their `event_id`, or their item and time, as the export shows them."""

    model_config = ConfigDict(strict=False)

    event_id: Id | None = None
    """The id it was sent with."""
    item_id: Id | None = None
    """Its item; needs `at`."""
    at: Time | None = None
    """Its time, as the export shows it."""
    kind: Kind | None = None
    """Its kind; missing: every kind."""


class EventsDeleted(ApiModel):
    """The events are deleted."""

    deleted: int
    """How many."""
    in_bundle: bool
    """Whether the bundle learned from such an event too: there it stays until a run without it, or until the user is erased."""


class ListIn(RankingOptions):
    """Ranking options of one request."""

    k: Annotated[int, Field(ge=1, le=500)] = 10
    """How many."""
    seen: QueryFlag = False
    """Whether items of the history may come again."""
    reasons: QueryFlag = False
    """Add reasons by past event; costs some milliseconds."""
    at: Time | Literal["now"] | None = None
    """Time of the request: gives the circumstances hour, weekday and month (UTC) where the bundle learned about them. Missing: they are not known."""


class StreamOut(ApiModel):
    """An event stream."""

    source: str
    """Its name in the settings."""
    state: Literal["reading", "waiting", "away", "stopped"]
    """waiting: the store, the encoding of content or the learner must catch up; away: the broker does not answer; stopped: nobody reads it."""
    message: str
    """Why it is not read."""
    since: str | None
    """When the state began."""
    consumers: int
    """Processes that read it."""
    behind_seconds: float
    """Age of the newest record that was read, while there are more to read."""
    stored: int
    """Events that were new, since the stream's first record."""
    duplicates: int
    """Events that were stored before."""
    refused: int
    """Records that could not be stored."""
    erased: int
    """Events of users who were erased after they were sent."""
    dead_letters: int
    """Refused records that are kept."""


class UserIn(ApiInput):
    """What a user tells of themself. A column or file that is not named stays as it is; null takes it back."""

    columns: Annotated[
        dict[Name, Prose | Finite | bool | Annotated[list[Name], Field(max_length=100)] | None], Field(max_length=100)
    ] = {}
    """Values by column of the users: attributes, and words such as a bio."""
    image: MediaIn | None = None
    """Such as an avatar."""
    audio: MediaIn | None = None
    """Such as a spoken greeting."""


class UserState(ApiModel):
    """What a user told of themself, and whether it is read."""

    user_id: str
    status: Literal["none", "waiting", "ready"]
    """none: nothing was told; waiting: being encoded; ready: the next list knows it."""
    columns: dict[str, Any] = {}
    """As they were sent."""
    files: dict[str, str] = {}
    """Modality to the name of its file; `GET /v1/export/{user_id}/files/{name}` returns it."""
    new_values: list[str] = []
    """Columns with a value that nobody had whom the bundle learned from: they say nothing until the next run."""
    unreadable: list[str] = []
    """What cannot be read, with the reason; the rest counts."""


class SessionEventIn(ApiInput):
    """One event of an anonymous history, with its content."""

    item_id: Id
    text: Prose | None = None
    image: MediaIn | None = None
    audio: MediaIn | None = None


class SessionIn(ListIn):
    """An anonymous history and ranking options."""

    model_config = ConfigDict(strict=True)

    seen: StrictBool = False
    """Whether items of the history may come again."""
    reasons: StrictBool = False
    """Add reasons by past event; costs some milliseconds."""
    history: Annotated[list[Id | SessionEventIn], Field(max_length=1000)] = []
    """Item ids, or events with content; oldest first."""
    about: UserIn | None = None
    """What the user is: read for this list, and not stored."""

    @property
    def events(self) -> list[SessionEventIn]:
        """The history, every entry as an event."""
        return [one if isinstance(one, SessionEventIn) else SessionEventIn(item_id=one) for one in self.history]

    @property
    def has_content(self) -> bool:
        """Whether something must be encoded."""
        return self.about is not None or any(isinstance(one, SessionEventIn) for one in self.history)

    @property
    def has_media(self) -> bool:
        """Whether a file must be encoded."""
        return self.num_media > 0

    @property
    def num_media(self) -> int:
        """How many files must be encoded."""
        given: list[SessionEventIn | UserIn] = [one for one in self.history if isinstance(one, SessionEventIn)]
        if self.about is not None:
            given.append(self.about)
        return sum((one.image is not None) + (one.audio is not None) for one in given)


class EditIn(ApiInput):
    """A user's edit of one interest."""

    name: Name
    """"item", or the name of an interest as the profile shows it (an attribute, "topic")."""
    value: Id
    """The item's id, or the interest's value."""
    action: Literal["more", "less", "never", "pin", "reset"]
    """More or less of it, never again, always (an item stands first, an interest counts double); reset takes it back."""
    strength: Annotated[float, Field(gt=0, le=5)] = 1.0
    """How much more or less, in standard deviations of a score."""


class ProfilePatch(ApiInput):
    """A user's edits."""

    edits: Annotated[list[EditIn], Field(min_length=1, max_length=200)]


class SearchIn(ApiInput):
    """A search query: words, an image, or audio."""

    words: Words | None = None
    image: MediaIn | None = None
    audio: MediaIn | None = None
    k: Annotated[int, Field(ge=1, le=500)] = 10


class ChatIn(ApiInput):
    """A message to the assistant."""

    user_id: Id
    """Whose history, edits and conversations count."""
    message: Annotated[str, StringConstraints(max_length=MAX_MESSAGE)] | None = None
    """Up to 2,000 characters, unless the service is set otherwise. In English or Chinese. A request for a list, an answer to a question, or a statement about the user."""
    conversation_id: Name | None = None
    """From an earlier answer; left out: another conversation begins."""
    k: Annotated[int, Field(ge=1, le=50)] = 10
    """Length of lists."""
    image: MediaIn | None = None
    """A picture that the list shall be like; not kept."""
    audio: MediaIn | None = None
    """The message, spoken; its words are kept, the sound is not."""


class CardOut(ApiModel):
    """An item of the answer."""

    item_id: str
    title: str
    rank: int
    reasons: list[str]


class QuestionOut(ApiModel):
    """A question whose answer narrows the list most."""

    name: str
    """Attribute, or "topic"."""
    values: list[str]
    """Most probable first."""


class ChatOut(ApiModel):
    """The assistant's answer."""

    conversation_id: str
    """For the next message."""
    text: str
    items: list[CardOut]
    """The list, best first; empty where the answer is a question for a confirmation."""
    question: QuestionOut | None
    proposed: list[dict[str, Any]]
    """Edits of the profile that the next message may confirm with yes."""
    confirmed: list[dict[str, Any]]
    """Edits that are stored now."""
    understood: dict[str, Any]
    """All wishes of the conversation, as they were understood."""


class FileIn(MediaIn):
    """A file whose ending gives its kind."""

    ending: Annotated[str, Field(pattern=r"^\.[a-z0-9]{1,8}$", examples=[".csv"])] | None = None
    """.obj, .ply, .stl, .off, .glb of a shape; .csv, .tsv, .parquet, .jsonl, .npy of readings. A path or address may show it instead."""


class PredictIn(ApiInput):
    """Content to classify: the inputs of the task, or a part of them."""

    text: Prose | Annotated[dict[Name, Prose], Field(min_length=1, max_length=50)] | None = None
    """Words; where the task reads several columns of them, column to words."""
    image: MediaIn | None = None
    audio: MediaIn | None = None
    video: MediaIn | None = None
    mesh: FileIn | None = None
    """A 3-D shape."""
    signal: FileIn | None = None
    """Sensor readings."""
    evidence: bool = True
    """Return the words with the largest contribution to the answer."""


class RegionOut(ApiModel):
    """A region of an image; coordinates are shares of its width or height."""

    label: str
    score: float
    """Confidence of the detector, 0 to 1; not a calibrated probability."""
    left: float
    top: float
    width: float
    height: float


class PredictionOut(ApiModel):
    """The prediction for the content."""

    task: str
    label: str
    """The class."""
    score: float
    """Its probability, 0 to 1."""
    threshold: float
    """From which probability on it is the answer, the other classes keeping their proportions."""
    probabilities: dict[str, float]
    """Of every class."""
    is_unsure: bool
    """Whether a reviewer should decide."""
    evidence: list[tuple[str, float]] = []
    """Words that add most to the logit of the class, with that amount."""
    transcript: str = ""
    """Speech of the sound, where the task transcribes it."""
    written: str = ""
    """Text found in the image, where the task reads it."""
    regions: list[RegionOut] = []
    """Regions a detector found in the image, highest score first."""
    notes: list[str] = []
    """Inputs that were not used, and limits of the answer: a health task gives no diagnosis."""
    plausible: list[str] = []
    """Classes that may be the true one."""
    coverage: float = 0.0
    """Share of content like that of training whose true class is among them; 0 where nothing is promised."""


class CoursesIn(ApiInput):
    """Readings of people over time."""

    readings: FileIn
    """A table: a column with the person's id, one with times, and the channels of training."""
    person: Id | None = None
    """Only this person."""


class CourseOut(ApiModel):
    """How the recordings of one person change; no diagnosis. Lists have a value for each window."""

    person: str
    start: list[float]
    """Start of each window, in seconds as in the readings."""
    is_dated: bool
    """They are seconds since 1970."""
    probability: list[float]
    """Of the class that is followed, each window by itself, 0 to 1."""
    level: list[float]
    """Smoothed, between change points."""
    low: list[float]
    """Lower end of its 95 % band."""
    high: list[float]
    """Upper end."""
    changes: list[int]
    """Numbers of the windows at which something changed."""
    score: list[float | None]
    """Sum of deviations from the person's own beginning; null during it."""
    alarms: list[int]
    """Numbers of the windows at which is warned."""
    threshold: float | None
    """Of the score; null where there were too few days to promise a rate of false alarms."""


class CoursesOut(ApiModel):
    """Courses of people."""

    task: str
    courses: list[CourseOut]
    notes: list[str] = []
    """Limits of the answer: it is no diagnosis."""


class ItemIn(ApiInput):
    """A new or changed item."""

    columns: dict[Name, str | float | bool | list[str] | None] = {}
    """Values by column of the catalog: title, text, category, price."""
    image: MediaIn | None = None
    audio: MediaIn | None = None


class ItemState(ApiModel):
    """Status of an item."""

    item_id: str
    status: Literal["waiting", "ready", "failed", "withdrawn"]
    """waiting: being encoded; ready: recommended; failed: could not be added; withdrawn: in no answer."""
    reason: str | None = None
    """Why it failed; it is tried again when it is sent again, and after a start or with a new bundle."""


def has_media(*given: EventIn | UserIn | SessionEventIn | SearchIn | ChatIn | ItemIn) -> bool:
    """Return whether an image or audio came with some of the content."""
    return any(one.image is not None or one.audio is not None for one in given)


class AlarmOut(ApiModel):
    """Signals that moved together."""

    at: str
    """When it was noticed."""
    lines: list[str]
    """What moved, in plain words, the largest change first."""


class TrialMetricOut(ApiModel):
    """One metric of one variant of a trial."""

    metric: str
    mean: float | None
    """Mean over the users whose time has passed; null without any."""
    users: int
    """These users."""
    difference: float | None = None
    """To the first variant; null of the first one itself."""
    low: float | None = None
    """Lower end of the interval of the difference, valid at any time; null while there are too few users."""
    high: float | None = None
    """Upper end."""
    outcome: str = ""
    """better, worse or not distinguishable; empty of the first variant."""


class TrialVariantOut(ApiModel):
    """One variant of a trial."""

    name: str
    users: int
    """Users who were served a list of it."""
    ended: str
    """Why a guardrail ended it; empty while it runs."""
    metrics: list[TrialMetricOut]


class TrialOut(ApiModel):
    """The state of a trial; the first variant is the one that others are compared with."""

    name: str
    variants: list[TrialVariantOut]

    @classmethod
    def of(cls, results: TrialResults) -> TrialOut:
        """Return the state as the API shows it."""
        variants = [
            TrialVariantOut(
                name=one.name,
                users=one.num_users,
                ended=str(unpacked(one.ended)),
                metrics=[_metric_out(metric) for metric in one.metrics],
            )
            for one in results.variants
        ]
        return cls(name=results.name, variants=variants)


def _metric_out(found: MetricResult) -> TrialMetricOut:
    gap = found.against_first
    means = {"metric": found.metric, "mean": _finite(found.mean), "users": found.num_users}
    if gap is None:
        return TrialMetricOut.model_validate(means)
    ends = {"difference": _finite(gap.mean), "low": _finite(gap.low), "high": _finite(gap.high)}
    return TrialMetricOut.model_validate({**means, **ends, "outcome": str(gap.outcome)})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class ErasureReceipt(ApiModel):
    """A signed receipt without personal data; keep it to prove the erasure."""

    receipt: dict[str, Any]


class Problem(BaseModel):
    """An error (RFC 9457) with the place and the fix."""

    type: str
    title: str
    status: int
    detail: str
    """What is wrong, with the value."""
    where: str
    """Where it was found."""
    fix: str
    """How to fix it."""
    instance: str
    """The request's id, as the log has it."""
