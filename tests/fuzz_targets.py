"""Every reader of what others wrote: bytes or text in, a result or a `PenchantError` out, whatever they hold.

In: a folder and a shop. Out: by name, what to generate and the reader to call with it. `tests/core/test_fuzz.py` runs a few examples of each with the
tests, `make attack ATTACK="fuzz --minutes 8"` as many as fit into the time.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save as save_arrays

from penchant.core.artifacts import MANIFEST, checksum
from penchant.core.config import read_toml
from penchant.core.errors import PenchantError
from penchant.core.schema import Vocabulary
from penchant.data.media import MediaLimits, load_audio, load_image, load_mesh, load_signal, open_video, resolve
from penchant.data.read.columns import read_ids, read_numbers, read_parts
from penchant.data.read.labels import read_labels
from penchant.data.read.samples import samples_from
from penchant.data.read.sources import from_tables
from penchant.data.read.tables import as_raw, read_table
from penchant.data.read.times import read_times
from penchant.encoders.precomputed import read_vectors
from penchant.encoders.word_vectors import read_word_vectors
from penchant.pipelines.tasks import read_settings
from penchant.recommender.recommender import Recommender
from penchant.service import erasure
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.fetching import Fetcher, is_public
from penchant.service.host_names import is_allowed
from penchant.service.log_pages import texts_in_log
from penchant.service.schemas import MediaIn
from penchant.service.security import ApiKeys, Secret
from penchant.service.store import Store, StoredKey
from penchant.service.uploads import UploadStore
from penchant.studio.pages import add_studio

Reader = Callable[[Any], object]
LIMITS = MediaLimits(max_seconds=5, max_pixels=1_000_000, max_frame_pixels=300_000, max_frames=50)
CLIENT_ERRORS = 500
UNAVAILABLE = (501, 503, 507)
"""Answers of 500 and above that name a cause: not in this bundle, too much at once, no room."""


GENERATED = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
"""Inputs are generated only: a fault is told as it was found, and no run depends on an earlier one."""


@dataclass(frozen=True)
class Target:
    """One reader and what it is given."""

    values: st.SearchStrategy[Any]
    read: Reader


def check(target: Target, value: Any) -> None:
    """Call a reader.

    Raises:
        AssertionError: An error lacks one of its three parts.
        BaseException: Whatever it raises beside a `PenchantError`.
    """
    error = None
    try:
        target.read(value)
    except PenchantError as refusal:
        error = refusal
    if error is not None:
        assert error.message.strip(), "no message"
        assert error.where.strip(), "no place"
        assert error.fix.strip(), "no fix"


ODD = [
    "",
    " ",
    "\0",
    "\ufeff",
    "\ud800",
    "é",
    "İ",
    "²",
    "٣",
    "\u202e",
    "1e999",
    "nan",
    "inf",
    "-0",
    "9" * 400,
    "9" * 5000,
    "%",
    "%2F",
    "..",
    "/",
    "\\",
    '"',
    "'",
    ",",
    "\t",
    "\n",
    "\r",
    ":",
    "::",
    "[",
    "{",
    "[" * 2000,
    "0001-01-01",
    "9999-12-31T23:59:59Z",
    "2024-02-30",
    "12.0",
    "true",
    "None",
]
WORDS = st.one_of(st.sampled_from(ODD), st.text(max_size=12))
TEXTS = st.lists(WORDS, max_size=4).map("".join)
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, seeds: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Return an ending and bytes: those of a seed with some of them replaced, cut, doubled, inserted; or any."""
    name = draw(st.sampled_from(sorted(seeds)))
    ending = name.partition(":")[2] or name
    if draw(st.integers(0, 9)) == 0:
        return ending, draw(st.binary(max_size=300))
    raw = bytearray(seeds[name])
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(raw)))
        new = draw(st.one_of(st.binary(max_size=8), WORDS.map(lambda text: text.encode("utf-8", "surrogatepass"))))
        kind = draw(st.sampled_from(["put", "insert", "cut", "double", "number", "drop"]))
        if kind == "put":
            raw[place : place + len(new)] = new
        elif kind == "insert":
            raw[place:place] = new
        elif kind == "cut":
            del raw[place:]
        elif kind == "double":
            raw[place:place] = raw[place : place + 64]
        elif kind == "number":
            number = draw(st.sampled_from([0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**62]))
            raw[place : place + 8] = struct.pack("<q", number)[: draw(st.sampled_from([1, 2, 4, 8]))]
        else:
            del raw[place : place + draw(st.integers(1, 8))]
    return ending, bytes(raw)


