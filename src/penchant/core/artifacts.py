"""Folders that are written completely or not at all.

In: a function that writes files into an empty folder. Out: a folder with a manifest, written last, that names every file's checksum.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from penchant.core.errors import ArtifactError

try:
    import fcntl
except ImportError:  # Windows: what a killed process left stays
    fcntl = None  # type: ignore[assignment]

MANIFEST = "manifest.json"
FORMAT = 1
REPORT = "report"
"""Folder of the report below that of a result."""
STAGING = "staging-"
"""In the name of a folder that is being written."""
YOUNG_SECONDS = 60
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)
"""Errors caused by the disk or its permissions; any other error is a bug."""
WAITS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before a folder that is being replaced is read again."""
AT_CURRENT_FOLDER, EXCHANGE = -100, 2
"""The arguments of Linux's renameat2 for two paths that change places."""
Found = TypeVar("Found")


def fingerprint(*parts: Any) -> str:
    """Return 16 hex digits that change when any part changes.

    Parts are JSON values, paths (their bytes are read), bytes, or pydantic settings. Dictionaries are read in key order.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, Path):
            digest.update(checksum(part).encode())
        elif isinstance(part, bytes):
            digest.update(part)
        else:
            digest.update(json.dumps(part, sort_keys=True, default=_plain).encode())
        digest.update(b"\x00")
    return digest.hexdigest()


def content_hash(raw: bytes) -> str:
    """Return 32 hex digits, equal for equal content: the key of caches."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def checksum(path: Path) -> str:
    """Return the BLAKE2b digest of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def write_artifact(
    folder: Path, write: Callable[[Path], None], *, kind: str, facts: dict[str, Any] | None = None
) -> Path:
    """Write a folder atomically: readers see the old one or the new one.

    Args:
        folder: Target; an existing artifact is replaced, anything else is refused.
        write: Called with an empty folder to fill.
        kind: Kind of artifact ("bundle", "report"), checked when it is opened.
        facts: JSON values stored in the manifest.

    Raises:
        ArtifactError: The disk is full, or the target holds other files.
    """
    with _staged(folder, kind) as staging:
        write(staging)
        files = {p.relative_to(staging).as_posix(): checksum(p) for p in sorted(staging.rglob("*")) if p.is_file()}
        manifest = {"format": FORMAT, "kind": kind, "facts": facts or {}, "files": files}
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False), encoding="utf-8")
    return folder.absolute()


def link_artifact(source: Path, folder: Path, *, kind: str) -> Path:
    """Put the same artifact at a second place, in one step and without copying its files where the file system allows it.

    Files of an artifact are never written again, so that both places may name the same ones.

    Args:
        source: A checked artifact.
        folder: Target, as that of `write_artifact`.
        kind: Kind of artifact, for error messages.

    Raises:
        ArtifactError: The disk is full, or the target holds other files.
    """
    with _staged(folder, kind) as staging:
        for path in sorted(source.rglob("*")):
            place = staging / path.relative_to(source)
            if path.is_dir():
                place.mkdir()
            elif path.is_file():
                _link(path, place)
    return folder.absolute()


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError as error:
        if error.errno in CANNOT_WRITE[:3]:
            raise
        shutil.copyfile(file, place)  # another file system, or one without links


@contextmanager
def _staged(folder: Path, kind: str) -> Iterator[Path]:
    """Give an empty folder to fill, which then takes the place of `folder` in one step.

    Raises:
        ArtifactError: The disk is full, or the target holds other files.
    """
    folder = folder.absolute()
    _check_target(folder)
    staging: Path | None = None
    held: int | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.{STAGING}", dir=folder.parent))
        staging.chmod(0o755)
        held = _hold(staging)
        yield staging
        _replace(staging, folder)
    except Exception as error:
        cause = _errno(error)
        if cause not in CANNOT_WRITE:
            raise
        raise ArtifactError(
            f"Could not write {kind}: {os.strerror(cause)}.",
            where=str(folder),
            fix="free some space or choose another `output`, then run again; finished steps are kept",
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        if held is not None:
            os.close(held)


def replace_text(file: Path, text: str) -> None:
    """Write a small file in one step: readers see the old text or the new one, after a power failure too.

    Raises:
        ArtifactError: The disk is full or cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno not in CANNOT_WRITE:
            raise
        raise ArtifactError(
            f"Could not write {file.name!r}: {os.strerror(error.errno or 0)}.",
            where=str(file),
            fix="free some space, or make the folder writable",
        ) from error


