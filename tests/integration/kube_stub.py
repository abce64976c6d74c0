"""As much of a Kubernetes API server as kubectl needs, over HTTP on loopback, by the shapes that the API reference and
SPDY/3.1 (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/) or WebSocket describe: discovery, get and list with selectors,
create, merge patches, delete, and exec, whose stream it can cut at any byte, with or without saying so."""
import base64
import hashlib
import http.server
import json
import os
import socket
import struct
import subprocess
import threading
import urllib.parse
import zlib

KINDS = {  # resource: (group/version, kind, has a namespace, short names)
    "pods": ("v1", "Pod", True, ["po"]), "services": ("v1", "Service", True, ["svc"]), "events": ("v1", "Event", True, ["ev"]),
    "nodes": ("v1", "Node", False, ["no"]), "namespaces": ("v1", "Namespace", False, ["ns"]),
    "replicasets": ("apps/v1", "ReplicaSet", True, ["rs"]), "deployments": ("apps/v1", "Deployment", True, ["deploy"]),
    "jobs": ("batch/v1", "Job", True, []), "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy", True, ["netpol"]),
}
GROUPS = ["apps/v1", "batch/v1", "networking.k8s.io/v1"]
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


def _dictionary():
    """SPDY/3, 2.6.10.1: names with their lengths, then text."""
    words = ("options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization "
             "cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range "
             "content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified "
             "location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding "
             "upgrade user-agent vary via warning www-authenticate method get status").split()
    words += ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
    text = (b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information"
            b"204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error"
            b"501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, "
            b"Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
            b"text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.")
    data = b"".join(struct.pack(">I", len(word)) + word.encode() for word in words) + text
    assert zlib.adler32(data) == 0xe3c6a7c2
    return data


class Spdy:
    """The server's end of one upgraded connection."""

    SYN_STREAM, SYN_REPLY, PING, GOAWAY = 1, 2, 6, 7

    def __init__(self, rfile, wfile):
        self.rfile, self.wfile = rfile, wfile
        self.lock = threading.Lock()
        self.inflate = zlib.decompressobj(zdict=_dictionary())
        self.deflate = zlib.compressobj(zdict=_dictionary())
        self.streams = {}  # streamtype to stream id
        self.gone = threading.Event()

    def control(self, kind, payload, flags=0):
        self.wfile.write(struct.pack(">HHI", 0x8003, kind, flags << 24 | len(payload)) + payload)
        self.wfile.flush()

    def data(self, stream, data, fin=False):
        with self.lock:
            self.wfile.write(struct.pack(">II", self.streams[stream], (1 if fin else 0) << 24 | len(data)) + data)
            self.wfile.flush()

    def accept(self, count):
        """Until the client has opened so many streams, each with its streamtype."""
        while len(self.streams) < count and self.one_frame():
            pass

    def one_frame(self):
        head = self.rfile.read(8)
        if len(head) < 8:
            return False
        first, second = struct.unpack(">II", head)
        payload = self.rfile.read(second & 0xffffff)
        kind = first & 0xffff
        if not first >> 31:
            return True  # data: standard input, which nobody reads
        if kind == self.SYN_STREAM:
            stream, = struct.unpack(">I", payload[:4])
            block = self.inflate.decompress(payload[10:])
            headers, at = {}, 4
            for _ in range(struct.unpack(">I", block[:4])[0]):
                pair = []
                for _ in range(2):
                    size, = struct.unpack(">I", block[at:at + 4])
                    pair.append(block[at + 4:at + 4 + size].decode())
                    at += 4 + size
                headers[pair[0].lower()] = pair[1]
            self.streams[headers["streamtype"]] = stream
            empty = self.deflate.compress(struct.pack(">I", 0)) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
            with self.lock:
                self.control(self.SYN_REPLY, struct.pack(">I", stream) + empty)
        elif kind == self.PING:
            with self.lock:
                self.control(self.PING, payload)
        return kind != self.GOAWAY

    def follow(self):
        try:
            while self.one_frame():
                pass
        except (OSError, ValueError):
            pass
        self.gone.set()


