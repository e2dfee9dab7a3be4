"""Mail about a run, sent over SMTP."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from batchexport.config.outputs import Mail, MailSecurity
from batchexport.observe.delivery import TRY_S, DeliveryError
from batchexport.observe.message import Message

#: Larger reports are not attached: mail servers commonly refuse more than 10 MB.
MAX_ATTACHED_BYTES = 5_000_000


async def send_mail(mail: Mail, message: Message) -> None:
    """Send the message. Raises DeliveryError."""
    await asyncio.to_thread(_send, mail, build_mail(mail, message))


def build_mail(mail: Mail, message: Message) -> EmailMessage:
    """The message as a mail, with the HTML report attached if there is one."""
    mail_message = EmailMessage()
    mail_message["Subject"] = " ".join(message.title.split())
    mail_message["From"], mail_message["To"] = mail.sender, ", ".join(mail.recipients)
    mail_message["Date"], mail_message["Message-ID"] = formatdate(), make_msgid(domain="batchexport.invalid")
    mail_message["Auto-Submitted"] = "auto-generated"  # no vacation replies
    mail_message.set_content("\n".join(message.lines) + "\n")
    report = message.attachment
    if report is not None and report.is_file() and report.stat().st_size <= MAX_ATTACHED_BYTES:
        page = report.read_text(encoding="utf-8")
        mail_message.add_attachment(page, subtype="html", filename=report.name)
    return mail_message


def _send(mail: Mail, mail_message: EmailMessage) -> None:
    try:
        with _connection(mail) as server:
            if mail.user is not None and mail.password is not None:
                server.login(mail.user, mail.password)
            refused = server.send_message(mail_message)
    except smtplib.SMTPResponseException as error:
        words = f"{mail.host} answered {error.smtp_code} {_words(error.smtp_error)}"
        raise DeliveryError(words, permanent=error.smtp_code >= 500) from error
    except smtplib.SMTPRecipientsRefused as error:
        raise DeliveryError(f"{mail.host} refused every recipient", permanent=True) from error
    except (smtplib.SMTPException, OSError) as error:
        raise DeliveryError(f"{mail.host}: {error}") from error
    if refused:
        raise DeliveryError(f"{mail.host} refused {', '.join(refused)}", permanent=True)


def _connection(mail: Mail) -> smtplib.SMTP:
    if mail.security is MailSecurity.TLS:
        return smtplib.SMTP_SSL(mail.host, mail.port, timeout=TRY_S, context=ssl.create_default_context())
    server = smtplib.SMTP(mail.host, mail.port, timeout=TRY_S)
    if mail.security is MailSecurity.STARTTLS:
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _words(text: bytes | str) -> str:
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return " ".join(plain.split())