TABLE = "user_id,item_id,at,value,part,label\nu1,i1,2024-05-01T12:00:00Z,1.5,train,yes\nu2,i2,1714564800,,test,no\n"


@cache
def tables() -> dict[str, bytes]:
    frame, parquet, lines = pl.read_csv(TABLE.encode()), io.BytesIO(), io.BytesIO()
    frame.write_parquet(parquet)
    frame.write_ndjson(lines)
    return {
        ".csv": TABLE.encode(),
        "quoted:.csv": b'user_id,item_id\n"u,1","i\n""1"\n',
        "wide:.csv": TABLE.encode("utf-16"),
        "chinese:.csv": "user_id,item_id\n用户,物品\n".encode("gb18030"),
        ".tsv": TABLE.replace(",", "\t").encode(),
        ".csv.gz": gzip.compress(TABLE.encode(), mtime=0),
        ".jsonl": lines.getvalue(),
        ".json": frame.write_json().encode(),
        ".parquet": parquet.getvalue(),
    }


@cache
def media() -> dict[str, dict[str, bytes]]:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8))

    def picture_as(form: str, **options: Any) -> bytes:
        out = io.BytesIO()
        picture.save(out, form, **options)
        return out.getvalue()

    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((rng.standard_normal(2000) * 3000).astype("<i2").tobytes())
    numbers, vectors = io.BytesIO(), io.BytesIO()
    np.save(numbers, rng.standard_normal((20, 2)).astype(np.float32))
    np.save(vectors, rng.standard_normal((3, 2)).astype(np.float32))
    parquet = io.BytesIO()
    pl.DataFrame({"item_id": ["a", "b", "c"], "vector": [[1.0, 2.0]] * 3}).write_parquet(parquet)
    pictures = {f".{form.lower()}": picture_as(form) for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")}
    sounds = {
        ".wav": sound.getvalue(),
        ".ogg": b"OggS\0\2" + bytes(40),
        ".mp3": b"ID3\3\0\0\0\0\0\0" + b"\xff\xfb\x90\0" * 50,
    }
    obj = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    off = b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    ply = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nelement face 1\n"
    ply += b"property list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    stl = bytes(80) + struct.pack("<I12fH", 1, *range(12), 0)
    glb = struct.pack("<4sII", b"glTF", 2, 32) + struct.pack("<I4s", 12, b"JSON") + b'{"asset":{}}'
    return {
        "image": pictures,
        "audio": sounds,
        "video": {".mp4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(60), **sounds, **pictures},
        "mesh": {".obj": obj, ".off": off, ".ply": ply, ".stl": stl, ".glb": glb},
        "signal": {
            ".csv": b"time,x,y\n0,1,2\n1,2,3\n2,,1\n",
            ".jsonl": b'{"at": "2024-05-01", "x": 1}\n{"at": "2024-05-02", "x": 2}\n',
            ".npy": numbers.getvalue(),
        },
        "vectors": {
            ".npy": vectors.getvalue(),
            ".safetensors": save_arrays({"words": np.ones((3, 2), np.float32)}),
            ".parquet": parquet.getvalue(),
        },
        "words": {
            ".txt": b"2 3\nking 1 2 3\nqueen 1 2 4\n",
            "plain:.txt": b"king 1 2 3\nqueen 1 2 4\n",
            ".txt.gz": gzip.compress(b"king 1 2 3\nqueen 1 2 4\n", mtime=0),
            ".bin": b"2 2\nking " + struct.pack("<2f", 1, 2) + b"\nqueen " + struct.pack("<2f", 1, 3) + b"\n",
        },
    }


def _on_file(folder: Path, read: Callable[[Path], object]) -> Reader:
    def run(value: tuple[str, bytes]) -> object:
        ending, raw = value
        path = folder / f"file{ending}"
        path.write_bytes(raw)
        return read(path)

    return run


def _read_all(path: Path) -> None:
    raw = read_table(path)
    for column in raw.table.columns[:6]:
        for read in (read_ids, read_times, read_numbers, read_parts):
            with suppress(PenchantError):
                read(raw, column)
    with suppress(PenchantError):
        samples_from(raw.table)
    from_tables(raw.table)


def _read_columns(values: list[Any]) -> None:
    try:
        series = pl.Series("label", values, strict=False)
    except (TypeError, ValueError, OverflowError, UnicodeEncodeError, pl.exceptions.PolarsError):
        return
    raw = as_raw(series.to_frame(), "labels")
    for read in (read_ids, read_times, read_numbers, read_parts):
        with suppress(PenchantError):
            read(raw, "label")
    read_labels(raw, {})


def _signal(path: Path) -> None:
    for key in (None, "a"):
        with suppress(PenchantError):
            load_signal(path, key, LIMITS)


def _video(path: Path) -> None:
    video = open_video(path, LIMITS)
    video.frames(2, max_side=64)
    video.sound(8000, None)


def readers(folder: Path, shop: Path) -> dict[str, Target]:
    """Return the targets that read files and texts.

    Args:
        folder: For the files that are read.
        shop: A bundle that loads.
    """
    store = Store.open(f"sqlite:///{folder / 'store.db'}")
    store.put_key(StoredKey("a" * 16, "shop", "0" * 64, "read", 5))
    keys = ApiKeys(store, is_open=False)
    keys.refresh(store.world_version())
    secret = Secret(bytes(32))
    fetcher = Fetcher(["media.example.org"], max_bytes=1000)
    uploads = UploadStore(folder / "uploads", folder, fetcher, 1000)
    items = Vocabulary(["a", "b", "c"])
    files = media()
    addresses = st.one_of(TEXTS, st.ip_addresses().map(str), st.binary(min_size=16, max_size=16).map(bytes.hex))
    urls = st.builds(
        "{}{}{}".format,
        st.sampled_from(["https://", "http://", "//", ""]),
        st.one_of(st.just("media.example.org"), TEXTS),
        TEXTS,
    )
    return {
        "tables": Target(mutated(tables()), _on_file(folder, _read_all)),
        "columns": Target(
            st.lists(st.one_of(WORDS, st.none(), st.floats(), st.integers(), st.datetimes()), min_size=1, max_size=6),
            _read_columns,
        ),
        "settings": Target(
            mutated(
                {
                    ".toml": b'task = "recommendation"\n[data]\npath = "x"\n[fit]\nseed = 1\n[content.words]\nencoder = "e5"\n'
                }
            ),
            _on_file(folder, read_settings),
        ),
        "toml": Target(
            st.tuples(
                st.just(".toml"), st.one_of(st.binary(max_size=60), TEXTS.map(lambda t: t.encode("utf-8", "replace")))
            ),
            _on_file(folder, read_toml),
        ),
        "service settings": Target(
            st.dictionaries(st.one_of(st.sampled_from(sorted(ServiceConfig.model_fields)), WORDS), JSON, max_size=3),
            lambda values: ServiceConfig.read({"bundle": "x", **values}, where="test"),
        ),
        "pictures": Target(
            mutated(files["image"]), _on_file(folder, lambda path: load_image(path, LIMITS, max_side=64))
        ),
        "sounds": Target(mutated(files["audio"]), _on_file(folder, lambda path: load_audio(path, LIMITS))),
        "videos": Target(mutated(files["video"]), _on_file(folder, _video)),
        "meshes": Target(mutated(files["mesh"]), _on_file(folder, lambda path: load_mesh(path, LIMITS))),
        "signals": Target(mutated({**files["signal"], **tables()}), _on_file(folder, _signal)),
        "vectors": Target(
            mutated(files["vectors"]),
            _on_file(folder, lambda path: read_vectors(path, items, name="words", modality="text")),
        ),
        "word vectors": Target(mutated(files["words"]), _on_file(folder, read_word_vectors)),
        "bundles": Target(_hostile_bundles(shop), lambda change: _load_changed(shop, folder / "changed", *change)),
        "addresses": Target(addresses, is_public),
        "links": Target(urls, fetcher._allowed),
        "hosts": Target(TEXTS, lambda host: is_allowed(host, ["shop.example"])),
        "authorization": Target(
            st.builds(
                "{}{}_{}".format,
                st.sampled_from(["Bearer pk_", "bearer pk_", ""]),
                st.one_of(st.just("a" * 16), TEXTS),
                TEXTS,
            ),
            lambda value: keys.check(value, "read"),
        ),
        "key files": Target(st.tuples(st.just(".key"), st.binary(max_size=40)), _on_file(folder, Secret.read)),
        "receipts": Target(
            st.dictionaries(st.sampled_from(["signature", "subject", "store", "model"]), JSON),
            lambda receipt: erasure.is_genuine(secret, receipt),
        ),
        "write-ahead logs": Target(mutated({".db-wal": _log()}), _on_file(folder, texts_in_log)),
        "paths": Target(TEXTS, lambda name: resolve(folder, name)),
        "uploads": Target(
            st.builds(dict, data=st.one_of(st.none(), TEXTS), file=st.one_of(st.none(), TEXTS)),
            lambda given: uploads.keep(MediaIn.model_construct(url=None, **given), where="image"),
        ),
    }


def _log() -> bytes:
    """Return a write-ahead log of one page, a leaf with one row that holds a text."""
    page = bytearray(512)
    page[0], page[3:5], page[8:10] = 13, (1).to_bytes(2, "big"), (500).to_bytes(2, "big")
    page[500:506] = bytes([4, 1, 2, 17]) + b"ab"
    return bytes(8) + (512).to_bytes(4, "big") + bytes(20 + 24) + bytes(page)


@st.composite
def _hostile_bundles(draw: st.DrawFn, shop: Path) -> tuple[str, bytes, bool]:
    """Return a file of the bundle, its new bytes, and whether its checksum is made to fit."""
    files = {p.relative_to(shop).as_posix(): p.read_bytes() for p in sorted(shop.rglob("*")) if p.is_file()}
    name = draw(st.sampled_from(sorted(files)))
    _, raw = draw(mutated({name: files[name]}))
    return name, raw, draw(st.integers(0, 4)) > 0


def _load_changed(shop: Path, copy: Path, name: str, raw: bytes, is_signed: bool) -> object:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(shop, copy)
    (copy / name).write_bytes(raw)
    if is_signed and name != MANIFEST:
        manifest = json.loads((copy / MANIFEST).read_text())
        manifest["files"][name] = checksum(copy / name)
        (copy / MANIFEST).write_text(json.dumps(manifest))
    return Recommender.load(copy)


HEADERS = (
    "Authorization",
    "Idempotency-Key",
    "If-Match",
    "Range",
    "Accept-Language",
    "Cookie",
    "X-Request-ID",
    "Content-Type",
    "Content-Length",
    "Host",
    "Origin",
    "Transfer-Encoding",
    "If-None-Match",
    "HX-Request",
    "Accept-Encoding",
    "traceparent",
)
PATHS = (
    "/v1/events",
    "/v1/search",
    "/v1/users/{}/recommendations",
    "/v1/users/{}/profile",
    "/v1/users/{}/explanations/{}",
    "/v1/export/{}",
    "/v1/items/{}",
    "/v1/items/{}/similar",
    "/v1/sessions/recommendations",
    "/v1/predict/{}",
    "/v1/users/{}",
    "/studio/user?id={}",
    "/studio/item?id={}",
    "/studio/search?words={}",
    "/studio/search",
    "/studio/sound?id={}",
    "/studio/picture?id={}",
    "/studio/users?q={}",
    "/studio/key",
    "/{}",
    "/static/{}",
)
IDS = st.one_of(st.sampled_from(["u1", "i1", "i23", "u%2F1"]), TEXTS)
PAIRS = st.one_of(
    st.builds("{}:{}".format, st.sampled_from(["genres", "price", "item", "nothing"]), IDS),
    st.builds("{}:{}:{}".format, st.sampled_from(["genres", "price", "item"]), IDS, WORDS),
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "where",
                "boost",
                "at_least",
                "at_most",
                "allow",
                "deny",
                "context",
                "k",
                "seen",
                "reasons",
                "diversity",
                "by",
                "before",
                "page",
                "lang",
            ]
        ),
        st.one_of(PAIRS, WORDS, st.integers().map(str), st.floats().map(str)),
    ),
    max_size=4,
)
FIELDS = st.one_of(
    st.sampled_from(
        [
            "user_id",
            "item_id",
            "kind",
            "value",
            "at",
            "event_id",
            "events",
            "edits",
            "name",
            "action",
            "strength",
            "history",
            "where",
            "boost",
            "words",
            "image",
            "audio",
            "data",
            "file",
            "url",
            "columns",
            "title",
            "price",
            "genres",
            "text",
            "k",
        ]
    ),
    WORDS,
)
BODIES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, PAIRS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner, max_size=4)),
    max_leaves=10,
)