@contextmanager
def locked(lock: Path, *, waits: bool) -> Iterator[bool]:
    """Hold a lock file among the processes of this machine; it ends with the process, and the file stays.

    Args:
        lock: The file; removing it could break another's lock.
        waits: Whether to wait for a process that holds it; otherwise False is given.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield _flock(descriptor, waits)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, waits: bool) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def lock_of(folder: Path) -> Path:
    """Return the lock file of an artifact: who replaces its folder holds it."""
    folder = folder.absolute()
    return folder.parent / f".{folder.name}.lock"


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Hold the folder of a result while it is made, so that what cannot be written is told before the work, and two runs cannot
    make one result. A file beside it, `.NAME.lock`, is locked; it stays, since removing it could break another's lock.

    Raises:
        ArtifactError: The folder holds other files or cannot be written, or another process holds it.
    """
    folder = folder.absolute()
    _check_target(folder)
    with ExitStack() as stack:
        try:
            is_held = stack.enter_context(locked(lock_of(folder), waits=False))
        except OSError as error:
            raise ArtifactError(
                f"The result could not be written: {os.strerror(error.errno or 0)}.",
                where=str(folder),
                fix="choose another `output`, or make its folder writable",
            ) from error
        if not is_held:
            raise ArtifactError(
                f"Another run is writing {folder.name!r}.",
                where=str(folder),
                fix="wait for it, or choose another `output` or `name`",
            )
        yield


def _check_target(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or (not (folder / MANIFEST).exists() and any(folder.iterdir()))):
        raise ArtifactError(
            f"The folder {folder.name!r} holds other files.",
            where=str(folder),
            fix="choose another `output`, or empty that folder first",
        )


def remove_unfinished(folder: Path) -> list[str]:
    """Remove what killed processes left beside an artifact: folders half written, and the one that was replaced.

    A folder is locked as long as its process writes it. One younger than a minute stays: it may not be locked yet.

    Args:
        folder: Of the artifact; while it is missing, the one it was to replace stays.

    Returns:
        Names of the removed folders.
    """
    removed = []
    staging, old = f".{folder.name}.{STAGING}", f".{folder.name}.old-"
    for path in sorted(folder.parent.iterdir()) if fcntl and folder.parent.is_dir() else []:
        is_old = path.name.startswith(old) and path.name[len(old) :].isdigit() and (folder / MANIFEST).is_file()
        if not (path.name.startswith(staging) or is_old) or path.is_symlink() or not path.is_dir():
            continue
        with suppress(OSError):  # another process removed it
            held = None if time.time() - path.stat().st_mtime < YOUNG_SECONDS else _hold(path)
            if held is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(held)
                removed.append(path.name)
    return removed


def copy_report(report: Path | None, result: Path) -> None:
    """Copy the files of a report into the folder `report` of a result; None copies nothing."""
    if report is not None:
        (result / REPORT).mkdir()  # with the modes of the result; a temporary folder is closed to other accounts
        for file in sorted(report.iterdir()):
            shutil.copyfile(file, result / REPORT / file.name)


def _hold(folder: Path) -> int | None:
    """Lock a folder for this process and return the descriptor to close; None where another process holds it."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def _errno(error: Exception) -> int | None:
    """Return the errno of an error; safetensors and polars wrap it and keep it in the message text."""
    if isinstance(error, OSError):
        return error.errno
    number = re.search(r"\(os error (\d+)\)", str(error))
    return int(number.group(1)) if number else None


def read_manifest(folder: Path, *, kind: str) -> dict[str, Any]:
    """Return the manifest of a folder, its files not checked.

    Args:
        folder: Of an artifact.
        kind: What is expected there, for error messages.

    Raises:
        ArtifactError: There is none, or it cannot be read.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"There is no finished {kind} in {folder.name!r}.",
            where=str(folder),
            fix="run `penchant run CONFIG.toml` to make one",
        ) from None
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested without end
        raise ArtifactError("The manifest cannot be read.", where=str(path), fix=_REMAKE) from None
    if not isinstance(manifest, dict):
        raise ArtifactError("The manifest is not of the form that is written.", where=str(path), fix=_REMAKE)
    return manifest


