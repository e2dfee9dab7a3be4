import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from ssl import SSLContext
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from batchexport.config.outputs import Mail, MailSecurity
from batchexport.observe import notifications as module
from batchexport.observe.message import Message
from batchexport.observe.notifications import DeliveryError, build_mail, send_mail


class Post:
    """Keeps the mail it is given; `refuse` is what it says to a recipient or to the mail instead."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refuse: str | None = None
        self.refuse_rcpt: dict[str, str] = {}

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[Any]
    ) -> str:
        if address in self.refuse_rcpt:
            return self.refuse_rcpt[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refuse:
            return self.refuse
        assert isinstance(envelope.content, bytes)
        self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 taken"


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
async def serve(post: Post) -> AsyncIterator[Callable[..., Awaitable[Mail]]]:
    """Starts a mail server; the Mail that goes there. With `ssl` it speaks TLS from the first byte."""
    servers = []

    async def start(
        security: MailSecurity = MailSecurity.NONE,
        *,
        user: str | None = None,
        password: str | None = None,
        ssl: SSLContext | None = None,
        **options: Any,
    ) -> Mail:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(post, loop=loop, **options), "127.0.0.1", 0, ssl=ssl)
        servers.append(server)
        return Mail(
            host="localhost" if ssl or "tls_context" in options else "127.0.0.1",
            port=server.sockets[0].getsockname()[1],
            security=security,
            sender="exports@example.org",
            recipients=("ops@example.org", "boss@example.org"),
            user=user,
            password=password,
        )

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SSLContext]:
    """A server's certificate for localhost that nobody but these tests trusts."""
    folder = tmp_path_factory.mktemp("tls")
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
    words += " subjectAltName=DNS:localhost"
    subprocess.run(
        [*words.split(), "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def message(attachment: Path | None = None) -> Message:
    return Message(
        title="nightly: done\nreally", lines=["8 of 10", "größer"], good=True, attachment=attachment
    )


async def test_a_mail_is_handed_over_with_the_report(
    serve: Callable[..., Awaitable[Mail]], post: Post, tmp_path: Path
) -> None:
    (tmp_path / "night.html").write_text("<p>größer</p>", encoding="utf-8")
    await send_mail(await serve(), message(tmp_path / "night.html"))
    ((recipients, found),) = post.mails
    assert recipients == ["ops@example.org", "boss@example.org"]
    assert (found["Subject"], found["From"]) == ("nightly: done really", "exports@example.org")
    assert found["Auto-Submitted"] == "auto-generated"
    assert found.get_body().get_content().splitlines() == ["8 of 10", "größer"]
    (report,) = found.iter_attachments()
    assert (report.get_filename(), report.get_content().strip()) == ("night.html", "<p>größer</p>")


def test_a_report_that_is_too_large_or_gone_stays_away(
    serve: Callable[..., Awaitable[Mail]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = Mail(host="h", port=25, security=MailSecurity.NONE, sender="a@b", recipients=("c@d",))
    assert not build_mail(to, message(tmp_path / "gone.html")).is_multipart()
    (tmp_path / "night.html").write_text("12345")
    monkeypatch.setattr(module, "MAX_ATTACHED_BYTES", 4)
    assert not build_mail(to, message(tmp_path / "night.html")).is_multipart()


@pytest.mark.parametrize(("refusal", "permanent"), [("554 no", True), ("451 later", False)])
async def test_a_server_that_refuses_the_mail_is_quoted(
    serve: Callable[..., Awaitable[Mail]], post: Post, refusal: str, permanent: Any
) -> None:
    to, post.refuse = await serve(), refusal
    with pytest.raises(DeliveryError, match=f"^127.0.0.1 answered {refusal}$") as caught:
        await send_mail(to, message())
    assert caught.value.permanent is permanent


async def test_refused_recipients_are_named(serve: Callable[..., Awaitable[Mail]], post: Post) -> None:
    to, post.refuse_rcpt = await serve(), {"boss@example.org": "550 unknown"}
    with pytest.raises(DeliveryError, match=r"refused boss@example\.org"):
        await send_mail(to, message())
    assert len(post.mails) == 1
    post.refuse_rcpt["ops@example.org"] = "550 unknown"
    with pytest.raises(DeliveryError, match="refused every recipient"):
        await send_mail(to, message())


async def test_a_server_that_is_not_there_may_come_back(serve: Callable[..., Awaitable[Mail]]) -> None:
    to = await serve()
    gone = Mail(host=to.host, port=1, security=to.security, sender=to.sender, recipients=to.recipients)
    with pytest.raises(DeliveryError) as caught:
        await send_mail(gone, message())
    assert not caught.value.permanent


async def test_a_user_signs_in(serve: Callable[..., Awaitable[Mail]], post: Post) -> None:
    def known(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"me", b"hunter2"), handled=False)

    options = {"authenticator": known, "auth_require_tls": False}
    await send_mail(await serve(user="me", password="hunter2", **options), message())
    assert len(post.mails) == 1
    with pytest.raises(DeliveryError, match="answered 535") as caught:
        await send_mail(await serve(user="me", password="hunter3", **options), message())
    assert "hunter" not in str(caught.value)


async def test_starttls_is_used_and_its_certificate_checked(
    serve: Callable[..., Awaitable[Mail]],
    post: Post,
    certificate: tuple[Path, SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, context = certificate
    to = await serve(MailSecurity.STARTTLS, tls_context=context, require_starttls=True)
    with pytest.raises(DeliveryError, match="certificate"):
        await send_mail(to, message())
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    await send_mail(to, message())
    assert len(post.mails) == 1


async def test_a_server_without_starttls_gets_no_mail_in_the_clear(
    serve: Callable[..., Awaitable[Mail]], post: Post
) -> None:
    with pytest.raises(DeliveryError):
        await send_mail(await serve(MailSecurity.STARTTLS), message())
    assert post.mails == []


async def test_mail_goes_over_tls_from_the_first_byte(
    serve: Callable[..., Awaitable[Mail]],
    post: Post,
    certificate: tuple[Path, SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    await send_mail(await serve(MailSecurity.TLS, ssl=context), message())
    assert len(post.mails) == 1


def test_words_of_a_server_are_told_on_one_line() -> None:
    assert module._words(b"no\nmore \xff") == "no more \ufffd"
    assert module._words("a\nb") == "a b"
