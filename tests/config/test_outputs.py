from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchexport.config import jobfile
from batchexport.config.jobfile import JobFile, read_job_file
from batchexport.config.outputs import Heartbeat, MailSecurity, Notify, Reports, WebhookForm, When
from batchexport.errors import ConfigError

JOB = '[job]\nlist = "volumes.csv"\n'


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(text: str) -> Any:
        (tmp_path / "job.toml").write_text(JOB + text)
        return read_job_file(tmp_path / "job.toml")

    return read


def problems(read: Callable[..., JobFile], text: str) -> Any:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value).splitlines()[1:]


def test_a_job_file_that_says_nothing_tells_nobody(read: Callable[..., JobFile]) -> None:
    found = read("")
    assert (found.notify, found.reports) == (None, None)
    assert read("[notify]\n[report]\n").notify == Notify()
    assert read("[notify]\n[report]\n").reports == Reports()


def test_a_webhook_has_an_address_and_a_form(read: Callable[..., JobFile]) -> None:
    found = read(
        '[notify]\nwebhook = "https://hooks.example.org/x"\nwebhook_form = "teams"\nwhen = "failure"\n'
    ).notify
    assert (found.webhook, found.webhook_form, found.when) == (
        "https://hooks.example.org/x",
        WebhookForm.TEAMS,
        When.FAILURE,
    )
    assert "hooks.example.org" not in repr(found)


def test_a_heartbeat_has_start_and_failure_under_it(read: Callable[..., JobFile]) -> None:
    assert read('[notify]\nheartbeat = "https://hc/1/"\n').notify.heartbeat == Heartbeat(
        success="https://hc/1/", start="https://hc/1/start", failure="https://hc/1/fail"
    )


def test_other_addresses_may_be_named_and_a_query_stays_as_it_is(read: Callable[..., JobFile]) -> None:
    found = read(
        '[notify]\nheartbeat = "http://up/p?status=up"\nheartbeat_failure = "http://up/p?status=down"\n'
    )
    assert found.notify.heartbeat == Heartbeat(
        success="http://up/p?status=up", failure="http://up/p?status=down"
    )


@pytest.mark.parametrize(
    ("server", "security", "port"),
    [
        ("smtp://mail", MailSecurity.NONE, 25),
        ("smtp+starttls://mail", MailSecurity.STARTTLS, 587),
        ("smtps://mail", MailSecurity.TLS, 465),
        ("smtps://mail:2465", MailSecurity.TLS, 2465),
    ],
)
def test_mail_goes_by_a_server_with_a_scheme(
    read: Callable[..., JobFile], server: str, security: MailSecurity, port: int
) -> None:
    text = f'[notify]\nmail_server = "{server}"\nmail_from = "a@b.c"\nmail_to = "d@e.f"\n'
    mail = read(text).notify.mail
    assert (mail.host, mail.port, mail.security, mail.recipients) == ("mail", port, security, ("d@e.f",))


