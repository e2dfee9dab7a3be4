"""The requests library as keystoneauth uses it, held to what holds for every other request of ours.

Nothing is taken from netrc, proxies and certificates are those of all other requests, answers have a largest
size, and no redirect is followed: a password was meant for one address.
"""

from __future__ import annotations

from typing import Any

import requests
import requests.adapters
import urllib3

from batchexport.cloud.transport import LARGEST_SIGN_IN, Trust
from batchexport.proxies import proxy_for

_PIECE = 64 * 1024


class AnswerTooLargeError(Exception):
    """An answer of the identity service that no token needs."""


class SignInSession(requests.Session):
    """A session for one sign-in. `last` is its latest answer, of which libraries tell in misleading words."""

    def __init__(self, trust: Trust) -> None:
        super().__init__()
        self.trust_env = False
        self.last: requests.Response | None = None
        self._trust = trust
        self.mount("http://", _Adapter(self, None))
        del self.adapters["https://"]  # until one is asked for: certificates are not read for nothing
        if not trust.verify:  # it is told once by us, and in our own form
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def get_adapter(self, url: str) -> requests.adapters.BaseAdapter:
        """What sends to this URL."""
        if url.lower().startswith("https://") and "https://" not in self.adapters:
            self.mount("https://", _Adapter(self, self._trust.context()))
        return super().get_adapter(url)


class _Adapter(requests.adapters.HTTPAdapter):
    """Sends through the proxy of every other request, and reads no more than an answer may have."""

    def __init__(self, session: SignInSession, context: Any) -> None:
        self._session = session
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """With our own trust, beside the authorities that requests brings along."""
        super().init_poolmanager(*args, **(options | self._with_context()))

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        """The same through a proxy."""
        return super().proxy_manager_for(proxy, **(options | self._with_context()))

    def _with_context(self) -> dict[str, Any]:
        return {} if self._context is None else {"ssl_context": self._context}

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """The whole answer. Raises AnswerTooLargeError for one that no token needs."""
        proxy = proxy_for(request.url or "")
        named = {} if proxy is None else dict.fromkeys(("http", "https"), proxy.url_with_password)
        answer = super().send(request, *args, **(options | {"stream": True, "proxies": named}))
        self._session.last = answer
        pieces = bytearray()
        for piece in answer.iter_content(_PIECE):
            pieces += piece
            if len(pieces) > LARGEST_SIGN_IN:
                answer.close()
                raise AnswerTooLargeError(f"more than {LARGEST_SIGN_IN // 2**20} MiB")
        answer._content = bytes(pieces)
        return answer