def read_artifact(folder: Path, read: Callable[[], Found]) -> Found:
    """Return what `read` makes of one version of a folder; where the folder is replaced meanwhile, it is read again.

    Raises:
        ArtifactError: It is missing, or `read` refuses it.
    """
    for wait in WAITS:
        before = _version(folder)
        try:
            found = read()
        except ArtifactError:
            if before == _version(folder) and not _is_being_replaced(folder):
                raise
        else:
            if before == _version(folder):
                return found
        time.sleep(wait)
    return read()


def _version(folder: Path) -> tuple[int, ...] | None:
    """Return numbers that change when a folder is replaced; None where it is missing."""
    try:
        about, manifest = folder.stat(), (folder / MANIFEST).stat()
    except OSError:
        return None
    return about.st_ino, manifest.st_ino, manifest.st_mtime_ns


def _is_being_replaced(folder: Path) -> bool:
    """Return whether the old folder was moved aside and the new one is not there yet."""
    return not folder.exists() and any(folder.parent.glob(f".{folder.name}.old-*"))


def open_artifact(folder: Path, *, kind: str, exact: bool = False) -> dict[str, Any]:
    """Check every file against the manifest and return the manifest.

    Args:
        folder: Of an artifact.
        kind: What is expected there.
        exact: Whether to refuse a file that the manifest does not name; hidden files, which no one reads, may be there.

    Raises:
        ArtifactError: It is missing, incomplete, altered, of another kind, or from a newer Penchant.
    """
    manifest, path = read_manifest(folder, kind=kind), folder / MANIFEST
    if manifest.get("kind") != kind:
        raise ArtifactError(
            f"This is a {manifest.get('kind')}, not a {kind}.", where=str(folder), fix=f"give the path of a {kind}"
        )
    files, version = manifest.get("files"), manifest.get("format", 0)
    is_named = isinstance(files, dict) and all(isinstance(c, str) and "\0" not in n for n, c in files.items())
    if not is_named or not isinstance(version, int) or not isinstance(manifest.get("facts", {}), dict):
        raise ArtifactError("The manifest is not of the form that is written.", where=str(path), fix=_REMAKE)
    if version > FORMAT:
        raise ArtifactError(
            f"Format {version} is newer than this Penchant reads ({FORMAT}).",
            where=str(path),
            fix="pip install --upgrade penchant",
        )
    if exact:
        _refuse_others(folder, manifest["files"])
    for name, expected in manifest["files"].items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(
                f"The manifest names a file outside its folder: {name!r}.", where=str(path), fix=_REMAKE
            )
        if not file.is_file():
            raise ArtifactError(f"The file {name!r} is missing.", where=str(folder), fix=_REMAKE)
        if checksum(file) != expected:
            raise ArtifactError(f"The file {name!r} was altered after it was written.", where=str(file), fix=_REMAKE)
    return manifest


def _refuse_others(folder: Path, names: dict[str, str]) -> None:
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_dir() or name.as_posix() in (*names, MANIFEST) or any(p.startswith(".") for p in name.parts):
            continue
        raise ArtifactError(
            f"The manifest does not name the file {name.as_posix()!r}.",
            where=str(folder),
            fix="move the file elsewhere; if it belongs there, copy the folder again from its source",
        )


_REMAKE = "copy it again from its source, or run `penchant run` again to remake it"


def _replace(staging: Path, folder: Path) -> None:
    """Move the finished folder into place; the old one is removed after that.

    The two change places in one step, so that the folder is there at every moment. Where the system or the file system cannot do
    that, `read_artifact` waits for the moment between two renames.
    """
    if folder.exists() and _exchange(staging, folder):
        return  # the caller removes `staging`, which is the old folder now
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    if folder.exists():
        folder.rename(old)
    staging.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; return whether that is possible here."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        paths = os.fsencode(one), os.fsencode(other)
        if hasattr(library, "renamex_np"):  # macOS
            return bool(library.renamex_np(*paths, EXCHANGE) == 0)
        return bool(library.renameat2(AT_CURRENT_FOLDER, paths[0], AT_CURRENT_FOLDER, paths[1], EXCHANGE) == 0)
    except (OSError, AttributeError, TypeError):  # no such function
        return False


def _plain(value: Any) -> Any:
    """Return a JSON value for settings, sets and the like."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"cannot fingerprint {type(value).__name__}")
