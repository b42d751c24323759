"""Which server and account a provider stands for, said without giving the key away."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from pipeline.config.settings import ProviderSettings
from pipeline.providers.credentials import make_account_headers, read_key
from pipeline.providers.endpoint import choose_base_url

_DEFAULT_KEY_NAME: Final = "OPENAI_API_KEY"
_MOST_SUFFIX_CHARACTERS: Final = 24
_ACCOUNT_DIGITS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointIdentity:
    """One server with one key."""

    host: str
    """Without the port."""
    label: str
    """For people: ``host[:port]``, and what is special in the name of the key's variable."""
    account: str
    """16 hex digits: the same for all who share a server, a key, and so its rate."""


def identify_endpoint(settings: ProviderSettings, environ: Mapping[str, str]) -> EndpointIdentity:
    """Name the server and the account that settings and environment choose.

    Raises:
        ConfigurationError: the URL or the key cannot be used.
    """
    url = choose_base_url(settings, environ)
    host = url.host or ""
    key = read_key(settings, environ, host=host)
    facts = [
        str(url),
        key.reveal() if key else "",
        *sorted(make_account_headers(settings, environ).items()),
    ]
    # A digest of the key: whoever reads the ledger can compare accounts and not use them.
    digest = hashlib.sha256(orjson.dumps(facts)).hexdigest()
    # a variable that is not there may be the key itself, put in the wrong place
    name = settings.api_key_env
    is_named = name in environ or f"{name}_FILE" in environ
    suffix = _name_suffix(settings.api_key_env) if is_named else ""
    label = f"{url.host_port_subcomponent}{suffix}"
    return EndpointIdentity(host=host, label=label, account=digest[:_ACCOUNT_DIGITS])


def _name_suffix(variable: str) -> str:
    if variable == _DEFAULT_KEY_NAME:
        return ""
    special = variable.removeprefix(_DEFAULT_KEY_NAME).strip("_") or variable
    return f"#{special[-_MOST_SUFFIX_CHARACTERS:]}"
