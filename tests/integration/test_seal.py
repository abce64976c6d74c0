"""Bundles that are signed and encrypted, opened and checked by age, ssh-keygen, tar and sha256sum; and damaged ones."""
import json
import os
import random
import signal
import socket
import struct
import subprocess
import tarfile
import threading

import lab
from lab import Box, Case, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "age", "age-keygen", "ssh-keygen", "ssh-agent", "ssh-add", "tar", "sha256sum")


def shell(command, **options):
    return subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options).stdout.decode()


class SilentAgent:
    """An ssh-agent that has a key and hangs up when it is to sign."""

    def __init__(self, path, public_key):
        import base64
        blob = base64.b64decode(public_key.split()[1])
        string = lambda data: struct.pack(">I", len(data)) + data
        self.answer = string(b"\x0c" + struct.pack(">I", 1) + string(blob) + string(b"key"))
        self.asked = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                while request := connection.recv(65536):
                    if request[4] != 11:
                        self.asked += 1
                        break
                    connection.sendall(self.answer)

    def stop(self):
        self.listener.close()


class Seal(Case):
    @classmethod
    def setUpClass(cls):
        cls.box = Box(lab.intrusion() + "while :; do sleep 1000; done", wait_for="intrusion played",
                      files={"/opt/implant": lab.build_implant(lab.BUILD_DIR)})
        cls.addClassCleanup(cls.box.stop)
        with open(cls.box.root + "/large", "wb") as file:  # several chunks of each kind
            file.write(os.urandom(9 << 20))
        cls.keys = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(lab.shutil.rmtree, cls.keys)
        for name in ("one", "two"):
            shell(f"age-keygen -o {cls.keys}/{name} && age-keygen -y {cls.keys}/{name} >{cls.keys}/{name}.pub")
        shell(f"cat {cls.keys}/one.pub {cls.keys}/two.pub >{cls.keys}/recipients")
        for name, kind in (("ed25519", "-t ed25519"), ("p384", "-t ecdsa -b 384"), ("rsa", "-t rsa -b 2048")):
            shell(f"ssh-keygen -q {kind} -N '' -C {name}@lab -f {cls.keys}/{name} && "
                  f"echo \"{name}@lab namespaces=\\\"ctriage-manifest\\\" $(cat {cls.keys}/{name}.pub)\" >{cls.keys}/{name}.allowed")
        cls.one = shell(f"cat {cls.keys}/one.pub").strip()

    def key(self, name):
        return os.path.join(self.keys, name)

    def fingerprint(self, name):
        return shell(f"ssh-keygen -l -f {self.key(name)}.pub").split()[1]

    def collect(self, *options, status=0, **more):
        out = self.temp()
        run = self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", out, *options, **more), status)
        return out, run

    def no_secret(self, run):
        secret = open(self.key("one"), encoding="ascii").read().split()[-1].encode()
        private = open(self.key("ed25519"), encoding="ascii").read().splitlines()[2].encode()
        for text in (run.out, run.err):
            self.assertNotIn(secret, text)
            self.assertNotIn(private, text)

    def test_signed_and_encrypted(self):
        out, run = self.collect("--sign", self.key("ed25519"), "--encrypt-to", self.one)
        path = self.one_bundle(out, ".ctriage.tar.age")
        fingerprint = self.fingerprint("ed25519").encode()
        self.assertIn(b"encrypted to 1 recipient", run.out)
        self.assertNotIn(b"NOT ENCRYPTED", run.out)
        self.assertIn(b"signed    by " + fingerprint, run.out)
        self.no_secret(run)
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o600)

        # As nobody who has no key, and what to type is said.
        closed = self.expect(ctriage("verify", path), 1)
        self.assertIn(b"encrypted to 1 recipient", closed.err)
        self.assertIn(b"ctriage verify --identity KEYFILE " + path.encode(), closed.err)
        self.expect(ctriage("verify", "--identity", self.key("two"), path), 1)
        for view in ("show", "drift", "diff"):
            told = self.expect(ctriage(view, path), 1)
            self.assertIn(b"age -d -i KEYFILE -o " + path[:-4].encode() + b" " + path.encode(), told.err)
        listed = self.expect(ctriage("list", out), 0, 1, 3)
        self.assertIn(b"encrypted", listed.out + listed.err)

        good = ["--identity", self.key("one"), "--signers", self.key("ed25519.allowed")]
        whole = self.expect(ctriage("verify", *good, path), 0)
        self.assertIn(b"ed25519@lab", whole.out)
        self.no_secret(whole)
        document = self.expect(ctriage("verify", "--json", *good, path), 0).json()
        self.assertEqual((document["verdict"], document["signed_by"], document["signer"], document["encrypted"]),
                         ("whole", fingerprint.decode(), "ed25519@lab", True))
        unknown = self.expect(ctriage("verify", "--identity", self.key("one"), path), 0)
        self.assertIn(fingerprint + b", nobody said whether to trust it", unknown.out)
        wrong = self.expect(ctriage("verify", "--identity", self.key("one"), "--signers", self.key("p384.allowed"), path), 1)
        self.assertIn(b"none of the 1 allowed signers", wrong.out)
        with open(path, "rb") as file:
            piped = subprocess.run([lab.binary(), "verify", *good, "-"], stdin=file, capture_output=True, check=False)
        self.assertEqual(piped.returncode, 0, piped.stderr)

        # With stock tools only.
        where = self.temp()
        shell(f"age -d -i {self.key('one')} -o {where}/b.ctriage.tar {path} && mkdir {where}/b && tar xf {where}/b.ctriage.tar -C {where}/b && "
              f"cd {where}/b && sha256sum -c --quiet SHA256SUMS manifest.json.sha256 && "
              f"ssh-keygen -Y verify -f {self.key('ed25519.allowed')} -I ed25519@lab -n ctriage-manifest -s manifest.json.sig <manifest.json")
        self.expect(ctriage("verify", "--signers", self.key("ed25519.allowed"), f"{where}/b.ctriage.tar"), 0)
        self.expect(ctriage("show", f"{where}/b.ctriage.tar"), 0)
        with tarfile.open(f"{where}/b.ctriage.tar") as tar:
            names = tar.getnames()
            first = json.loads(tar.extractfile(next(n for n in names if n.startswith("custody.jsonl"))).readline())
        self.assertEqual(names[-4:], ["SHA256SUMS", "manifest.json", "manifest.json.sig", "manifest.json.sha256"])
        self.assertEqual((first["encrypted_to"], first["signing_key"]), (self.one, fingerprint.decode()))

    def test_damaged(self):
        out, _ = self.collect("--sign", self.key("p384"), "--encrypt-to", self.one)
        path = self.one_bundle(out, ".ctriage.tar.age")
        with open(path, "rb") as file:
            data = file.read()
        damaged = os.path.join(self.temp(), "d.age")

        def verify(changed, *statuses, options=()):
            with open(damaged, "wb") as file:
                file.write(changed)
            return self.expect(ctriage("verify", "--identity", self.key("one"), *options, damaged), *statuses)

        verify(data, 0)
        chosen = random.Random(3)
        for place in [0, 30, 100, 250, *(chosen.randrange(300, len(data) - 65600) for _ in range(12))]:
            changed = bytearray(data)
            changed[place] ^= 1 << chosen.randrange(8)
            self.assertTrue(verify(changed, 1).err or True)
        # The last chunk is short: a change in it cannot be told from a cut, and is no whole bundle.
        changed = bytearray(data)
        changed[-20] ^= 1
        verify(changed, 3)
        for part in (0.3, 0.6, 0.95):
            run = verify(data[:int(len(data) * part)], 3, options=("--salvage",))
            self.assertIn(b"bundle.json", run.out)
        verify(data + b"x", 1, 3)
        step = 65536 + 16
        header = data.index(b"\n--- ") + 1
        header = data.index(b"\n", header) + 1 + 16
        first, second = data[header:header + step], data[header + step:header + 2 * step]
        verify(data[:header] + second + first + data[header + 2 * step:], 1)
        verify(data[:header] + first + data[header + 2 * step:], 1)

    def test_where_recipients_come_from(self):
        out, run = self.collect("--encrypt-to", self.key("recipients"), "--json")
        self.assertEqual(len(run.json()["encrypted_to"]), 2)
        path = self.one_bundle(out, ".ctriage.tar.age")
        for name in ("one", "two"):
            self.expect(ctriage("verify", "--identity", self.key(name), path), 0)
        environment = {"CTRIAGE_RECIPIENTS": f"{self.key('one.pub')} {self.one}"}
        out, run = self.collect(env=environment)
        self.assertIn(b"encrypted to 1 recipient (CTRIAGE_RECIPIENTS)", run.out)
        self.one_bundle(out, ".ctriage.tar.age")
        out, run = self.collect("--no-encrypt", env=environment)
        self.assertIn(b"NOT ENCRYPTED (--no-encrypt, though CTRIAGE_RECIPIENTS has 1 recipient)", run.out)
        self.one_bundle(out)
        self.collect("--no-encrypt", "--encrypt-to", self.one, status=2)
        # What cannot be used is never passed over.
        for options, environment in ((("--encrypt-to", self.one[:-1] + "q"), {}), (("--encrypt-to", "/nowhere"), {}),
                                     (("--encrypt-to", self.key("one")), {}), ((), {"CTRIAGE_RECIPIENTS": "age1nonsense"})):
            out, run = self.collect(*options, status=1, env=environment)
            self.assertEqual(os.listdir(out), [])
            self.no_secret(run)

    def test_keys_that_cannot_sign(self):
        readable = os.path.join(self.temp(), "key")
        lab.shutil.copy(self.key("ed25519"), readable)
        os.chmod(readable, 0o644)
        for choice, says in ((readable, b"others may read"), (self.key("rsa"), b"agent"), ("agent", b"SSH_AUTH_SOCK"),
                             (self.key("ed25519.pub"), b"private"), ("/nowhere", b"No such file")):
            out, run = self.collect("--sign", choice, status=1, env={"SSH_AUTH_SOCK": ""})
            self.assertIn(says, run.err)
            self.assertEqual(os.listdir(out), [])

    def test_agent(self):
        where = self.temp()
        environment = shell(f"ssh-agent -a {where}/agent")
        pid = int(environment.split("SSH_AGENT_PID=")[1].split(";")[0])
        self.addCleanup(os.kill, pid, signal.SIGTERM)
        socket_path = {"SSH_AUTH_SOCK": f"{where}/agent"}
        shell(f"ssh-add -q {self.key('rsa')} {self.key('p384')}", env={**os.environ, **socket_path})
        out, run = self.collect("--sign", "agent", status=1, env=socket_path)
        self.assertIn(b"which key?", run.err)
        for choice, name in (("agent:rsa@lab", "rsa"), ("agent:" + self.fingerprint("p384"), "p384")):
            out, run = self.collect("--sign", choice, env=socket_path)
            self.assertIn(self.fingerprint(name).encode(), run.out)
            self.expect(ctriage("verify", "--signers", self.key(name + ".allowed"), self.one_bundle(out)), 0)

    def test_agent_that_goes_away(self):
        where = self.temp()
        agent = SilentAgent(f"{where}/agent", shell(f"cat {self.key('ed25519')}.pub"))
        self.addCleanup(agent.stop)
        out, run = self.collect("--sign", "agent", status=3, env={"SSH_AUTH_SOCK": f"{where}/agent"})
        self.assertEqual(agent.asked, 1)
        self.assertIn(b"NOT SIGNED", run.out)
        self.assertNotIn(b"signed    by", run.out)
        path = self.one_bundle(out)
        self.expect(ctriage("verify", path), 0)
        self.expect(ctriage("verify", "--signers", self.key("ed25519.allowed"), path), 1)

    def test_pipe_and_several(self):
        run = self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", "-", "--encrypt-to", self.one, "--sign", self.key("ed25519")), 0)
        path = os.path.join(self.temp(), "piped.age")
        with open(path, "wb") as file:
            file.write(run.out)
        good = ["--identity", self.key("one"), "--signers", self.key("ed25519.allowed")]
        self.expect(ctriage("verify", *good, path), 0)
        with Box("while :; do sleep 1000; done") as other:
            out = self.temp()
            run = self.expect(ctriage("collect", f"pid:{self.box.pid}", f"pid:{other.pid}", "-o", out, "--encrypt-to", self.one,
                                      "--sign", self.key("ed25519")), 0)
            self.assertNotIn(b"NOT ENCRYPTED", run.out)
            paths = [os.path.join(out, name) for name in os.listdir(out)]
            self.assertEqual(len(paths), 2)
            for path in paths:
                self.assertTrue(path.endswith(".ctriage.tar.age"))
                self.expect(ctriage("verify", *good, path), 0)
            self.expect(ctriage("collect", f"pid:{self.box.pid}", f"pid:{other.pid}", "-o", out, "--sign", "/nowhere"), 1)
