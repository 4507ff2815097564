"""What obstore says went wrong, as one line that says what to do; nothing that a server sent is in it."""

from __future__ import annotations

import re

from stilt_dagster.resources.remote.retries import Again
from stilt_dagster.science.errors import StoreError

#: What it says of a file that holds this machine's token, and the variable that names the file.
_TOKEN_FILES = {
    "Failed to read EKS token file": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "Failed to read token file": "AWS_WEB_IDENTITY_TOKEN_FILE",
    "Error reading federated token file": "AZURE_FEDERATED_TOKEN_FILE",
}

#: What it says where it was not given credentials: a key that is missing, or one of the machine's own places for them.
_NO_CREDENTIALS = re.compile(
    r"Missing\w*Key|MissingAccount|/latest/api/token|/security-credentials|/v\d/credentials|/metadata/identity"
)

#: What it says of who exchanges a token for credentials: AWS's STS, whose address is left out, or Microsoft Entra.
_EXCHANGES = re.compile(r"performing POST REDACTED|token request: Error performing POST")

#: Codes that answers carry, as providers document them, by what is to be done.
_CODES = {
    "they have expired: renew them": ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
    "they are not accepted: correct them": (
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
    ),
    "this machine's clock is wrong: set it": ("RequestTimeTooSkewed",),
}

#: Of a bucket that is elsewhere.
_ELSEWHERE = ("AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "IncorrectEndpoint")


def explained(action: str, url: str, bucket: str, text: str) -> Exception:
    """Return the error that a refusal is.

    Parameters
    ----------
    action, url : str
        What was to be done, and with what.
    bucket : str
        Where it is, with its scheme.
    text : str
        What obstore said.

    Returns
    -------
    Exception
        A :class:`StoreError`; :class:`Again`, if it may go better the next time; a :class:`FileNotFoundError`, if what
        was there was longer.
    """
    doing = f"cannot {action} {url}"
    said, answered, answer = text.partition("status code: ")
    status = int(answer[:3]) if answered else 0
    code = re.search(r"<Code>(\w+)</Code>", answer)
    if status in (408, 429) or status >= 500:
        return Again(str(status))
    for words, variable in _TOKEN_FILES.items():
        if words in said:
            return StoreError(f"{doing}: no credentials: the file {variable} names cannot be read: mount it there")
    if _EXCHANGES.search(said) and status:
        return StoreError(
            f"{doing}: no credentials: this machine's identity is refused ({status}): check which role or client it is "
            "given, that it trusts this identity, and that the token it shows has not expired"
        )
    if _NO_CREDENTIALS.search(said):
        return StoreError(
            f"{doing}: no credentials: set the provider's variables (AWS_*, AZURE_*), or run where a role is bound"
        )
    for what, codes in _CODES.items():
        if code and code[1] in codes:
            return StoreError(f"{doing}: the credentials are refused ({code[1]}): {what}")
    if (code and code[1] in _ELSEWHERE) or 300 <= status < 400 or "redirect without" in said:
        return StoreError(f"{doing}: {bucket} is in another region: set AWS_REGION to it, or correct the endpoint")
    if status in (401, 403):
        return StoreError(f"{doing}: permission denied: give what runs this access to {bucket}, and its credentials")
    if status == 404 and action == "list":
        return no_bucket(action, url, bucket)
    if status == 416:
        return FileNotFoundError(url)
    if 400 <= status < 500:
        return StoreError(
            f"{doing}: the request is refused ({status}): check its name, region and endpoint, and whether its "
            "credentials have expired"
        )
    if "Name or service not known" in said or "No address associated" in said:
        return StoreError(
            f"{doing}: there is no host of that name: correct AZURE_STORAGE_ACCOUNT_NAME, AWS_REGION or the endpoint"
        )
    if "invalid peer certificate" in said:
        return StoreError(f"{doing}: the server's certificate is not accepted: have SSL_CERT_FILE name its authority's")
    if "error following redirect" in said:
        return StoreError(f"{doing}: it redirects to where it must not lead: set AWS_REGION, or correct the endpoint")
    return Again(_reason(said))


def no_bucket(action: str, url: str, bucket: str) -> StoreError:
    """Return the error that a bucket is not there."""
    return StoreError(
        f"cannot {action} {url}: there is no bucket {bucket}: create it, or correct STILT_STORE, STILT_MET or the scene"
    )


def first_line(error: object) -> str:
    """Return the first line of what obstore says of its settings."""
    return str(error).strip().splitlines()[0][:200]


def _reason(text: str) -> str:
    """Return why a request had no answer, in words of obstore's own."""
    found = re.search(r"HTTP error: [\w ]+", first_line(text))
    return found[0].removeprefix("HTTP error: ") if found else "no answer"
