"""Where the key comes from, how it is sent, and how it is kept out of everything else."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pipeline.config.settings import NO_KEY, ProviderSettings
from pipeline.domain.errors import ConfigurationError
from pipeline.providers.endpoint import is_azure_host, is_openai_host

_SHORTEST_SECRET: Final = 8
_STARS: Final = "*****"
# What servers echo of a request and we do not want to store: keys (also half-masked ones, as in
# OpenAI's 401), authorization values, and the picture itself.
_ECHOES: Final = (
    (re.compile(r"\bsk-[\w*.-]{4,}"), "sk-" + _STARS),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s\"',;<>]+", re.IGNORECASE), r"\1 " + _STARS),
    (re.compile(r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/=\\]*"), "data:image/..."),
)


class Secret:
    """A text that shows as stars everywhere but in ``reveal``."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def hide_in(self, data: bytes) -> bytes:
        """``data`` without the secret.

        A key such as ``x`` or ``none``, as servers of one's own take, is a word that answers may
        hold, and no secret.
        """
        if len(self._text) < _SHORTEST_SECRET:
            return data
        return data.replace(self._text.encode(), _STARS.encode())

    def __repr__(self) -> str:
        return f"Secret({_STARS})"

    def __str__(self) -> str:
        return _STARS


def hide_echoes(text: str) -> str:
    """``text`` from a server without what looks like a key or a picture of ours."""
    for pattern, stars in _ECHOES:
        text = pattern.sub(stars, text)
    return text


def read_key(settings: ProviderSettings, environ: Mapping[str, str], *, host: str) -> Secret | None:
    """The key from its variable, or from the file that ``<variable>_FILE`` names.

    Returns:
        None when there is none and ``host`` may not need one.

    Raises:
        ConfigurationError: the file cannot be read, the key cannot be sent in a header, or OpenAI
            or Azure is to be asked without one.
    """
    name = settings.api_key_env
    if name == NO_KEY:
        _check_needs_none(host)
        return None
    text = environ.get(name, "").strip() or _read_key_file(f"{name}_FILE", environ)
    if text:
        return Secret(_check_sendable(name, text))
    if is_openai_host(host) or is_azure_host(host):
        raise ConfigurationError(
            f"no key: {host} needs one in the environment variable {_show_name(name)} "
            f"(or {_show_name(name)}_FILE, the path of a file that holds it)"
        )
    return None


def _show_name(name: str) -> str:
    """What looks like a key in the place of a variable's name is not repeated."""
    return name if name == name.upper() else "that provider.api_key_env names"


def _check_needs_none(host: str) -> None:
    if is_openai_host(host) or is_azure_host(host):
        raise ConfigurationError(
            f"no key: {host} needs one, and a key is only sent to the server it was given for; "
            "name its variable in api_key_env beside base_url"
        )


def _read_key_file(name: str, environ: Mapping[str, str]) -> str:
    path = environ.get(name, "").strip()
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        # Not chained: that error carries the file's bytes.
        raise ConfigurationError(f"{name}: {path} is no UTF-8 text") from None


def _check_sendable(name: str, text: str) -> str:
    # A line break or an invisible character (pasted from a web page) cannot go into a header.
    if not all("!" <= character <= "~" for character in text):
        raise ConfigurationError(
            f"{name} holds a space, a line break or another character that cannot be sent; "
            "copy it anew"
        )
    return text


def make_account_headers(settings: ProviderSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Headers that say for whom we ask: organization and project, where set."""
    headers = {}
    for header, variable in (
        ("OpenAI-Organization", settings.organization_env),
        ("OpenAI-Project", settings.project_env),
    ):
        if value := environ.get(variable, "").strip():
            headers[header] = _check_sendable(variable, value)
    return headers


def make_key_headers(key: Secret | None, *, host: str) -> dict[str, str]:
    """The header that carries the key: Azure has its own, all others take a bearer token."""
    if key is None:
        return {}
    if is_azure_host(host):
        return {"api-key": key.reveal()}
    return {"Authorization": f"Bearer {key.reveal()}"}
