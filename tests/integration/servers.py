"""Real servers on loopback that take evidence, each in a directory of its own, ended with the test; and a proxy that cuts,
stalls and counts what goes through it."""
import contextlib
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, log):
    for _ in range(300):
        if process.poll() is not None:
            raise AssertionError(f"the server ended: {open(log, errors='replace').read()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server does not listen")


class Server:
    """`inbox` is the directory that the folder of the URL is."""

    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="ctriage-server-", dir="/tmp")
        os.chmod(self.base, 0o755)
        self.port = free_port()
        self.log = os.path.join(self.base, "log")
        self.inbox = self.make("in")
        self.process = None

    def make(self, name):
        path = os.path.join(self.base, name)
        os.makedirs(path, exist_ok=True)
        return path

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.base, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def start(self, *command):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        wait_for_port(self.port, self.process, self.log)

    def small(self, size):
        """The inbox has that little room from now on."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "none", self.inbox], check=True)

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        subprocess.run(["umount", self.inbox], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.base, ignore_errors=True)

    def netrc(self, user, password):
        """The options for that login; a file for each password's length, so that a wrong one does not replace the right one."""
        return ["--netrc", self.write(f"netrc.{len(password)}", f"machine 127.0.0.1 login {user} password {password}\n")]

    def certificate(self):
        key, crt = os.path.join(self.base, "key.pem"), os.path.join(self.base, "crt.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key,
                        "-out", crt], check=True, stderr=subprocess.DEVNULL)
        return key, crt


class Sshd(Server):
    """OpenSSH's server, for root by key."""

    def __init__(self):
        super().__init__()
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(self.base, name)], check=True)
        shutil.copy(os.path.join(self.base, "user.pub"), os.path.join(self.base, "authorized"))
        os.makedirs("/run/sshd", exist_ok=True)
        config = self.write("config", f"""
ListenAddress 127.0.0.1:{self.port}
HostKey {self.base}/host
AuthorizedKeysFile {self.base}/authorized
PidFile {self.base}/pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
Subsystem sftp internal-sftp
""")
        self.known_hosts = self.known(self.port)
        self.start("/usr/sbin/sshd", "-D", "-e", "-f", config)

    def known(self, port):
        with open(os.path.join(self.base, "host.pub"), encoding="ascii") as file:
            key = " ".join(file.read().split()[:2])
        return self.write(f"known_hosts.{port}", f"[127.0.0.1]:{port} {key}\n")

    def fingerprint(self):
        shown = subprocess.run(["ssh-keygen", "-lf", os.path.join(self.base, "host.pub")], check=True, capture_output=True, text=True)
        return shown.stdout.split()[1]

    def url(self, scheme="sftp", port=None):
        return f"{scheme}://root@127.0.0.1:{port or self.port}{self.inbox}"

    def login(self, name="user"):
        return ["--identity", os.path.join(self.base, name)]


class Vsftpd(Server):
    """vsftpd for anonymous, which may write below /in. `tls`: None, "explicit" or "implicit"."""

    def __init__(self, tls=None):
        super().__init__()
        self.tls = tls
        os.chmod(self.inbox, 0o777)
        first = free_port()
        lines = f"""
listen=YES
listen_address=127.0.0.1
listen_port={self.port}
background=NO
anonymous_enable=YES
local_enable=NO
anon_root={self.base}
ftp_username=daemon
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
seccomp_sandbox=NO
pasv_min_port={first}
pasv_max_port={first + 40}
secure_chroot_dir={self.make("empty")}
xferlog_enable=NO
"""
        if tls:
            key, self.ca = self.certificate()
            lines += f"ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\nrsa_cert_file={self.ca}\n"
            lines += f"rsa_private_key_file={key}\nssl_tlsv1=YES\n" + ("implicit_ssl=YES\n" if tls == "implicit" else "")
        self.start("/usr/sbin/vsftpd", self.write("vsftpd.conf", lines))

    def url(self, port=None):
        scheme = {None: "ftp", "explicit": "ftpes", "implicit": "ftps"}[self.tls]
        return f"{scheme}://127.0.0.1:{port or self.port}/in"

    def login(self, user="anonymous"):
        return self.netrc(user, "ctriage@") + (["--ca", self.ca] if self.tls else [])


class Proftpd(Server):
    """ProFTPD, which computes digests (HASH), for user ir by password; unpacked, since vsftpd is installed."""

    HERE = os.path.join(os.path.dirname(__file__), "../../build/proftpd-core")
    PROGRAM = HERE + "/usr/sbin/proftpd"

    def __init__(self):
        super().__init__()
        os.chmod(self.inbox, 0o777)
        secret = subprocess.run(["openssl", "passwd", "-5", "hunter2"], check=True, capture_output=True, text=True).stdout.strip()
        users = self.write("users", f"ir:{secret}:1:1::{self.base}:/bin/sh\n")
        config = self.write("proftpd.conf", f"""
ServerType standalone
DefaultAddress 127.0.0.1
Port {self.port}
SocketBindTight on
UseIPv6 off
UseReverseDNS off
ModulePath {self.HERE}/usr/lib/proftpd
LoadModule mod_digest.c
DigestEngine on
DelayEngine off
AuthOrder mod_auth_file.c
AuthUserFile {users}
RequireValidShell off
DefaultRoot {self.base}
User daemon
Group daemon
PidFile {self.base}/pid
ScoreboardFile {self.base}/scoreboard
SystemLog {self.base}/system.log
WtmpLog off
TransferLog none
AllowOverwrite on
AllowStoreRestart on
""")
        self.start(self.PROGRAM, "--nodaemon", "--config", config)

    def url(self, port=None):
        return f"ftp://127.0.0.1:{port or self.port}/in"

    def login(self, password="hunter2"):
        return [*self.netrc("ir", password), "--allow-plaintext"]