@contextmanager
def requests(folder: Path, shop: Path) -> Iterator[dict[str, Target]]:
    """Yield the targets that ask a service, studio included: every answer is below 500, or names its cause.

    Args:
        folder: For the service.
        shop: Its bundle.
    """
    config = ServiceConfig(bundle=shop, folder=folder / "service", watch_seconds=3600)
    with TestClient(
        create_app(config, add_pages=add_studio),
        raise_server_exceptions=True,
        base_url="http://127.0.0.1",
        follow_redirects=False,
    ) as client:
        text = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30)
        headers = st.dictionaries(
            st.sampled_from(HEADERS),
            st.one_of(
                text,
                st.sampled_from(
                    [
                        "bytes=0-",
                        "bytes=5-1",
                        "bytes=-999999999999",
                        "bytes=" + "0-1," * 500,
                        '"9223372036854775808"',
                        "application/json",
                        "multipart/form-data; boundary=x",
                        "zh;q=9e9",
                        "-1",
                        "9" * 30,
                    ]
                ),
            ),
            max_size=3,
        )
        bodies = st.one_of(
            BODIES.map(lambda body: json.dumps(body).encode("utf-8", "surrogatepass")),
            st.binary(max_size=80),
            st.sampled_from(
                [
                    b"[" * 5000,
                    b"1" * 5000,
                    b'{"user_id": 1e999}',
                    b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\nx\r\n--x--\r\n",
                    b'--x\r\nContent-Disposition: form-data; name="file"; filename="\xff"\r\n\r\n',
                ]
            ),
        )

        def ask(value: tuple[str, str, tuple[str, str], list[tuple[str, str]], dict[str, str], bytes]) -> None:
            method, path, ids, query, sent, body = value
            try:
                address = path.format(*(_quoted(one) for one in ids))
                request = client.build_request(
                    method, address, params=_encodable(query), headers=_latin(sent), content=body
                )
            except (
                ValueError,
                UnicodeError,
                TypeError,
                IndexError,
                client_errors(),
            ):  # what the client itself refuses to send
                return
            answer = client.send(request)
            assert answer.status_code < CLIENT_ERRORS or answer.status_code in UNAVAILABLE, answer.text
            if answer.status_code >= 400 and path.startswith("/v1") and method != "HEAD":
                problem = answer.json()
                assert problem["detail"], problem
                assert problem["where"], problem
                assert problem["fix"], problem

        ways = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
        json_only = st.one_of(st.just({"Content-Type": "application/json"}), headers)
        yield {
            "requests": Target(
                st.tuples(ways, st.sampled_from(PATHS), st.tuples(IDS, IDS), QUERIES, json_only, bodies), ask
            ),
            "queries": Target(
                st.tuples(st.just("GET"), st.just(PATHS[2]), st.tuples(IDS, IDS), QUERIES, st.just({}), st.just(b"")),
                ask,
            ),
        }


def client_errors() -> type[Exception]:
    import httpx

    return httpx.InvalidURL


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="%/", errors="surrogatepass")


def _encodable(query: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value.encode("utf-8", "replace").decode()) for name, value in query]


def _latin(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
