"""HTTPS requests, also after a redirect; failures are told apart by whether a new attempt may help."""

import http.client
import ipaddress
import ssl
import urllib.error
import urllib.parse
import urllib.request

from fetal_jax.core.types import UserError

AGAIN = {408, 425, 429, 500, 502, 503, 504}  # states of a server that are temporary


class Dropped(Exception):
    """The connection failed; a new attempt may help."""

    def __init__(self, words: str, *, wait_s: float = 0.0, progressed: bool = False):
        super().__init__(words)
        self.wait_s = wait_s  # as the server asks
        self.progressed = progressed


class Refused(UserError):
    """The server refuses the request."""

    def __init__(self, url: str, status: int, reason: str):
        super().__init__(
            f"{url}: the server answers {status} {reason}: check that it is still public, or download it by hand (data:"
            " name its folder with --source; weights: fetal-jax weights import)"
        )
        self.status = status


def open_url(url: str, headers: dict[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """The answer, its body not yet read.

    Raises Dropped if a new attempt may help, Refused if the server refuses, UserError for an address that is not HTTPS.
    """
    _check(url)
    handlers: list[urllib.request.BaseHandler] = [_Redirects()]
    if _is_loopback(url):
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "fetal-jax"} | headers)
    try:
        return urllib.request.build_opener(*handlers).open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in AGAIN:
                wait = error.headers.get("Retry-After", "")
                raise Dropped(f"answers {error.code}", wait_s=float(wait) if wait.isdigit() else 0.0) from error
            raise Refused(url, error.code, str(error.reason)) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise UserError(f"{url}: its certificate is not valid: check the clock, or the proxy between") from error
        raise Dropped(f"cannot be reached ({error.reason})") from error
    except (http.client.HTTPException, OSError) as error:
        raise Dropped(f"does not answer ({error or type(error).__name__})") from error


def read(response: http.client.HTTPResponse, size: int) -> bytes:
    """Up to `size` bytes of the body, none at its end. Raises Dropped if the connection breaks."""
    try:
        return response.read(size)
    except (http.client.HTTPException, OSError) as error:
        raise Dropped(f"broke off ({error or type(error).__name__})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        try:
            _check(newurl)
            if _is_loopback(newurl) and not _is_loopback(req.full_url):
                raise UserError(f"{req.full_url}: leads to {newurl}, this machine itself: download the files by hand")
        except UserError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(url: str) -> None:
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme != "https" and not (scheme == "http" and _is_loopback(url)):
        raise UserError(f"{url}: is not https: use an address that is")


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