class WebSocket:
    """The same over v5.channel.k8s.io: RFC 6455, each message begins with the number of its stream."""

    CHANNELS = {"stdout": 1, "stderr": 2, "error": 3}
    BINARY, CLOSE, PING, PONG = 2, 8, 9, 10

    def __init__(self, rfile, wfile):
        self.rfile, self.wfile = rfile, wfile
        self.lock = threading.Lock()
        self.gone = threading.Event()

    def frame(self, kind, data):
        size = bytes([len(data)]) if len(data) < 126 else struct.pack(">BH", 126, len(data)) if len(data) < 1 << 16 else struct.pack(">BQ", 127, len(data))
        with self.lock:
            self.wfile.write(bytes([0x80 | kind]) + size + data)
            self.wfile.flush()

    def data(self, stream, data, fin=False):
        if data:
            self.frame(self.BINARY, bytes([self.CHANNELS[stream]]) + data)
        if stream == "error" and fin:
            self.frame(self.CLOSE, struct.pack(">H", 1000))

    def follow(self):
        try:
            while len(head := self.rfile.read(2)) == 2:
                size = head[1] & 127
                if size > 125:
                    size = int.from_bytes(self.rfile.read(2 if size == 126 else 8), "big")
                mask = self.rfile.read(4)
                data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(self.rfile.read(size)))
                if head[0] & 15 == self.CLOSE:
                    break
                if head[0] & 15 == self.PING:
                    self.frame(self.PONG, data)
        except (OSError, ValueError):
            pass
        self.gone.set()