def test_secrets_come_from_the_environment_and_are_not_shown(
    read: Callable[..., JobFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "https://hooks.example.org/secret")
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2")
    found = read(
        '[notify]\nwebhook = "${HOOK}"\nmail_server = "smtps://m"\nmail_from = "a@b.c"\n'
        'mail_to = ["d@e.f", "g@h.i"]\nmail_user = "me"\nmail_password = "${MAIL_PASSWORD}"\n'
    ).notify
    assert found.webhook == "https://hooks.example.org/secret"
    assert (found.mail.user, found.mail.password, len(found.mail.recipients)) == ("me", "hunter2", 2)
    assert "secret" not in repr(found) and "hunter2" not in repr(found)
    assert found.unset == ()


def test_a_job_file_can_be_checked_where_its_secrets_are_not(
    read: Callable[..., JobFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOOK", "SERVER", "FROM", "TO"):
        monkeypatch.delenv(name, raising=False)
    found = read(
        '[notify]\nwebhook = "${HOOK}"\nheartbeat = "${HOOK}"\n'
        'mail_server = "${SERVER}"\nmail_from = "${FROM}"\nmail_to = "${TO}"\n'
    )
    assert set(found.notify.unset) == {"HOOK", "SERVER", "FROM", "TO"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("webhook = 5", "[notify] webhook: must be a text in quotes"),
        (
            'webhook = "ftp://x"',
            "[notify] webhook: is not a URL; it must begin with https:// or http:// and name a host",
        ),
        (
            'webhook = "http://[x"',
            "[notify] webhook: is not a URL; it must begin with https:// or http:// and name a host",
        ),
        ('webhook_form = "slack"', '[notify] webhook_form: "slack" is not known; allowed: text, teams'),
        ('when = "never"', '[notify] when: "never" is not known; allowed: always, failure'),
        ('heartbeat_start = "http://x"', "[notify] heartbeat: missing: the address to call after a success"),
        (
            'mail_from = "a@b.c"',
            "[notify] mail_server: mail needs mail_server, mail_from, mail_to; missing or wrong: "
            "mail_server, mail_to",
        ),
        ('slack = "x"', "[notify] slack: unknown key"),
    ],
)
def test_what_is_wrong_is_named(read: Callable[..., JobFile], line: str, problem: str) -> None:
    assert problems(read, f"[notify]\n{line}\n") == [f"  {problem}"]


@pytest.mark.parametrize("address", ["nobody", "@b", "a@", "a b@c"])
def test_a_mail_address_has_a_name_and_a_host(read: Callable[..., JobFile], address: str) -> None:
    text = f'[notify]\nmail_server = "smtp://m"\nmail_from = "{address}"\nmail_to = []\n'
    first, second, _ = problems(read, text)
    assert first == f'  [notify] mail_from: "{address}" is not an email address'
    assert second == "  [notify] mail_to: is empty; name at least one recipient"


@pytest.mark.parametrize("server", ["mail:25", "smtp://", "smtp://me@mail", "http://mail"])
def test_a_mail_server_has_a_scheme_and_no_user(read: Callable[..., JobFile], server: str) -> None:
    text = f'[notify]\nmail_server = "{server}"\nmail_from = "a@b.c"\nmail_to = "d@e.f"\n'
    assert problems(read, text)[0].startswith(
        "  [notify] mail_server: must be smtp, smtp+starttls, smtps with ://"
    )


def test_user_and_password_go_together(read: Callable[..., JobFile]) -> None:
    text = '[notify]\nmail_server = "smtp://m"\nmail_from = "a@b.c"\nmail_to = "d@e.f"\nmail_user = "me"\n'
    assert problems(read, text) == ["  [notify] mail_user: mail_user and mail_password go together"]


def test_reports_go_to_a_folder_beside_the_job_file(read: Callable[..., JobFile], tmp_path: Path) -> None:
    assert read('[report]\nfolder = "out"\n').reports == Reports(folder=tmp_path / "out", formats=("html",))
    found = read('[report]\nfolder = "out"\nformats = ["csv", "html", "csv"]\n').reports
    assert found.formats == ("csv", "html")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('formats = "html"', "folder: missing: where the reports go"),
        (
            'folder = "o"\nformats = ["pdf"]',
            "formats: 'pdf' is not known; allowed: html, markdown, csv, json, table",
        ),
        ('folder = "o"\nformats = []', "formats: is empty; leave the key out instead"),
    ],
)
def test_what_is_wrong_with_reports_is_named(read: Callable[..., JobFile], lines: str, problem: str) -> None:
    assert problems(read, f"[report]\n{lines}\n") == [f"  [report] {problem}"]


def test_the_tables_are_known_to_the_job_file() -> None:
    assert {"report", "notify"} <= set(jobfile._TABLES)


MAIL = """
[notify]
mail_from = "a@b.c"
mail_to = "d@e.f"
mail_user = "u"
mail_password = "p"
mail_server = """


def test_a_password_goes_in_the_clear_only_where_that_is_said(read: Callable[..., JobFile]) -> None:
    (problem,) = problems(read, f'{MAIL}"smtp://mail"\n')
    assert "smtp:// would send mail_password in the clear" in problem
    assert read(f'{MAIL}"smtp://mail"\nmail_password_in_clear = true\n').notify.mail.password == "p"
    assert read(f'{MAIL}"smtp+starttls://mail"\n').notify.mail.password == "p"
    (problem,) = problems(read, f'{MAIL}"smtps://mail"\nmail_password_in_clear = "yes"\n')
    assert "must be true or false" in problem


@pytest.mark.parametrize(
    "line",
    [
        'mail_to = "${PW}"',
        'mail_to = ["${PW}"]',
        'mail_from = "${PW}"',
        'when = "${PW}"',
        'webhook_form = "${PW}"',
        'webhook = "${PW}"',
        'mail_server = "${PW}"',
    ],
)
def test_what_a_variable_holds_is_never_told_when_it_is_in_the_wrong_place(
    read: Callable[..., JobFile], monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("PW", "hunter2 secret")
    text = "\n".join(problems(read, f"[notify]\n{line}\n"))
    assert "hunter2" not in text
