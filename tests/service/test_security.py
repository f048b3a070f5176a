"""Keys, scopes, limits, and addresses that must not be fetched."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from penchant.core.errors import ConfigError, MediaError
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.fetching import Fetcher, is_public
from penchant.service.schemas import MediaIn
from penchant.service.security import ApiKeys, Secret, make_key
from penchant.service.server import serve
from penchant.service.store import Store
from penchant.service.uploads import UploadStore


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_first_key_closes_the_service(client: TestClient):
    store = client.app.state.service.store
    assert client.get("/v1/users/u1/recommendations").status_code == 200
    key = make_key(store, "shop", ["read"])
    client.app.state.worker.step()
    assert client.get("/v1/users/u1/recommendations").status_code == 401
    assert client.get("/v1/users/u1/recommendations", headers=headers(key)).status_code == 200
    refused = client.get("/v1/users/u1/profile", headers=headers(key))
    assert refused.status_code == 403
    assert "personal" in refused.json()["detail"]
    assert client.get("/healthz").status_code == 200


def test_every_route_under_v1_asks_for_a_key(config: ServiceConfig):
    store = Store.open(config.address)
    make_key(store, "k", ["admin"])
    store.close()
    with TestClient(create_app(config)) as client:
        for path, methods in client.get("/openapi.json").json()["paths"].items():
            for method in methods:
                answer = client.request(method, path.format(user_id="u1", item_id="i1", task="health", name="n"))
                closed = path.startswith("/v1/")
                assert (answer.status_code == 401) == closed, (method, path, answer.status_code)


def test_wrong_keys_are_refused_and_secrets_are_not_kept(client: TestClient, config: ServiceConfig):
    store = client.app.state.service.store
    key = make_key(store, "k", ["admin"])
    client.app.state.worker.step()
    wrong = [key[:-1] + ("a" if key[-1] != "a" else "b"), key.replace("pk_", "xx_"), "pk_none_none", "", "pk_"]
    for attempt in wrong:
        answer = client.get("/v1/items/i1", headers=headers(attempt))
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    secret = key.split("_", 2)[2].encode()
    assert all(secret not in file.read_bytes() for file in config.state_folder.iterdir() if file.is_file())


def test_rate_limit_refuses_and_says_when_to_come_back(client: TestClient):
    key = make_key(client.app.state.service.store, "slow", ["read"], per_minute=3)
    client.app.state.worker.step()
    codes = [client.get("/v1/items/i1", headers=headers(key)).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    assert 1 <= int(client.get("/v1/items/i1", headers=headers(key)).headers["retry-after"]) <= 21


def test_unknown_scope_is_told(client: TestClient):
    with pytest.raises(ConfigError, match="no scope 'raed'"):
        make_key(client.app.state.service.store, "k", ["raed"])


def test_closed_service_refuses_without_keys(config: ServiceConfig):
    store = Store.open(config.address)
    keyring = ApiKeys(store, is_open=False)
    keyring.refresh(store.world_version())
    with pytest.raises(Exception, match="missing or wrong"):
        keyring.check(None, "read")
    store.close()


def test_open_service_does_not_start_where_others_reach_it(config: ServiceConfig):
    with pytest.raises(ConfigError, match="could read and erase users"):
        serve(config, host="0.0.0.0")


def test_secret_is_made_once_and_private(tmp_path: Path):
    first = Secret.read(tmp_path / "new" / "secret.key")
    assert Secret.read(tmp_path / "new" / "secret.key") == first
    assert (tmp_path / "new" / "secret.key").stat().st_mode & 0o077 == 0
    assert first.value.hex() not in repr(first)
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(ConfigError, match="1 bytes, not 32"):
        Secret.read(tmp_path / "short")


def test_secret_of_another_store_is_refused(config: ServiceConfig):
    with TestClient(create_app(config)):
        pass
    (config.state_folder / "secret.key").write_bytes(b"y" * 32)
    with pytest.raises(ConfigError, match="not the one this store was made with"), TestClient(create_app(config)):
        pass


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.9.9",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:10.0.0.1",
        "::",
        "ff02::1",
    ],
)
def test_private_addresses_are_not_public(address: str):
    assert not is_public(address)


def test_open_addresses_are_public():
    assert is_public("93.184.216.34")
    assert is_public("2606:2800:220:1::1")


PHOTO = "/фото%20of a shoe.jpg?größe=1"


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        port = self.server.server_address[1]
        moves = {"/loop": "/loop", "/away": "http://evil.example/x", "/inside": f"http://localhost:{port}/file"}
        moves["/moved"] = PHOTO.encode().decode("latin-1")  # raw UTF-8, as many servers write it
        if self.path in moves:
            self.send_response(302)
            self.send_header("Location", moves[self.path])
            self.end_headers()
            return
        self.send_response(200 if self.path in ("/file", "/big", quote(PHOTO, safe="/?=%")) else 404)
        self.end_headers()
        if self.path != "/missing":
            self.wfile.write(b"x" * (5000 if self.path == "/big" else 10))

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_fetch_reads_an_allowed_host_and_nothing_else(site: str):
    fetcher = Fetcher([site], max_bytes=1000, schemes=("http",), is_reachable=lambda _: True)
    assert fetcher.fetch(f"http://{site}/file") == b"x" * 10
    assert fetcher.fetch(f"http://{site}/inside") == b"x" * 10
    for path, message in {
        "/big": "more than 1,000 bytes",
        "/missing": "answered 404",
        "/loop": "redirects more than 3 times",
        "/away": "host that is not allowed",
    }.items():
        with pytest.raises(MediaError, match=message):
            fetcher.fetch(f"http://{site}{path}")


def test_addresses_beyond_ascii_are_fetched(site: str):
    fetcher = Fetcher([site], schemes=("http",), is_reachable=lambda _: True)
    assert fetcher.fetch(f"http://{site}{PHOTO}") == b"x" * 10
    assert fetcher.fetch(f"http://{site}/moved") == b"x" * 10
    for url, message in {
        f"http://ф{site}/file": "host that is not allowed",
        f"http://{site}/\ud800": "is not an address",
    }.items():
        with pytest.raises(MediaError, match=message):
            fetcher.fetch(url)
    long = f"{'ä' * 80}.example"
    with pytest.raises(MediaError, match="unknown host"):
        Fetcher([long], schemes=("http",)).fetch(f"http://{long}/file")


def test_fetch_never_reaches_a_private_network(site: str):
    with pytest.raises(MediaError, match="private network"):
        Fetcher([site], schemes=("http",)).fetch(f"http://{site}/file")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/x",
        "https://me@a.example/x",
        "https:///x",
        "https://a.example:22/x",
        "file:///etc/passwd",
        "http://[",
        "x",
    ],
)
def test_odd_addresses_are_refused(url: str):
    with pytest.raises(MediaError, match=r"not of the form|is not an address"):
        Fetcher(["a.example"]).fetch(url)


def test_uploads_take_one_source_and_stay_inside(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"sound")
    uploads = UploadStore(tmp_path / "kept", tmp_path / "in", Fetcher([]), 100)
    name = uploads.keep(MediaIn(data="c291bmQ="), where="audio")
    assert (tmp_path / "kept" / name).read_bytes() == b"sound"
    assert uploads.keep(MediaIn(file="a.wav"), where="audio") == name
    for media, message in {
        MediaIn(file="../secret").model_dump_json(): "leads out of the media folder",
        MediaIn(file="b.wav").model_dump_json(): "no file 'b.wav'",
        MediaIn(data="!").model_dump_json(): "not base64",
        MediaIn(data="A" * 400).model_dump_json(): "300 bytes",
        MediaIn(url="https://a.example/x").model_dump_json(): "not allowed",
        MediaIn().model_dump_json(): "0 sources",
        MediaIn(data="AA==", file="a").model_dump_json(): "2 sources",
    }.items():
        with pytest.raises(MediaError, match=message):
            uploads.keep(MediaIn.model_validate_json(media), where="audio")