def merge(old, patch):
    """RFC 7386; of a strategic merge patch all that labels, annotations and spec.unschedulable need."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, document, status=200):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, reason, message):
        self.send({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": status}, status)

    def discover(self, path):
        kube = self.server.kube
        if path == "/version":
            return self.send({"major": "1", "minor": kube.minor, "gitVersion": f"v1.{kube.minor}.0"})
        if path == "/api":
            return self.send({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        if path == "/apis":
            versions = [{"groupVersion": g, "version": g.split("/")[1]} for g in GROUPS]
            return self.send({"kind": "APIGroupList", "apiVersion": "v1",
                              "groups": [{"name": v["groupVersion"].split("/")[0], "versions": [v], "preferredVersion": v} for v in versions]})
        version = path.removeprefix("/apis/").removeprefix("/api/")
        found = [{"name": name, "singularName": kind.lower(), "namespaced": spaced, "kind": kind, "shortNames": short,
                  "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]}
                 for name, (group, kind, spaced, short) in KINDS.items() if group == version]
        if not found:
            return self.refuse(404, "NotFound", "the server could not find the requested resource")
        return self.send({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": found})

    def handle_one(self):
        kube = self.server.kube
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        words = url.path.strip("/").split("/")
        at = 2 if words[0] == "api" else 3
        if len(words) <= at or words[0] not in ("api", "apis"):
            return self.discover(url.path.rstrip("/"))
        ns = ""
        if words[at] == "namespaces" and len(words) > at + 2:
            ns, at = words[at + 1], at + 2
        resource, name, sub = (words[at:] + ["", ""])[:3]
        verb = {"GET": "get" if name else "list", "POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(self.command, "update")
        if sub == "exec":
            verb = "exec"
        if resource not in KINDS:
            return self.refuse(404, "NotFound", "the server could not find the requested resource")
        document = json.loads(body) if body and body[:1] == b"{" else None
        kube.requests.append((verb, resource, ns, name or (document or {}).get("metadata", {}).get("name", ""), document))
        if (verb, resource) in kube.forbidden:
            return self.refuse(403, "Forbidden", f'{resource} is forbidden: User "eve" cannot {verb} resource "{resource}" in API group "" in the namespace "{ns}"')
        if verb == "exec":
            return self.exec(ns, name, query)
        key = (resource, ns, name)
        if verb == "list":
            return self.send(kube.listed(resource, ns, query))
        if verb == "create":
            return self.create(resource, ns, document)
        if key not in kube.objects:
            return self.refuse(404, "NotFound", f'{resource} "{name}" not found')
        if verb == "patch":
            kube.objects[key] = merge(kube.objects[key], document)
        elif verb == "delete":
            return self.send(kube.objects.pop(key))
        elif verb == "get" and resource == "pods":
            kube.step(key)
        return self.send(kube.objects[key])

    def create(self, resource, ns, document):
        kube = self.server.kube
        name = document["metadata"]["name"]
        if ("namespaces", "", ns) not in kube.objects:
            return self.refuse(404, "NotFound", f'namespaces "{ns}" not found')
        if resource == "pods" and kube.pod_security:
            return self.refuse(403, "Forbidden", f'pods "{name}" is forbidden: violates PodSecurity "restricted:latest": privileged (container "ctriage" '
                                                 "must not set securityContext.privileged=true)")
        if resource == "pods":
            document["status"] = {"phase": "Pending"}
            kube.created.append(document)
        kube.objects[(resource, ns, name)] = document
        self.send(document, 201)

    def exec(self, ns, name, query):
        kube = self.server.kube
        if self.headers.get("Upgrade", "").lower() == "websocket" and V5 in self.headers.get("Sec-WebSocket-Protocol", ""):  # kubectl 1.31
            accept = hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            self.upgrade("websocket", ("Sec-WebSocket-Accept", base64.b64encode(accept).decode()), ("Sec-WebSocket-Protocol", V5))
            return self.stream(WebSocket(self.rfile, self.wfile), query)
        if self.headers.get("Upgrade", "").upper() != "SPDY/3.1":
            return self.refuse(400, "BadRequest", "unable to upgrade: neither SPDY/3.1 nor " + V5)
        if V4 not in ",".join(self.headers.get_all("X-Stream-Protocol-Version") or []):
            return self.refuse(400, "BadRequest", "no protocol in common")
        self.upgrade("SPDY/3.1", ("X-Stream-Protocol-Version", V4))
        spdy = Spdy(self.rfile, self.wfile)
        spdy.accept(len({"error"} | {s for s in ("stdin", "stdout", "stderr") if query.get(s) == ["true"]}))
        return self.stream(spdy, query)

    def upgrade(self, to, *headers):
        self.send_response(101)
        for header in (("Connection", "Upgrade"), ("Upgrade", to), *headers):
            self.send_header(*header)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True

    def stream(self, ends, query):
        kube = self.server.kube
        threading.Thread(target=ends.follow, daemon=True).start()
        try:
            kube.run(ends, query["command"])
        except OSError:
            pass  # the client has gone
        if not kube.hold:
            self.connection.settimeout(5)
            ends.gone.wait(5)
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = handle_one


class Kube:
    """`objects`: (resource, namespace, name) to the object; `requests`: what was asked, in order.
    What exec does: `play`, a recording (out, err, status), or the program itself with `targets`, pod:NS/NAME to what it is here."""

    def __init__(self, program):
        self.program = program
        self.objects, self.requests, self.created = {}, [], []
        self.forbidden = set()
        self.pod_security = False
        self.phases = ["Running"]  # of a pod that was made: one after the other, at each look
        self.minor = "20"
        self.targets, self.play = {}, None
        self.cut, self.cut_err = None, None  # after so many bytes of stdout, stderr nothing more comes
        self.honest = True  # whether the end of a cut stream is told as an error by exec
        self.drop = False  # the connection is cut there, instead of its streams ended
        self.hold = None  # an Event: nothing comes until it is set or the client goes; before it `cut` bytes of what is played
        self.status = None  # instead of the program's own
        self.commands = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.kube = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def config(self, path):
        with open(path, "w", encoding="ascii") as file:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "lab", "users": [{"name": "eve", "user": {}}],
                       "clusters": [{"name": "lab", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}],
                       "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "eve", "namespace": "shop"}}]}, file)
        return path

    def add(self, resource, ns, name, **parts):
        group, kind, _, _ = KINDS[resource]
        metadata = {"name": name, "uid": f"00000000-0000-4000-8000-{len(self.objects):012x}", **({"namespace": ns} if ns else {}), **parts.pop("metadata", {})}
        self.objects[(resource, ns, name)] = {"apiVersion": group, "kind": kind, "metadata": metadata, **parts}
        return self.objects[(resource, ns, name)]

    def listed(self, resource, ns, query):
        group, kind, _, _ = KINDS[resource]
        items = [o for (r, n, _), o in self.objects.items() if r == resource and ns in ("", n)]
        for pair in filter(None, ",".join(query.get("labelSelector", [])).split(",")):
            key, value = pair.split("=", 1)
            items = [o for o in items if o["metadata"].get("labels", {}).get(key) == value.lstrip("=")]
        for pair in filter(None, ",".join(query.get("fieldSelector", [])).split(",")):
            path, value = pair.split("=", 1)
            items = [o for o in items if self.field(o, path) == value]
        return {"kind": kind + "List", "apiVersion": group, "metadata": {"resourceVersion": "1"}, "items": items}

    @staticmethod
    def field(found, path):
        for word in path.split("."):
            found = found.get(word, {})
        return found

    def step(self, key):
        if any(made["metadata"]["name"] == key[2] for made in self.created):
            phase = self.phases.pop(0) if len(self.phases) > 1 else self.phases[0]
            status = {"phase": phase.split()[0]}
            if " " in phase:
                status["containerStatuses"] = [{"name": "ctriage", "state": {"waiting": {"reason": phase.split(" ", 1)[1]}}}]
            self.objects[key]["status"] = status

    def helpers(self):
        return [name for (resource, _, name) in self.objects if resource == "pods" and name.startswith("ctriage-")]

    def run(self, ends, command):
        self.commands.append(command)
        if self.hold:
            if self.play and self.cut:  # some of it first
                self.pass_on(ends, "stdout", iter([self.play[0]]), self.cut)
            while not self.hold.wait(0.05) and not ends.gone.is_set():
                pass
        if self.play:
            out, err, status = self.play
            # Both streams go on at once; what is told last on stderr comes after the last byte of stdout.
            self.pass_on(ends, "stdout", iter([out[i:i + 65536] for i in range(0, len(out), 65536)]), self.cut)
            self.pass_on(ends, "stderr", iter([err]), self.cut_err)
        else:
            words = [self.targets.get(word, word) for word in command[1:]]
            process = subprocess.Popen([self.program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            read = lambda pipe: iter(lambda: os.read(pipe.fileno(), 65536), b"")
            threads = [threading.Thread(target=self.pass_on, args=(ends, name, read(pipe), cut), daemon=True)
                       for name, pipe, cut in (("stdout", process.stdout, self.cut), ("stderr", process.stderr, self.cut_err))]
            for thread in threads:
                thread.start()
            while process.poll() is None:
                if ends.gone.wait(0.05):
                    process.terminate()
                    break
            for thread in threads:
                thread.join(10)
            status = process.wait()
            process.stdout.close()
            process.stderr.close()
        if ends.gone.is_set():
            return
        if self.status is not None:
            status = self.status
        was_cut = self.cut is not None or self.cut_err is not None
        if was_cut and self.drop:
            return
        for stream in ("stdout", "stderr"):
            ends.data(stream, b"", fin=True)
        said = {"metadata": {}, "status": "Success"}
        if was_cut and self.honest:
            said = {"metadata": {}, "status": "Failure", "reason": "InternalError", "message": "error executing command in container: stream cut"}
        elif status:
            said = {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": f"command terminated with non-zero exit code: {status}",
                    "details": {"causes": [{"reason": "ExitCode", "message": str(status)}]}}
        ends.data("error", json.dumps(said).encode(), fin=True)

    @staticmethod
    def pass_on(ends, stream, blocks, cut):
        sent = 0
        try:
            for block in blocks:
                if cut is not None:
                    block = block[:max(cut - sent, 0)]
                if block:
                    ends.data(stream, block)
                sent += len(block)
        except OSError:
            pass
