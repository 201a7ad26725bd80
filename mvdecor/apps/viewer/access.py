"""Who may connect to a viewer: pages of this machine alone, or whoever knows a token."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

LOCAL = ("127.0.0.1", "localhost", "::1")
ORIGINS = (re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?"), None)
"""Pages that may talk to a viewer on a local host: its own, through whatever port; and programs that are no page."""
REFUSED = b"Open the address that the viewer printed, with its token.\n"


def guarded(serve: Callable[..., Any], token: str | None) -> Callable[..., Any]:
    """`websockets.asyncio.server.serve` that refuses strangers; viser itself asks nobody where they come from.

    Args:
        serve: that function.
        token: what requests must know, in the address or in the cookie that the first answer sets; None: of pages, only
            local ones may connect.
    """
    if token is None:
        return partial(serve, origins=ORIGINS)

    def start(*arguments: Any, process_request: Callable[..., Any], **options: Any) -> Any:
        return serve(*arguments, process_request=partial(_answer, token, process_request), **options)

    return start


async def _answer(token: str, process_request: Callable[..., Any], connection: Any, request: Any) -> Any:
    """What a request gets: a refusal, or what it would get anyway, with the cookie if it came with the token."""
    query = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
    cookie = _cookie(token)
    if not _same(query, token) and not _same(_value_of(request.headers.get_all("Cookie"), cookie), token):
        return connection.respond(HTTPStatus.FORBIDDEN, REFUSED.decode())
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
        return connection.respond(HTTPStatus.FORBIDDEN, "This page may not connect.\n")
    response = process_request(connection, request)
    if inspect.isawaitable(response):
        response = await response
    if response is not None and _same(query, token):
        response.headers["Set-Cookie"] = f"{cookie}={token}; HttpOnly; SameSite=Strict; Path=/"
        response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _cookie(token: str) -> str:
    """Name of the cookie: browsers share cookies among the ports of a machine, so each viewer has its own."""
    return f"mvdecor_{hashlib.sha256(token.encode()).hexdigest()[:16]}"


def _value_of(headers: list[str], cookie: str) -> str:
    for header in headers:
        try:
            cookies = SimpleCookie(header)
        except CookieError:
            continue
        if cookie in cookies:
            return cookies[cookie].value
    return ""


def _same(text: str, token: str) -> bool:
    return hmac.compare_digest(text.encode(), token.encode())
