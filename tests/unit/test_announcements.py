"""Telling others: GDA, web servers, people, files; only those of the configuration."""

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from zocelery.errors import ConfigurationError, PermanentError, TemporaryError
from zocelery.messages import Step
from zocelery.settings import current_settings
from zocelery_tasks.announcements import (
    ResultsParameters,
    json_lines,
    mail,
    notify_gda,
    notify_http,
    write_centre,
)
from zocelery_tasks.beamline_messages import results_of, results_step

CENTRE_3D = {
    "centre_of_mass": [4.5, 3.25, 2.75],
    "max_voxel": [4, 3, 2],
    "max_count": 105062,
    "n_voxels": 35,
    "total_count": 2387574,
    "bounding_box": [[2, 2, 2], [8, 8, 7]],
    "sample_id": 987654,
}
FOUND = {
    "file": "/x/y_00003.cbf",
    "file-number": 3,
    "n_spots_total": 120,
    "n_spots_no_ice": 110,
    "estimated_d_min": 1.75,
    "total_intensity": 5012.5,
}


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let tests set options by variables."""
    hosts = '["127.0.0.1", "gda.example.org:9876", ".beam.example.org"]'
    monkeypatch.setenv("ZOCELERY_CLIENTS_HOSTS", hosts)
    monkeypatch.setenv("ZOCELERY_MAIL_RECIPIENTS", '["a@x.org", "@example.org"]')
    monkeypatch.setenv("ZOCELERY_MAIL_SENDER", "beamline@example.org")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    current_settings.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    current_settings.cache_clear()


# beamlines


def test_a_centre_has_the_keys_that_beamline_software_reads_and_no_others():
    told = {"results": [{**CENTRE_3D, "more": 1}], "status": "success", "type": "3d"}
    payload = {**told, "counts": [[1], [2]], "missing": [[], []]}
    assert results_of(Step(payload=payload)) == {**told, "results": [CENTRE_3D]}


def test_nothing_that_diffracts_is_an_empty_list():
    payload = {"results": [], "type": "3d", "status": "success"}
    assert results_of(Step(payload=payload)) == payload


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"results": [{}], "type": "2d"}, "type is '2d', 3d is expected"),
        ({"type": "3d"}, "has no list `results`"),
        (None, "has no list `results`"),
    ],
)
def test_what_the_client_would_fail_at_is_not_sent(payload: Any, reason: str):
    with pytest.raises(PermanentError, match=reason):
        results_of(Step(payload=payload))


@pytest.mark.parametrize(
    ("beamline", "gpu", "marked"),
    [("i03", None, True), ("i04", None, False), ("i03", False, False)],
)
def test_the_configuration_says_who_wants_results_of_a_gpu(
    beamline: str, gpu: bool | None, marked: bool
):
    given = ResultsParameters(beamline=beamline, dcid=1002, dcgid=4321, gpu=gpu)
    assert results_step(given, current_settings().clients) == {
        "queue": f"xrc.{beamline}",
        "exchange": "results",
        "parameters": {"dcid": 1002, "dcgid": 4321, "gpu": marked},
    }


# GDA


def tell_gda(host: str, port: int, payload: Any) -> dict[str, Any]:
    parameters = {"dcid": "77", "host": host, "port": port}
    answer: dict[str, Any] = notify_gda(Step(parameters=parameters, payload=payload))
    return answer


def test_gda_gets_a_datagram_for_an_image():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gda:
        gda.bind(("127.0.0.1", 0))
        gda.settimeout(10)
        tell_gda("127.0.0.1", gda.getsockname()[1], FOUND)
        assert gda.recv(1000) == b"PIA:77:3:120:110:1.75:5012.5"
        tell_gda(
            "127.0.0.1",
            gda.getsockname()[1],
            {"file-pattern-index": 12, "n_spots_total": 0, "estimated_d_min": None},
        )
        assert gda.recv(1000) == b"PIA:77:12:0:0:0:0"


def test_nobody_is_told_where_nobody_wants_to_know():
    assert tell_gda("mx-control", 9, FOUND) == {"sent": None}


@pytest.mark.parametrize(
    ("host", "port"),
    [("example.org", 9876), ("gda.example.org", 9877), ("xbeam.example.org", 1)],
)
def test_gda_is_where_the_configuration_says(host: str, port: int):
    with pytest.raises(PermanentError, match=f"'{host}' port {port} is not a server"):
        tell_gda(host, port, FOUND)


@pytest.mark.parametrize("payload", [None, {"file-number": 1}, {"n_spots_total": 1}])
def test_what_is_no_per_image_result_is_no_datagram(payload: Any):
    with pytest.raises(PermanentError, match="no per-image result"):
        tell_gda("127.0.0.1", 9, payload)


def test_the_file_for_gda_holds_the_centre(tmp_path: Path):
    centre = {
        "steps": [5, 4],
        "box_size_px": [1.0, 1.0],
        "snapshot_offset": [0.0, 0.0],
        "centre_x": 2.5,
        "centre_y": 1.5,
        "centre_x_box": 2.5,
        "centre_y_box": 1.5,
        "status": "ok",
        "message": "ok",
    }
    file = tmp_path / "guid" / "xray-centering" / "Dials5AResults.json"
    step = Step(
        parameters={"output": str(file), "results_symlink": "latest"},
        payload={"results": [centre], "type": "2d", "missing": [3]},
    )
    for _ in range(2):
        write_centre(step)
    found = json.loads(file.read_text())
    assert found | centre == found
    assert found["missing"] == [3]
    assert (file.parent.parent / "latest").resolve() == file.parent


@pytest.mark.parametrize("payload", [None, {"results": []}, {"results": [CENTRE_3D]}])
def test_what_is_no_centre_in_two_dimensions_is_no_file(payload: Any, tmp_path: Path):
    step = Step(parameters={"output": str(tmp_path / "f.json")}, payload=payload)
    with pytest.raises(PermanentError, match="no centre in two dimensions"):
        write_centre(step)
    assert list(tmp_path.iterdir()) == []


# web servers


class _Web(BaseHTTPRequestHandler):
    """Answers what the path says, and keeps what it was told."""

    told: ClassVar[list[tuple[str, str, Any]]] = []

    def answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.told.append((self.command, self.headers["Idempotency-Key"], body))
        self.send_response(int(self.path.rpartition("/")[2].partition("?")[0]))
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


_Web.do_POST = _Web.do_PUT = _Web.answer  # type: ignore[attr-defined]  # its names


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]  # type: ignore[misc]  # a TCP server's
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web() -> Iterator[str]:
    _Web.told.clear()
    with serving(HTTPServer(("127.0.0.1", 0), _Web)) as port:
        yield f"http://127.0.0.1:{port}"


def tell_web(url: str, **more: Any) -> Any:
    parameters = {"url": url, "message": {"who": "i03", "x": 0}, **more}
    return notify_http(Step(parameters=parameters, payload={"x": 1}, unit="u1"))


def test_a_web_server_gets_message_and_payload_and_can_tell_a_second_try(web: str):
    assert tell_web(f"{web}/200") == {"status": 200}
    assert tell_web(f"{web}/201", method="PUT") == {"status": 201}
    body = {"who": "i03", "x": 1}
    assert _Web.told == [("POST", "u1", body), ("PUT", "u1", body)]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_busy_or_broken_server_is_asked_again(web: str, status: int):
    with pytest.raises(TemporaryError, match=f"answers {status}$"):
        tell_web(f"{web}/{status}?token=secret")


@pytest.mark.parametrize("status", [400, 404, 302, 307])
def test_a_refusal_is_final_and_nobody_is_sent_elsewhere(web: str, status: int):
    with pytest.raises(PermanentError, match=f"answers {status}$") as caught:
        tell_web(f"{web}/{status}?token=secret")
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_asked_again():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/200"
        with pytest.raises(TemporaryError, match="refused"):
            tell_web(url)


def test_a_server_that_does_not_answer_in_time_is_asked_again(
    configured: pytest.MonkeyPatch,
):
    configured.setenv("ZOCELERY_CLIENTS_TIMEOUT", "0.05")
    current_settings.cache_clear()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TemporaryError, match="timed out"):
            tell_web(f"http://127.0.0.1:{silent.getsockname()[1]}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "http://127.0.0.1.example.com/",
        "https://x.beam.example.org.evil.org/",
        "http://user:secret@127.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http:///x",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/\r\nX: y",
        "",
    ],
)
def test_only_servers_of_the_configuration_are_told(url: str):
    with pytest.raises(PermanentError) as caught:
        tell_web(url)
    assert "secret" not in str(caught.value)


# mail


class _Mail(socketserver.StreamRequestHandler):
    """A mail server that takes what it is given, or answers as it was told to."""

    texts: ClassVar[list[str]] = []
    recipients: ClassVar[list[str]] = []
    answers: ClassVar[dict[str, str]] = {}

    def handle(self) -> None:
        self._say("220 hello")
        for line in self.rfile:
            verb = line.decode().strip().upper().partition(" ")[0].partition(":")[0]
            if verb == "DATA" and "DATA" not in self.answers:
                self._say("354 go on")
                self.texts.append("".join(self._text()))
                self._say(self.answers.get("END", "250 taken"))
                continue
            if verb == "RCPT":
                self.recipients.append(line.decode().strip())
            self._say(self.answers.get(verb, "250 ok"))
            if verb == "QUIT":
                return

    def _text(self) -> Iterator[str]:
        for line in self.rfile:
            if line == b".\r\n":
                return
            yield line.decode()

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mailbox(configured: pytest.MonkeyPatch) -> Iterator[type[_Mail]]:
    for kept in (_Mail.texts, _Mail.recipients, _Mail.answers):
        kept.clear()
    with serving(socketserver.TCPServer(("127.0.0.1", 0), _Mail)) as port:
        configured.setenv("ZOCELERY_MAIL_URL", f"smtp://127.0.0.1:{port}")
        current_settings.cache_clear()
        yield _Mail


def write(parameters: dict[str, Any], payload: Any = None) -> dict[str, Any]:
    step = Step(parameters=parameters, payload=payload, unit="u-1")
    answer: dict[str, Any] = mail(step)
    return answer


def test_defect_16_a_mail_is_answered_for_when_the_server_has_taken_it(
    mailbox: type[_Mail],
):
    given = {
        "recipients": ["a@x.org", "b@example.org", "a@x.org"],
        "subject": "dcid {payload[dcid]}",
        "content": ["found {payload[n]}", "{pprint_payload}", "{other}"],
    }
    answer = write(given, {"dcid": 5, "n": "é"})
    assert answer["recipients"] == ["a@x.org", "b@example.org"]
    (text,) = mailbox.texts
    for line in ("Subject: dcid 5", "From: beamline@example.org", "<u-1@zocelery>"):
        assert line in text
    assert "found =C3=A9" in text or "found é" in text
    assert "{other}" in text
    assert len(mailbox.recipients) == 2


def test_recipients_may_be_chosen_by_a_key(mailbox: type[_Mail]):
    chosen = {"select": "i03", "all": ["a@x.org"], "i03": "b@example.org", "i04": "no"}
    assert write({"recipients": chosen})["recipients"] == ["a@x.org", "b@example.org"]
    assert write({"recipient": "a@x.org"})["recipients"] == ["a@x.org"]
    assert len(mailbox.texts) == 2


@pytest.mark.parametrize(
    ("place", "answer", "kind"),
    [
        ("RCPT", "550 unknown", PermanentError),
        ("RCPT", "450 grey", TemporaryError),
        ("DATA", "554 no", PermanentError),
        ("END", "451 disk", TemporaryError),
        ("MAIL", "421 busy", TemporaryError),
    ],
)
def test_a_mail_that_is_not_taken_is_not_answered_for(
    mailbox: type[_Mail], place: str, answer: str, kind: type[Exception]
):
    mailbox.answers[place] = answer
    with pytest.raises(kind, match=answer[:3]):
        write({"recipients": "a@x.org"})


def test_a_mail_server_that_is_away_is_asked_again(configured: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"smtp://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        configured.setenv("ZOCELERY_MAIL_URL", url)
        current_settings.cache_clear()
        with pytest.raises(TemporaryError) as caught:
            write({"recipients": "a@x.org"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "http://x", "smtp://", "mail"])
def test_without_a_mail_server_it_is_said(configured: pytest.MonkeyPatch, url: str):
    configured.setenv("ZOCELERY_MAIL_URL", url)
    current_settings.cache_clear()
    with pytest.raises(ConfigurationError, match="mail"):
        write({"recipients": "a@x.org"})


@pytest.mark.parametrize(
    ("recipients", "reason"),
    [
        ("c@x.org", "'c@x.org' is none of the configuration"),
        ("b@sub.example.org", "is none of the configuration"),
        ("a@x.org, c@y.org", "is no mail address"),
        ("a@x.org\nBcc: c@y.org", "is no mail address"),
        ("somebody", "is no mail address"),
        ([], "no recipients"),
        ({"select": "i05", "i03": "a@x.org"}, "no recipients"),
    ],
)
def test_mail_goes_to_addresses_of_the_configuration(
    mailbox: type[_Mail], recipients: Any, reason: str
):
    with pytest.raises(PermanentError, match=reason):
        write({"recipients": recipients})
    assert mailbox.texts == []


def test_a_subject_adds_no_headers(mailbox: type[_Mail]):
    with pytest.raises(PermanentError, match="mail: "):
        write({"recipients": "a@x.org", "subject": "x\nBcc: c@y.org"})
    assert mailbox.texts == []


# files of lines


def add_line(file: Path, payload: Any, **more: Any) -> Any:
    step = Step(parameters={"output_filename": str(file), **more}, payload=payload)
    return json_lines(step)


def lines_of(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_each_payload_is_a_line(tmp_path: Path):
    file = tmp_path / "new" / "f.jsonl"
    add_line(file, {"a": 1, "b": 2, "c": 3}, include=["a", "b", "x"], exclude=["b"])
    add_line(file, {"a": 1, "b": "x\ny"}, exclude=["a"])
    add_line(file, [1, 2])
    assert lines_of(file) == [{"a": 1}, {"b": "x\ny"}, [1, 2]]


def test_what_a_writer_that_died_has_left_of_a_line_is_removed(tmp_path: Path):
    file = tmp_path / "f.jsonl"
    file.write_text('{"a": 1}\n{"a": ')
    add_line(file, {"a": 2})
    assert lines_of(file) == [{"a": 1}, {"a": 2}]
    file.write_text("x" * 200_000)
    add_line(file, {"a": 3})
    assert lines_of(file) == [{"a": 3}]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(PermanentError, match=r"folder.jsonl: Is a directory"):
        add_line(tmp_path / "folder.jsonl", {})


def test_lines_go_to_allowed_folders_only(
    tmp_path: Path, configured: pytest.MonkeyPatch
):
    configured.setenv("ZOCELERY_FILES_ROOTS", json.dumps([str(tmp_path / "in")]))
    current_settings.cache_clear()
    with pytest.raises(PermanentError, match=r"output_filename: .* not below"):
        add_line(tmp_path / "in" / ".." / "out.jsonl", {})
    assert list(tmp_path.iterdir()) == []
