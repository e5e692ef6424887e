"""Templates from the network: only what was announced, only from the host that was named, from a real HTTPS server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import ssl

import pytest

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.io.download import checked_url, save_file
from ReShapeITLib.templates.index import MOST_INDEX_BYTES, fetch_template, read_index
from ReShapeITLib.templates.store import find_template
from Testing.https_server import redirect, serve
from Testing.untrained import untrained_template


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("certificate")) as running:
        yield running


@pytest.fixture
def site(server):
    """The server, empty again."""
    server.answers.clear()
    server.asked.clear()
    return server


@pytest.fixture(scope="module")
def template_bytes(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("template") / "t.safetensors"
    untrained_template().save(path)
    return path.read_bytes()


def offer(site, content: bytes, **changes) -> None:
    """Put an index with one template and its file on the server; ``changes`` overrule the entry."""
    entry = {
        "name": "organ",
        "url": "files/organ.safetensors",
        "bytes": len(content),
        "licence": "CC0-1.0",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    site.answers["/index.json"] = json.dumps({"format": "reshapeit-index-1", "templates": [entry | changes]}).encode()
    site.answers["/files/organ.safetensors"] = content


def fetch(site, folder):
    entries = read_index(site.url("/index.json"), site.trusted)
    return fetch_template(entries["organ"], folder, site.trusted)


@contextlib.contextmanager
def refused(folder, words: str):
    """The block is refused with these words, and the folder is as before."""
    before = sorted(folder.iterdir())
    with pytest.raises(BadInputError, match=words) as told:
        yield
    assert "\n" not in str(told.value) and sorted(folder.iterdir()) == before


def test_a_template_arrives_whole_and_is_found_by_its_name(site, template_bytes, tmp_path, monkeypatch):
    offer(site, template_bytes)
    target = fetch(site, tmp_path)
    assert target.read_bytes() == template_bytes and [p.name for p in tmp_path.iterdir()] == ["organ.safetensors"]
    monkeypatch.setenv("RESHAPEIT_TEMPLATES", str(tmp_path))
    assert find_template("organ") == target


def test_the_command_lists_and_fetches(site, template_bytes, tmp_path, monkeypatch, capsys):
    offer(site, template_bytes, licence="CC0-1.0\x1b[31m")
    monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: site.trusted)
    assert main(["templates", "list", "--index", site.url("/index.json")]) == 0
    listed = capsys.readouterr().out
    assert "organ" in listed and "CC0-1.0" in listed and "\x1b" not in listed
    fetch_organ = ["templates", "fetch", "organ", "--index", site.url("/index.json")]
    assert main([*fetch_organ, "--folder", str(tmp_path)]) == 0
    assert (tmp_path / "organ.safetensors").read_bytes() == template_bytes
    monkeypatch.delenv("RESHAPEIT_TEMPLATES", raising=False)
    assert main(fetch_organ) == 2 and "--folder" in capsys.readouterr().err


def test_without_an_index_nothing_is_asked_for(capsys):
    assert main(["templates", "fetch", "liver"]) == 2
    assert "--index" in capsys.readouterr().err


# The host


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/index.json",
        "file:///etc/passwd",
        "ftp://localhost/i",
        "localhost/index.json",
        "",
        "https://",
        "https:///etc/passwd",
        "https://[::1",
        "https://host:port/",
        "https://u:secret@localhost/",
        "https://a b/",
        "https://localhost/\nHost: other",
        "https://localhost\x00/",
        "data:application/json,{}",
    ],
)
def test_only_https_addresses_are_taken(url):
    with pytest.raises(BadInputError) as told:
        read_index(url)
    assert "secret" not in str(told.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(site, template_bytes, tmp_path):
    offer(site, template_bytes)
    with refused(tmp_path, "certificate of localhost:.* cannot be verified"):
        read_index(site.url("/index.json"))
    assert site.asked == []


def test_a_redirection_within_the_host_is_followed(site, template_bytes, tmp_path):
    offer(site, template_bytes)
    site.answers["/old.json"] = redirect("/index.json")
    assert list(read_index(site.url("/old.json"), site.trusted)) == ["organ"]


@pytest.mark.parametrize(
    "where",
    [
        "https://127.0.0.1:{port}/index.json",
        "http://localhost:{port}/index.json",
        "https://localhost/index.json",
        "file:///etc/passwd",
        "https://localhost:{port}@127.0.0.1:{port}/index.json",
    ],
)
def test_a_redirection_to_elsewhere_is_refused_unasked(site, template_bytes, tmp_path, where):
    offer(site, template_bytes)
    site.answers["/old.json"] = redirect(where.format(port=site.port))
    with refused(tmp_path, "another host|no HTTPS address|user name|refused by its server|cannot be reached"):
        read_index(site.url("/old.json"), site.trusted)
    assert site.asked == ["/old.json"]


def test_a_redirection_in_a_circle_ends(site, tmp_path):
    site.answers["/a"] = redirect("/a")
    with refused(tmp_path, "refused by its server"):
        read_index(site.url("/a"), site.trusted)


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}/files/organ.safetensors", "http://localhost/x", "file:///x"])
def test_a_file_on_another_host_than_its_index_is_refused_unasked(site, template_bytes, tmp_path, url):
    offer(site, template_bytes, url=url.format(port=site.port))
    with refused(tmp_path, "another host|no HTTPS address"):
        fetch(site, tmp_path)
    assert site.asked == ["/index.json"]


# The content


def test_another_content_of_the_same_size_is_not_kept(site, template_bytes, tmp_path):
    offer(site, template_bytes)
    site.answers["/files/organ.safetensors"] = template_bytes[:-1] + bytes([template_bytes[-1] ^ 1])
    with refused(tmp_path, "does not have the announced SHA-256"):
        fetch(site, tmp_path)


def test_a_server_that_never_stops_sending_is_left(site, template_bytes, tmp_path):
    def endless(request):
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(bytes(1 << 16))

    offer(site, template_bytes)
    site.answers["/files/organ.safetensors"] = endless
    with refused(tmp_path, "larger than the"):
        fetch(site, tmp_path)
    site.answers["/index.json"] = endless
    with refused(tmp_path, f"larger than {MOST_INDEX_BYTES} bytes"):
        read_index(site.url("/index.json"), site.trusted)


def test_a_file_that_ends_early_is_not_kept(site, template_bytes, tmp_path):
    offer(site, template_bytes)
    site.answers["/files/organ.safetensors"] = template_bytes[:-7]
    with refused(tmp_path, "ended after|cannot be reached"):
        fetch(site, tmp_path)


def test_a_connection_that_breaks_is_told(site, template_bytes, tmp_path):
    def breaking(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(template_bytes)))
        request.end_headers()
        request.wfile.write(template_bytes[:100])
        request.connection.close()

    offer(site, template_bytes)
    site.answers["/files/organ.safetensors"] = breaking
    with refused(tmp_path, "cannot be reached|ended after"):
        fetch(site, tmp_path)


def test_what_is_announced_rightly_but_is_no_template_is_not_kept(site, tmp_path):
    offer(site, b"\x80\x04\x95 a pickle or whatever" * 100)
    with refused(tmp_path, "no template that this version can read"):
        fetch(site, tmp_path)


def test_a_file_that_is_there_stays(site, template_bytes, tmp_path):
    offer(site, template_bytes)
    (tmp_path / "organ.safetensors").write_text("mine")
    with refused(tmp_path, "is there already"):
        fetch(site, tmp_path)
    assert (tmp_path / "organ.safetensors").read_text() == "mine" and site.asked == ["/index.json"]


def test_a_missing_file_is_told(site, template_bytes, tmp_path):
    offer(site, template_bytes)
    del site.answers["/files/organ.safetensors"]
    with refused(tmp_path, "HTTP 404"):
        fetch(site, tmp_path)


def test_a_full_disk_is_not_taken_for_the_network(site, template_bytes, tmp_path):
    offer(site, template_bytes)
    entry = read_index(site.url("/index.json"), site.trusted)["organ"]
    with pytest.raises(OSError, match="No space"):
        save_file(entry.url, "/dev/full", entry.sha256, entry.n_bytes, site.trusted)


@pytest.mark.parametrize(
    "name",
    ["../organ", "/etc/organ", "a/b", "a\\b", "..", ".", "", "con", "lpt1", "Organ", "o" * 65, "o\0", "o.x", 7, None],
)
def test_a_name_that_could_lead_out_of_the_folder_is_refused(site, template_bytes, tmp_path, name):
    offer(site, template_bytes, name=name)
    with refused(tmp_path, "has a template named"):
        fetch(site, tmp_path)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"sha256": None}, "no SHA-256"),
        ({"sha256": "AB" * 32}, "no SHA-256"),
        ({"bytes": 10**12}, "no size in bytes"),
        ({"bytes": -1}, "no size in bytes"),
        ({"bytes": True}, "no size in bytes"),
        ({"bytes": "12"}, "no size in bytes"),
        ({"url": None}, "no address"),
        ({"url": "https://[::1/x"}, "an address that cannot be used|no address"),
    ],
)
def test_an_entry_without_what_is_needed_is_refused(site, template_bytes, tmp_path, changes, words):
    offer(site, template_bytes, **changes)
    with refused(tmp_path, words):
        fetch(site, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": "reshapeit-index-1", "templates": [3]}',
        b'{"format": "reshapeit-index-2", "templates": []}',
    ],
)
def test_what_is_no_index_is_told(site, tmp_path, content):
    site.answers["/index.json"] = content
    with refused(tmp_path, "no template index|has an entry that is not one of a template"):
        read_index(site.url("/index.json"), site.trusted)


def test_the_port_belongs_to_the_host():
    assert checked_url("https://h/x", "h:443") == "https://h/x"
    with pytest.raises(BadInputError, match="another host"):
        checked_url("https://h:8443/x", "h:443")
