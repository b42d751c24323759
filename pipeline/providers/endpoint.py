"""Which server is asked, and by which proxy."""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # not in typeshed

from yarl import URL

from pipeline.config.settings import ProviderSettings
from pipeline.domain.errors import ConfigurationError

OPENAI_URL: Final = "https://api.openai.com/v1"
_AZURE_HOSTS: Final = (
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
)


def is_openai_host(host: str) -> bool:
    """OpenAI's own servers, the regional ones included."""
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def is_azure_host(host: str) -> bool:
    """OpenAI's models as Microsoft serves them."""
    return host.endswith(_AZURE_HOSTS)


def choose_base_url(settings: ProviderSettings, environ: Mapping[str, str]) -> URL:
    """``provider.base_url``, else ``OPENAI_BASE_URL``, else OpenAI; as the official SDK does.

    Raises:
        ConfigurationError: it is no http(s) URL, or holds a user name or password.
    """
    name = "provider.base_url" if settings.base_url else "OPENAI_BASE_URL"
    url = _parse(name, settings.base_url or environ.get("OPENAI_BASE_URL", "").strip())
    if url.user is not None or url.password is not None:
        raise ConfigurationError(f"{name} must hold no user name or password; give a key instead")
    return url.with_path(url.path.rstrip("/"), keep_query=True)


def _parse(name: str, text: str) -> URL:
    wanted = f"{name} must start with http:// or https:// and name a host"
    try:
        url = URL(text or OPENAI_URL)
    except ValueError as error:
        raise ConfigurationError(wanted) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(wanted)
    return url


def choose_proxy(url: URL, environ: Mapping[str, str]) -> URL | None:
    """The proxy for ``url`` by the usual variables (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``).

    Asked once. aiohttp's ``trust_env`` would look again, in a thread, for every request, and would
    read ``~/.netrc`` for credentials that compete with the key.

    Raises:
        ConfigurationError: the proxy is not an HTTP one.
    """
    named = dict(_list_proxy_variables(environ))
    text = named.get(url.scheme) or named.get("all")
    if not text or proxy_bypass_environment(f"{url.host}:{url.port}", named):
        return None
    name = f"{url.scheme.upper()}_PROXY" if named.get(url.scheme) else "ALL_PROXY"
    return _parse(name, text if "://" in text else f"http://{text}")


def _list_proxy_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    # Lower-case names sort last and so win, as in curl.
    for name in sorted(environ):
        if name.lower().endswith("_proxy") and environ[name]:
            yield name.lower().removesuffix("_proxy"), environ[name]
