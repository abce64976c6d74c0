"""As much of S3 as a sender of objects needs, over TLS on loopback, which checks what real ones check: the signature (written
from AWS's description, with nothing of ours), the digest of the payload and its checksum, If-None-Match, the clock."""
import base64
import datetime
import hashlib
import hmac
import http.server
import os
import ssl
import threading
import urllib.parse

from servers import Server

ACCESS, SECRET, TOKEN, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token/with+signs=", "eu-test-1"


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, code="", headers=None, body=b""):
        if code:
            body = f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code} it is</Message></Error>".encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def wrong_signature(self, payload):
        """None, or the code of the error."""
        h = {k.lower(): v for k, v in self.headers.items()}
        try:
            fields = dict(part.strip().split("=", 1) for part in h["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(","))
            access, day, region, service, _ = fields["Credential"].split("/")
        except (KeyError, ValueError):
            return "AccessDenied"
        if access != ACCESS:
            return "InvalidAccessKeyId"
        when = datetime.datetime.strptime(h["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        if abs((datetime.datetime.now(datetime.timezone.utc) - when).total_seconds()) > self.server.skew:
            return "RequestTimeTooSkewed"
        names = fields["SignedHeaders"].split(";")
        if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names) or h.get("x-amz-security-token") != TOKEN:
            return "AccessDenied"
        path, _, query = self.path.partition("?")
        pairs = sorted((urllib.parse.quote(k, safe="-_.~"), urllib.parse.quote(v, safe="-_.~"))
                       for k, v in urllib.parse.parse_qsl(query, keep_blank_values=True))
        canonical = "\n".join([self.command, urllib.parse.quote(urllib.parse.unquote(path), safe="/-_.~"), "&".join(f"{k}={v}" for k, v in pairs),
                               *(f"{n}:{h[n].strip()}" for n in names), "", fields["SignedHeaders"], h["x-amz-content-sha256"]])
        scope = "/".join([day, region, service, "aws4_request"])
        to_sign = "\n".join(["AWS4-HMAC-SHA256", h["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + SECRET).encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac_sha256(key, part)
        if hmac_sha256(key, to_sign).hex() != fields["Signature"] or region != REGION:
            return "SignatureDoesNotMatch"
        if h["x-amz-content-sha256"] != hashlib.sha256(payload).hexdigest():
            return "XAmzContentSHA256Mismatch"
        return None

    def handle_one(self):
        payload = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = self.server
        server.requests += 1
        if server.faults:
            fault = server.faults.pop(0)
            if fault == "cut":
                self.close_connection = True
                return
            if fault is not None:
                self.answer(fault, "SlowDown", {"Retry-After": "1"})
                return
        wrong = self.wrong_signature(payload)
        if wrong:
            self.answer(403, wrong)
            return
        path = urllib.parse.unquote(self.path.partition("?")[0])
        if path != "/bucket" and not path.startswith("/bucket/"):
            self.answer(404, "NoSuchBucket")
            return
        if path == "/bucket":
            self.answer(200, body=b"<ListBucketResult/>")
            return
        file = os.path.join(server.inbox, path.removeprefix("/bucket/").replace("/", "%"))
        query = dict(urllib.parse.parse_qsl(self.path.partition("?")[2], keep_blank_values=True))
        if "uploads" in query or "uploadId" in query:
            self.handle_parts(query, file, payload)
        elif self.command == "PUT":
            if os.path.exists(file) and self.headers.get("If-None-Match") == "*":
                self.answer(412, "PreconditionFailed")
                return
            if self.headers.get("x-amz-checksum-sha256") != base64.b64encode(hashlib.sha256(payload).digest()).decode():
                self.answer(400, "BadDigest")
                return
            if server.quota is not None and len(payload) > server.quota:
                self.answer(507, "QuotaExceeded")
                return
            with open(file, "wb") as out:
                out.write(payload if not server.spoil else payload[:-1] + b"x")
            self.answer(200)
        elif not os.path.exists(file):
            self.answer(404, "NoSuchKey")
        else:
            with open(file, "rb") as stored:
                data = stored.read()
            if server.endless and self.command == "GET":
                self.send_response(200)
                self.end_headers()
                self.close_connection = True
                try:
                    while True:
                        self.wfile.write(data + bytes(1 << 20))
                except OSError:
                    return
            headers = {"Content-Length": str(len(data))}
            if self.headers.get("x-amz-checksum-mode") == "ENABLED":
                headers["x-amz-checksum-sha256"] = server.composites.get(file) or base64.b64encode(hashlib.sha256(data).digest()).decode()
            self.answer(200, headers=headers, body=data)

    def handle_parts(self, query, file, payload):
        """A multipart upload: parts below `file`.parts.ID until it is completed."""
        server = self.server
        if "uploads" in query:
            server.uploads += 1
            identity = f"upload+{server.uploads}/="
            server.parts[identity] = {}
            self.answer(200, body=f"<InitiateMultipartUploadResult><UploadId>{identity}</UploadId></InitiateMultipartUploadResult>".encode())
            return
        parts = server.parts.get(query["uploadId"])
        if parts is None:
            self.answer(404, "NoSuchUpload")
        elif self.command == "DELETE":
            del server.parts[query["uploadId"]]
            self.answer(204)
        elif self.command == "PUT":
            digest = hashlib.sha256(payload).digest()
            if self.headers.get("x-amz-checksum-sha256") != base64.b64encode(digest).decode():
                self.answer(400, "BadDigest")
                return
            parts[int(query["partNumber"])] = payload, digest
            server.parts_taken += 1
            self.answer(200, headers={"ETag": f'"{hashlib.md5(payload).hexdigest()}"'})
        else:
            expected = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>\"{hashlib.md5(data).hexdigest()}\"</ETag>"
                               f"<ChecksumSHA256>{base64.b64encode(digest).decode()}</ChecksumSHA256></Part>"
                               for number, (data, digest) in sorted(parts.items()))
            if expected not in payload.decode() or payload.decode().count("<Part>") != len(parts):
                self.answer(400, "InvalidPart")
                return
            if os.path.exists(file) and self.headers.get("If-None-Match") == "*":
                self.answer(412, "PreconditionFailed")
                return
            if server.late_errors:
                server.late_errors -= 1
                self.answer(200, body=b"<?xml version=\"1.0\"?>\n\n<Error><Code>InternalError</Code><Message>late</Message></Error>")
                return
            with open(file, "wb") as out:
                for _, (data, _) in sorted(parts.items()):
                    out.write(data)
            over = hashlib.sha256(b"".join(digest for _, (_, digest) in sorted(parts.items()))).digest()
            server.composites[file] = f"{base64.b64encode(over).decode()}-{len(parts)}"
            del server.parts[query["uploadId"]]
            self.answer(200, body=b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_one


class S3(Server):
    def __init__(self):
        super().__init__()
        key, self.ca = self.certificate()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.http.inbox, self.http.faults, self.http.quota, self.http.spoil, self.http.skew, self.http.requests = self.inbox, [], None, False, 900, 0
        self.http.uploads, self.http.parts, self.http.parts_taken, self.http.composites, self.http.late_errors = 0, {}, 0, {}, 0
        self.http.endless = False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def options(self, port=None):
        return ["--s3-endpoint", f"https://127.0.0.1:{port or self.port}", "--s3-region", REGION, "--ca", self.ca]

    @staticmethod
    def keys(secret=SECRET):
        return {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": TOKEN}

    def stop(self):
        self.http.shutdown()
        self.http.server_close()
        super().stop()
