"""Files from one named host over HTTPS: nothing is followed elsewhere, nothing other than announced is kept.

Not pooch: it follows redirections to any host, has no limit of size, and trusts certifi, not the system's certificates.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.request import Request

from .. import __version__
from ..core.errors import BadInputError

TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 16


def checked_url(url: str, host: str | None = None) -> str:
    """``url``, if it is an HTTPS address without a password in it, and of ``host`` ("name:port") where given.

    Raises:
        BadInputError: it is not.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        place = host_of(url)
    except ValueError as error:
        raise BadInputError(
            "'{url}' is no address ({reason})",
            "give one that starts with https://",
            "address.malformed",
            url=url,
            reason=error,
        ) from error
    if parts.scheme.lower() != "https" or not parts.hostname or any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise BadInputError(
            "'{url}' is no HTTPS address", "give one that starts with https://", "address.https", url=url
        )
    if "@" in parts.netloc:
        raise BadInputError("The address holds a user name or password", "give it without", "address.password")
    if host is not None and place != host:
        raise BadInputError(
            "'{url}' leads to another host than {host}, which was named",
            "give that address itself if you trust it",
            "address.other_host",
            url=url,
            host=host,
        )
    return url


def host_of(url: str) -> str:
    """The "name:port" of an address."""
    parts = urllib.parse.urlsplit(url)
    return f"{(parts.hostname or '').lower()}:{parts.port or 443}"


def read_small(url: str, most_bytes: int, context: ssl.SSLContext | None = None) -> bytes:
    """The content of a small file.

    Args:
        url: HTTPS address; redirections within its host are followed.
        most_bytes: more than that is refused.
        context: of TLS; the system's certificates where None.

    Raises:
        BadInputError: the address is none, the file too large, or the connection fails.
    """
    with _answer(url, context) as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise BadInputError(
            "{url} is larger than {most_bytes} bytes, too large for what it should be",
            "check the address",
            "download.too_large",
            url=url,
            most_bytes=most_bytes,
        )
    return content


def save_file(
    url: str,
    target: Path,
    sha256: str,
    n_bytes: int,
    context: ssl.SSLContext | None = None,
    told: Callable[[float], None] = lambda share: None,
) -> None:
    """Write a file whose size and checksum are known beforehand; ``target`` is a temporary file of the caller.

    Args:
        url, context: see ``read_small``.
        target: file to write.
        sha256, n_bytes: of the content; it is read no further than that.
        told: called with the share 0..1 that is there; may raise to end the download.

    Raises:
        BadInputError: as ``read_small``, or the content is not the announced one.
    """
    digest, found = hashlib.sha256(), 0
    with _answer(url, context) as stream, open(target, "wb") as file:
        while chunk := stream.read(min(_CHUNK_BYTES, n_bytes - found + 1)):
            found += len(chunk)
            if found > n_bytes:
                raise BadInputError(
                    "{url} is larger than the {n_bytes} bytes announced, so it was not kept",
                    "tell who runs the index",
                    "download.larger",
                    url=url,
                    n_bytes=n_bytes,
                )
            digest.update(chunk)
            file.write(chunk)
            told(found / n_bytes)
    if found < n_bytes:
        raise BadInputError(
            "{url} ended after {found} of {n_bytes} bytes",
            "try again",
            "download.truncated",
            url=url,
            found=found,
            n_bytes=n_bytes,
        )
    if digest.hexdigest() != sha256:
        raise BadInputError(
            "{url} does not have the announced SHA-256, so it was not kept",
            "tell who runs the index",
            "download.checksum",
            url=url,
        )


@contextlib.contextmanager
def _answer(url: str, context: ssl.SSLContext | None) -> Iterator[_Stream]:
    """The open answer of a server; every way it can fail becomes one sentence."""
    checked_url(url)
    # Only these handlers: the usual opener would also take file:, ftp: and http: addresses.
    opener = urllib.request.OpenerDirector()
    opener.addheaders = [("User-Agent", f"reshapeit/{__version__}"), ("Accept-Encoding", "identity")]
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context or ssl.create_default_context()),
        _SameHostOnly(host_of(url)),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    with _network_errors(url):
        answer = opener.open(url, timeout=TIMEOUT_S)
    with contextlib.closing(answer):
        yield _Stream(url, answer)


class _Stream:
    """Reads an answer; what goes wrong with the network is told as such, unlike what goes wrong with the disk."""

    def __init__(self, url: str, answer: IO[bytes]):
        self._url, self._answer = url, answer

    def read(self, n_bytes: int) -> bytes:
        with _network_errors(self._url):
            return self._answer.read(n_bytes)


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Turn every way in which a connection can fail into one sentence."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise BadInputError(
            "{url} was refused by its server (HTTP {status})",
            "check the address",
            "download.refused",
            url=url,
            status=error.code,
        ) from error
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise BadInputError(
                "The certificate of {host} cannot be verified ({reason}), so nothing was taken",
                "behind a proxy that opens TLS, name its certificates in SSL_CERT_FILE",
                "download.certificate",
                host=host_of(url),
                reason=reason.verify_message,
            ) from error
        raise BadInputError(
            "{url} cannot be reached ({reason})",
            "check network, address, and HTTPS_PROXY where there is a proxy",
            "download.unreachable",
            url=url,
            reason=reason,
        ) from error


class _SameHostOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirections within the host that the user named only."""

    def __init__(self, host: str):
        self._host = host

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        checked_url(newurl, self._host)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
