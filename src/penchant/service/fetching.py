"""Fetch a file from an address given in a request.

In: an address, and the hosts that are allowed. Out: bytes; private networks are never reached, whatever a name resolves to.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from penchant.core.errors import MediaError

MAX_REDIRECTS = 3
BLOCK = 1 << 16
SAFE = "%/:=&?~#+!$,;'@()*[]"
"""Characters that an address may hold as they are; others are percent-encoded in what is sent, as browsers do."""


def is_public(address: str) -> bool:
    """Return whether an IP address is on the open internet; what is no address is not.

    Loopback, private, link-local and the like are not. An IPv6 address that stands for an IPv4 address is judged by that one where it is
    `::ffff:10.0.0.1` or NAT64 (RFC 6052), by which networks without IPv4 reach the rest; 6to4 and Teredo tunnels may end anywhere.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None or found in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)))
        if found not in _GLOBAL_UNICAST or any(found in network for network in _TUNNELS_AND_EXAMPLES):
            return False
    return found.is_global and not found.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that is given out (RFC 4291); site-local, IPv4-compatible and local NAT64 addresses lie outside."""
_TUNNELS_AND_EXAMPLES = [ipaddress.IPv6Network(network) for network in ("2001::/32", "2002::/16", "3fff::/20")]
"""Teredo, 6to4, and documentation (RFC 9637), which older versions of Python take for global."""


@dataclass(frozen=True)
class Fetcher:
    """Fetches files from an allow-list of hosts.

    Attributes:
        hosts: Allowed host names; empty allows none.
        max_bytes: Larger files are refused while they come in.
        seconds: Longest wait for each answer.
        schemes: Allowed schemes.
        is_reachable: Decides by IP address; every address a name resolves to is checked, and the connection goes to that address
            itself, so a name that resolves otherwise the second time changes nothing.
    """

    hosts: Collection[str]
    max_bytes: int = 32_000_000
    seconds: float = 10.0
    schemes: tuple[str, ...] = ("https",)
    is_reachable: Callable[[str], bool] = is_public

    def fetch(self, url: str) -> bytes:
        """Return the file at an address; up to three redirects are followed, and checked like the first address.

        Raises:
            MediaError: The host is not allowed or private, the answer is not a file, or it is too large.
        """
        for _ in range(MAX_REDIRECTS + 1):
            place = self._allowed(url)
            address = self._resolve(place)
            status, location, body = self._get(place, address)
            if status in (301, 302, 303, 307, 308) and location:
                # http.client reads a header as Latin-1, and most servers write UTF-8
                url = urljoin(url, quote(location.encode("latin-1", "replace"), safe=SAFE))
                continue
            if status != 200:
                raise _refused(url, f"answered {status}", "check that the address leads to a file")
            return body
        raise _refused(url, f"redirects more than {MAX_REDIRECTS} times", "give the last address itself")

    def send(self, url: str, body: bytes) -> None:
        """Send JSON to an address under the same rules; redirects are not followed.

        Raises:
            MediaError: The host is not allowed or private, or it did not take the message.
        """
        place = self._allowed(url)
        address = self._resolve(place)
        port = place.port or (443 if place.scheme == "https" else 80)
        connection = _Pinned(place.hostname or "", port, address, self.seconds, is_secure=place.scheme == "https")
        try:
            target = (place.path or "/") + (f"?{place.query}" if place.query else "")
            headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "penchant"}
            connection.request("POST", target, body, headers)
            status = connection.getresponse().status
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise _refused(url, f"cannot be reached ({type(error).__name__})", "try again later") from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise _refused(url, f"answered {status}", "check what the address expects")

    def _allowed(self, url: str) -> SplitResult:
        """Return the parts of an address, its path and query percent-encoded."""
        try:
            place = urlsplit(url)
            port = place.port
            place = place._replace(path=quote(place.path, safe=SAFE), query=quote(place.query, safe=SAFE))
        except ValueError:
            raise _refused(url, "is not an address", "give https://HOST/FILE") from None
        if (
            place.scheme not in self.schemes
            or not place.hostname
            or place.username
            or port not in (None, 80, 443, *self._ports)
        ):
            raise _refused(url, "is not of the form https://HOST/FILE", "upload the file instead")
        if place.hostname.lower() not in {host.partition(":")[0].lower() for host in self.hosts}:
            raise _refused(url, "is on a host that is not allowed", "add it with --allow-host, or upload the file")
        return place

    @property
    def _ports(self) -> tuple[int, ...]:
        """Ports of hosts allowed as HOST:PORT."""
        return tuple(int(host.partition(":")[2]) for host in self.hosts if ":" in host)

    def _resolve(self, place: SplitResult) -> str:
        port = place.port or (443 if place.scheme == "https" else 80)
        try:
            found = socket.getaddrinfo(place.hostname, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise _refused(place.geturl(), "has an unknown host", "check the address") from None
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(self.is_reachable(address) for address in addresses):
            raise _refused(place.geturl(), "leads into a private network", "upload the file instead")
        return addresses[0]

    def _get(self, place: SplitResult, address: str) -> tuple[int, str | None, bytes]:
        port = place.port or (443 if place.scheme == "https" else 80)
        connection = _Pinned(place.hostname or "", port, address, self.seconds, is_secure=place.scheme == "https")
        try:
            target = (place.path or "/") + (f"?{place.query}" if place.query else "")
            connection.request("GET", target, headers={"Accept": "image/*, audio/*", "User-Agent": "penchant"})
            response = connection.getresponse()
            if response.status != 200:
                return response.status, response.getheader("Location"), b""
            return 200, None, self._read(response, place.geturl())
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise _refused(place.geturl(), f"cannot be read ({type(error).__name__})", "try again later") from error
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse, url: str) -> bytes:
        blocks, size = [], 0
        while block := response.read(BLOCK):
            size += len(block)
            if size > self.max_bytes:
                raise _refused(url, f"has more than {self.max_bytes:,} bytes", "make the file smaller")
            blocks.append(block)
        return b"".join(blocks)


class _Pinned(http.client.HTTPConnection):
    """A connection to one IP address that still sends, and checks, the host's name."""

    def __init__(self, host: str, port: int, address: str, seconds: float, *, is_secure: bool) -> None:
        super().__init__(host, port, timeout=seconds)
        self._address = address
        self._is_secure = is_secure

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._is_secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _refused(url: str, what: str, fix: str) -> MediaError:
    return MediaError(f"The address {url[:120]!r} {what}.", where="url", fix=fix)
