"""The settings of the service.

In: nothing. Out: `ServiceConfig`, as the command line fills it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from penchant.core.config import Settings
from penchant.data.media import MediaLimits
from penchant.encoders.transcript import TranscriptConfig
from penchant.language.screen import LanguageConfig
from penchant.service.alarms import AlarmsConfig
from penchant.service.host_names import HostName


class ServiceConfig(Settings):
    """Service settings."""

    bundle: Path
    """Folder written by `penchant run`; a new bundle moved to this place is taken over without a stop."""
    tasks: dict[str, Path] = {}
    """Labelled tasks that are answered too: name to the folder `penchant run` wrote; read once, at the start."""
    database: str | None = None
    """postgresql://USER@HOST/DATABASE to share it among processes and machines; None keeps an SQLite file in `folder`."""
    trial: Path | None = None
    """TOML file of a trial: exploration and variants of served lists, which are then logged; None serves everybody the best list and logs none."""
    alarms: AlarmsConfig | None = None
    """Watch the events and the quality of the lists, and tell what moves; None does not."""
    compare: list[Path] = []
    """Bundles that the studio shows beside the served one: folders written by `penchant run`; only their reports are read."""
    folder: Path | None = None
    """Holds the SQLite file, the secret and uploads; None is BUNDLE-service beside the bundle. Machines that share a database must share it."""
    is_open: bool = True
    """Answer requests without a key until the first API key is made; removing keys never opens the service again."""
    host_names: list[HostName] = []
    """Host names at which requests are answered, beside localhost, 127.0.0.0/8 and [::1]; empty: those alone while the service is open, any
    name once there are keys."""
    user_cache_bytes: int = Field(256_000_000, ge=0)
    """Memory of each process for the most recently requested users."""
    max_body_bytes: int = Field(32_000_000, ge=1000)
    """A larger request is refused while it comes in."""
    max_batch: int = Field(1000, ge=1)
    """Events of one request."""
    max_batch_media: int = Field(20, ge=1)
    """Pictures and sounds of one request: of its events, or of a session's history and user."""
    max_skew_seconds: float = Field(300, ge=0)
    """An event further in the future is refused."""
    max_seconds: float = Field(30, gt=0)
    """Longest wait for a request's body."""
    media: MediaLimits = MediaLimits(
        max_bytes=20_000_000,
        max_audio_bytes=30_000_000,
        max_decoding_bytes=400_000_000,
        max_samples=120_000_000,
        max_frame_pixels=9_500_000,
        max_frames=20_000,
    )
    """What a file may be; tighter than in a run, whose files are the operator's own."""
    media_folder: Path | None = None
    """Requests may name files below it; None allows none."""
    allow_hosts: list[str] = []
    """Requests may name addresses on these hosts; empty allows none."""
    language: LanguageConfig = LanguageConfig()
    """What words the assistant's answers and profiles in words (fixed sentences, a language model on this machine, or an endpoint), and what of it is shown."""
    speech: TranscriptConfig = TranscriptConfig()
    """What transcribes spoken messages."""
    watch_seconds: float = Field(1.0, gt=0)
    """How often to look for a new bundle, new items and erasures of other processes."""
    traces: str | None = None
    """http(s) address of an OpenTelemetry collector that is sent a span for each request; None sends nothing anywhere."""

    @property
    def state_folder(self) -> Path:
        return self.folder or self.bundle.with_name(f"{self.bundle.name}-service")

    @property
    def address(self) -> str:
        return self.database or f"sqlite:///{self.state_folder.absolute() / 'store.db'}"
