"""Certificates for one test, made with the openssl command."""

import subprocess

OPENSSL_TIMEOUT_S = 60


class Authority:
    """An authority with its files in a directory; `path` is its own certificate."""

    def __init__(self, directory):
        self._directory = directory
        self.path = self.certificate("authority")
        subject = ["-subj", "/O=Example/CN=authority"]
        self._openssl("req", "-x509", "-days", "1", *subject, *self._new_key("authority"), "-out", self.path)

    def certify(self, name, host=None):
        """Make the certificate and key of `name`; with a host it is a server's."""
        request = self._directory / f"{name}.csr"
        extensions = self._directory / f"{name}.ext"
        purpose = "serverAuth" if host else "clientAuth"
        names = f"subjectAltName = DNS:{host}\n" if host else ""
        extensions.write_text(f"extendedKeyUsage = {purpose}\n{names}")
        self._openssl("req", "-new", "-subj", f"/O=Example/CN={name}", *self._new_key(name), "-out", request)
        issuer = ["-CA", self.path, "-CAkey", self.key("authority"), "-CAcreateserial"]
        made = ["-in", request, "-extfile", extensions, "-out", self.certificate(name)]
        self._openssl("x509", "-req", "-days", "1", *issuer, *made)

    def certificate(self, name):
        """The file of a certificate."""
        return self._directory / f"{name}.pem"

    def key(self, name):
        """The file of a private key."""
        return self._directory / f"{name}.key"

    def _new_key(self, name):
        return ["-newkey", "rsa:2048", "-nodes", "-keyout", self.key(name)]

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=OPENSSL_TIMEOUT_S)
