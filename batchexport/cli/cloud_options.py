"""The options that say which cloud is meant and how to sign in to it, and the weather of a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from batchexport.cli import parameters
from batchexport.cli.options import Decorator, Section, all_of, flag, option
from batchexport.cli.parameters import Parsed
from batchexport.config.values import duration_s

if TYPE_CHECKING:
    from batchexport.sandbox.weather import Weather

#: `--os-…` options by the name that openstacksdk gives the value. `--os-cloud` and `--insecure` stand apart.
SIGN_IN = {
    "auth_url": "URL of the identity service.",
    "auth_type": "Authentication type: password, token, v3applicationcredential …",
    "username": "User name.",
    "password": "Password. Flags are visible to others on this machine: prefer clouds.yaml or the variable.",
    "token": "Token.",
    "project_name": "Project, by name.",
    "project_id": "Project, by id.",
    "user_domain_name": "Domain of the user, by name.",
    "user_domain_id": "Domain of the user, by id.",
    "project_domain_name": "Domain of the project, by name.",
    "project_domain_id": "Domain of the project, by id.",
    "application_credential_id": "Application credential, by id.",
    "application_credential_name": "Application credential, by name.",
    "application_credential_secret": "Its secret; visible like a password.",
    "passcode": "One-time passcode (v3totp): valid for one sign-in, so for the life of one token.",
    "trust_id": "Trust to use.",
    "access_key": "Access key of an EVS cloud.",
    "secret_key": "Its secret; visible like a password.",
    "security_token": "Security token of a temporary access key; visible like a password.",
    "region_name": "Region.",
    "interface": "Endpoint interface: public, internal or admin.",
    "cacert": "File with trusted certificates.",
}


def _sign_in(name: str, help: str) -> Decorator:
    flag = "--os-" + name.replace("_", "-")
    # openstacksdk reads the variable by itself, so this option must not.
    return click.option(flag, "os_" + name, metavar="TEXT", help=f"{help}  [env var: OS_{name.upper()}]")


def _weather(text: str) -> Weather:
    from batchexport.sandbox.weather import read_weather

    return read_weather(text)


def _set_weather(_context: click.Context, _: click.Parameter, value: Any) -> None:
    from batchexport.app.embedded_sandbox import WEATHER

    WEATHER.set(value)


_WEATHER = Parsed("weather", _weather)
_METAVAR = "NAME|FILE"
#: For commands that may start a practice cloud.
weather_option = option(
    "--weather",
    type=_WEATHER,
    metavar=_METAVAR,
    show_default="fair",
    help="Faults of the sandbox: `storm`, the name of one fault, or a TOML file.",
    expose_value=False,
    callback=_set_weather,
)
#: For the command that is one.
own_weather_option = option(
    "--weather",
    type=_WEATHER,
    metavar=_METAVAR,
    show_default="fair",
    help="Faults of the sandbox: `storm`, the name of one fault, or a TOML file.",
)
_sign_in_timeout_option = option(
    "--sign-in-timeout",
    "sign_in_timeout_s",
    type=Parsed("duration", duration_s),
    metavar="S",
    show_default="up to 5m for a run, otherwise 10s",
    help="How long to retry while the identity service is away or busy; 0: try once.",
)
cloud_options = all_of(
    click.option(
        "--os-cloud",
        metavar="NAME",
        shell_complete=parameters.clouds,
        help="Entry of clouds.yaml. `sandbox` starts a practice cloud on this machine, unless there is such "
        "an entry.  [env var: OS_CLOUD]",
    ),
    *(_sign_in(name, words) for name, words in SIGN_IN.items()),
    flag("--insecure", help="Do not verify the cloud's certificates."),
    _sign_in_timeout_option,
    weather_option,
    section=Section.CLOUD,
)
#: Of a run that others work on: what names a cloud, and no credentials.
submitted_cloud_options = all_of(
    click.option(
        "--os-cloud", metavar="NAME", help="Entry of the workers' clouds.yaml.  [env var: OS_CLOUD]"
    ),
    *(_sign_in(name, SIGN_IN[name]) for name in ("region_name", "project_name", "project_id", "interface")),
    _sign_in_timeout_option,
    section=Section.CLOUD,
)