class Nginx(Server):
    """nginx with WebDAV over TLS. `move`: it knows MOVE."""

    def __init__(self, move=True):
        super().__init__()
        key, self.ca = self.certificate()
        secret = subprocess.run(["openssl", "passwd", "-apr1", "hunter2"], check=True, capture_output=True, text=True).stdout.strip()
        users = self.write("users", f"ir:{secret}\n", 0o644)
        self.make("tmp")
        config = self.write("nginx.conf", f"""
daemon off; master_process off; user root; pid {self.base}/pid; error_log {self.log};
events {{}}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {self.inbox}/.tmp; proxy_temp_path {self.base}/tmp;
  fastcgi_temp_path {self.base}/tmp; uwsgi_temp_path {self.base}/tmp; scgi_temp_path {self.base}/tmp;
  server {{
    listen 127.0.0.1:{self.port} ssl; ssl_certificate {self.ca}; ssl_certificate_key {key};
    root {self.base}; auth_basic ir; auth_basic_user_file {users};
    location /in {{ dav_methods PUT DELETE{" MOVE" if move else ""}; }}
  }}
}}
""")
        self.start("/usr/sbin/nginx", "-c", config, "-e", self.log)

    def small(self, size):
        super().small(size)
        os.mkdir(self.inbox + "/.tmp", 0o777)

    def url(self, port=None):
        return f"https://127.0.0.1:{port or self.port}/in"

    def login(self, password="hunter2"):
        return [*self.netrc("ir", password), "--ca", self.ca]


class Dripping(Server):
    """Takes all that is put, over TLS, and never comes to the end of its answer: a byte now and then."""

    def __init__(self):
        super().__init__()
        key, self.ca = self.certificate()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_error(404)

            def do_PUT(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(201)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(b"x")
                        time.sleep(0.4)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        super().stop()

    def url(self):
        return f"https://127.0.0.1:{self.port}/in"


class Rsyncd(Server):
    """rsync's daemon, for user ir by password."""

    def __init__(self):
        super().__init__()
        secrets = self.write("secrets", "ir:hunter2\n")
        config = self.write("rsyncd.conf", f"""
address = 127.0.0.1
port = {self.port}
use chroot = no
pid file = {self.base}/pid
[vault]
path = {self.base}
read only = no
auth users = ir
secrets file = {secrets}
uid = root
gid = root
""")
        self.start("/usr/bin/rsync", "--daemon", "--no-detach", "--config=" + config, "--log-file=" + self.log)

    def url(self, port=None):
        return f"rsync://127.0.0.1:{port or self.port}/vault/in"

    def login(self, password="hunter2"):
        return self.netrc("ir", password)


class Samba(Server):
    """smbd, for root by password. `encrypt`: what it says to encryption, smb.conf(5)."""

    def __init__(self, encrypt="desired"):
        super().__init__()
        os.chmod(self.inbox, 0o777)
        for name in ("private", "run", "state", "cache", "lock"):
            self.make(name)
        config = self.write("smb.conf", f"""
[global]
server role = standalone server
smb ports = {self.port}
interfaces = 127.0.0.1
bind interfaces only = yes
private dir = {self.base}/private
pid directory = {self.base}/run
lock directory = {self.base}/lock
state directory = {self.base}/state
cache directory = {self.base}/cache
ncalrpc dir = {self.base}/run/ncalrpc
log file = {self.log}
map to guest = never
server smb encrypt = {encrypt}
disable spoolss = yes
load printers = no
[vault]
path = {self.base}
read only = no
""")
        subprocess.run(["smbpasswd", "-c", config, "-a", "-s", "root"], input="hunter2\nhunter2\n", text=True, check=True,
                       stdout=subprocess.DEVNULL)
        self.start("/usr/sbin/smbd", "--configfile=" + config, "--foreground", "--no-process-group", "--debug-stdout")

    def url(self, port=None):
        return f"smb://127.0.0.1:{port or self.port}/vault/in"

    def login(self, password="hunter2"):
        return self.netrc("root", password)


class Proxy:
    """Hands on what comes to a server. After `cut_after` bytes to it the connection is cut, the first `times`; with `stall` it is
    kept, and nothing passes any more."""

    def __init__(self, port, cut_after=None, times=1, stall=False):
        self.target, self.cut_after, self.times, self.stall = port, cut_after, times, stall
        self.connections = 0
        self.cuts = 0
        self.sent = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self.pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, False), daemon=True).start()

    def pump(self, source, sink, counted):
        passed = 0
        try:
            while data := source.recv(65536):
                if counted and self.cut_after is not None and passed + len(data) > self.cut_after and self.cuts < self.times:
                    sink.sendall(data[:self.cut_after - passed])
                    self.cuts += 1
                    if self.stall:
                        time.sleep(600)
                    break
                sink.sendall(data)
                passed += len(data)
                if counted:
                    self.sent += len(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def stop(self):
        self.open = False
        self.listener.close()
