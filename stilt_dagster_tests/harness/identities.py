"""What gives a machine its identity in a cloud, on loopback: AWS's STS, container and instance metadata; Azure's too.

AWS's credentials are moto's, which holds requests to the policies of their role; Azure's are tokens as Azurite reads
them. How long either holds, and what is refused, tests decide.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import ssl
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from stilt_dagster_tests.harness.pki import Authority
from stilt_dagster_tests.harness.s3 import S3Server

ROLE = "stilt-run"
ROLE_ARN = f"arn:aws:iam::123456789012:role/{ROLE}"
CLIENT_ID, TENANT_ID = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"


@dataclass
class Identities:
    """Servers that hand out identities.

    Parameters
    ----------
    directory : Path
        Where the authority's files are made; ``ca.crt`` is what clients are to trust.
    s3 : S3Server, optional
        Whose roles and credentials these are.

    Attributes
    ----------
    url : str
        Speaks https://, as STS and Microsoft Entra do.
    metadata : str
        Speaks http://, as a machine's own metadata do.
    asked : list of dict
        What was asked for: the path, and what came with it.
    lasts : float
        Seconds that what is handed out is good for.
    refuse : tuple of int and str, optional
        Status and body that all requests are answered with.
    checked : bool
        Whether S3 holds requests to signatures and rights.
    """

    directory: Path
    s3: S3Server | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    lasts: float = 3600
    refuse: tuple[int, str] | None = None
    checked: bool = False

    def __post_init__(self) -> None:
        self._asking = threading.Lock()
        self.authority = Authority(self.directory)
        self.certificate = self.authority.issue("server", "server")
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) for _ in range(2)]
        ports = [server.server_address[1] for server in self._servers]
        self.url, self.metadata = f"https://localhost:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        self._servers[0].socket = context.wrap_socket(
            self._servers[0].socket, server_side=True, do_handshake_on_connect=False
        )

    def __enter__(self) -> Identities:
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    # -- AWS -----------------------------------------------------------------------------------------------------------

    def allow(self, policy: dict) -> None:
        """Have the role be allowed what a policy says, and nothing else; requests are held to that from now on."""
        if not self.checked:
            trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:*"}]}
            self._moto("iam", Action="CreateRole", RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(trust))
        self.checked = True
        self._moto("iam", Action="PutRolePolicy", RoleName=ROLE, PolicyName="store", PolicyDocument=json.dumps(policy))

    def _aws_credentials(self, token: str) -> dict[str, str]:
        """Return credentials of the role."""
        said = {"Version": "2011-06-15", "RoleArn": ROLE_ARN, "RoleSessionName": "session", "WebIdentityToken": token}
        answer = self._moto("sts", Action="AssumeRoleWithWebIdentity", **said)
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        made = {name: re.findall(f"<{name}>([^<]*)</{name}>", answer)[0] for name in names}
        ends = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.lasts)
        return {**made, "Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}

    def _moto(self, service: str, **said: str) -> str:
        """Ask a service of moto's beside its S3, as nobody, and return the answer."""
        headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential=any/20230101/us-east-1/{service}/aws4_request"}
        with self._asking:
            self._check_rights(False)
            try:
                return self._post("/", urlencode(said).encode(), headers)
            finally:
                self._check_rights(self.checked)

    def _check_rights(self, check: bool) -> None:
        # Of any other content, the server takes it for a form.
        self._post("/moto-api/reset-auth", b"0" if check else b"inf", {"Content-Type": "application/octet-stream"})

    def _post(self, path: str, data: bytes, headers: dict[str, str]) -> str:
        assert self.s3 is not None
        with urllib.request.urlopen(urllib.request.Request(self.s3.url + path, data, headers), timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def _sts(self, asked: dict[str, str]) -> tuple[int, str]:
        made = self._aws_credentials(asked["WebIdentityToken"])
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in made.items())
        name = "AssumeRoleWithWebIdentity"
        return 200, f"<{name}Response><{name}Result><Credentials>{inner}</Credentials></{name}Result></{name}Response>"

    def _aws_metadata(self) -> tuple[int, str]:
        made = self._aws_credentials("none")
        made["Token"] = made.pop("SessionToken")
        return 200, json.dumps({"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2023-01-01T00:00:00Z", **made})

    # -- Azure ---------------------------------------------------------------------------------------------------------

    def _azure_token(self) -> tuple[int, str]:
        now = int(time.time())
        said = {
            "aud": "https://storage.azure.com",
            "iss": f"https://sts.windows.net/{TENANT_ID}/",
            "nbf": now - 60,
            "iat": now - 60,
            "exp": now + 3600,
        }
        parts = ({"alg": "RS256", "typ": "JWT"}, said)
        token = ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts)
        lasts = int(self.lasts)
        made = {"access_token": f"{token}.c2lnbmVk", "token_type": "Bearer", "expires_in": lasts}
        return 200, json.dumps({**made, "expires_on": str(now + lasts)})

    # -- both ----------------------------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, said: dict[str, str]) -> tuple[int, str]:
        if self.refuse is not None:
            return self.refuse
        if said.get("Action") == "AssumeRoleWithWebIdentity":
            return self._sts(said)
        if method == "PUT" and path == "/latest/api/token":
            return 200, "session-of-the-instance"
        if path == "/latest/meta-data/iam/security-credentials/":
            return 200, ROLE
        if path in (f"/latest/meta-data/iam/security-credentials/{ROLE}", "/v1/credentials"):
            return self._aws_metadata()
        if path in (f"/{TENANT_ID}/oauth2/v2.0/token", "/metadata/identity/oauth2/token"):
            return self._azure_token()
        return 404, ""

    def _handler(identities) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def handle_one(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                said = dict(parse_qsl(url.query) + parse_qsl(body))
                kept = ("authorization", "metadata", "x-aws-ec2-metadata-token")
                headers = {name.lower(): value for name, value in self.headers.items() if name.lower() in kept}
                identities.asked.append({"path": url.path, **said, **headers})
                status, text = identities._answer(self.command, url.path, said)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = handle_one  # noqa: N815

        return Handler
