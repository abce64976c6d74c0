"""The bundle leaves the node while it is taken: `collect --to` real servers, and `-o - --ack` into `receive`."""
import glob
import os
import subprocess

import lab
from lab import Box, Case, ctriage
from servers import Nginx, Proxy, Samba, Sshd


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("sshd", "nginx", "ssh-keygen", "openssl", "sha256sum", "age", "age-keygen", "rsync", "ssh", "smbd", "smbclient")


class Streaming(Case):
    @classmethod
    def setUpClass(cls):
        cls.box = Box("while :; do sleep 1000; done")
        cls.addClassCleanup(cls.box.stop)
        with open(cls.box.root + "/large", "wb") as file:
            file.write(os.urandom(30 << 20))

    def server(self, kind):
        server = kind()
        self.addCleanup(server.stop)
        return server

    def collect(self, *words, timeout=200):
        here = self.temp()
        run = ctriage("collect", f"pid:{self.box.pid}", "--skip", "node", *words, timeout=timeout, cwd=here)
        self.assertEqual(os.listdir(here), [])
        return run

    def joined(self, inbox, encrypted=False):
        """The bundle's path, made of what lies at the destination alone."""
        complete = glob.glob(inbox + "/*.COMPLETE")
        self.assertEqual(len(complete), 1, os.listdir(inbox))
        check = subprocess.run(["sha256sum", "--strict", "-c", complete[0]], cwd=inbox, check=False, capture_output=True, text=True)
        self.assertEqual(check.returncode, 0, check.stdout + check.stderr)
        self.assertEqual(glob.glob(inbox + "/*.part"), [])
        name = os.path.basename(complete[0]).removesuffix(".COMPLETE") + ".ctriage.tar" + (".age" if encrypted else "")
        path = os.path.join(self.temp(), name)
        with open(path, "wb") as out:
            for volume in sorted(glob.glob(os.path.join(inbox, name) + "*")):
                with open(volume, "rb") as file:
                    out.write(file.read())
        return path

    def assert_whole(self, path, inbox):
        run = ctriage("verify", path, "--json")
        self.expect(run, 0)
        with open(glob.glob(inbox + "/*.manifest.sha256")[0], encoding="ascii") as file:
            self.assertEqual(file.read().split()[0], run.json()["manifest_sha256"])

    def test_two_places_at_once(self):
        sshd, nginx = self.server(Sshd), self.server(Nginx)
        run = self.collect("--to", sshd.url(), "--to", nginx.url(), *sshd.login(), "--known-hosts", sshd.known_hosts, *nginx.login(), "--json")
        self.expect(run, 0)
        told = run.json()
        self.assertEqual([(d["complete"], d["proof"]) for d in told["destinations"]], [(True, "size")] * 2)
        for server in (sshd, nginx):
            path = self.joined(server.inbox)
            self.assertEqual(os.path.getsize(path), told["size_bytes"])
            self.assert_whole(path, server.inbox)
        self.assertGreaterEqual(told["destinations"][0]["volumes"], 4)

    def test_by_programs_of_the_node(self):
        sshd, samba = self.server(Sshd), self.server(Samba)
        run = self.collect("--to", sshd.url("rsync+ssh"), "--to", samba.url(), *sshd.login(), "--known-hosts", sshd.known_hosts, *samba.login(), "--json")
        self.expect(run, 0)
        told = run.json()
        self.assertEqual([(d["complete"], d["proof"]) for d in told["destinations"]], [(True, "size")] * 2)
        self.assertEqual([[os.path.basename(used["path"]) for used in d["programs"]] for d in told["destinations"]], [["rsync", "ssh"], ["smbclient"]])
        for server in (sshd, samba):
            path = self.joined(server.inbox)
            self.assertEqual(os.path.getsize(path), told["size_bytes"])
            self.assert_whole(path, server.inbox)

    def test_encrypted(self):
        sshd = self.server(Sshd)
        key, recipient = lab.age_key(self.temp())
        run = self.collect("--to", sshd.url(), *sshd.login(), "--known-hosts", sshd.known_hosts, "--encrypt-to", recipient)
        self.expect(run, 0)
        sealed = self.joined(sshd.inbox, encrypted=True)
        subprocess.run(["age", "-d", "-i", key, "-o", sealed.removesuffix(".age"), sealed], check=True)
        self.assert_whole(sealed.removesuffix(".age"), sshd.inbox)

    def test_a_bad_login_is_known_before_anything_is_taken(self):
        sshd = self.server(Sshd)
        run = self.collect("--to", sshd.url(), *sshd.login("stranger"), "--known-hosts", sshd.known_hosts)
        self.expect(run, 1)
        self.assertIn("Authentication failure", run.err.decode() + run.out.decode())
        self.assertEqual(os.listdir(sshd.inbox), [])

    def test_one_that_dies_does_not_stop_another_and_nothing_is_lost(self):
        sshd, nginx = self.server(Sshd), self.server(Nginx)
        proxy = Proxy(sshd.port, cut_after=5 << 20, times=1000)
        self.addCleanup(proxy.stop)
        spill = self.temp()
        os.chmod(spill, 0o700)
        run = self.collect("--to", sshd.url(port=proxy.port), "--to", nginx.url(), *sshd.login(), "--known-hosts", sshd.known(proxy.port),
                           *nginx.login(), "--retry-for", "2s", "--spill", spill)
        self.expect(run, 3)
        self.assert_whole(self.joined(nginx.inbox), nginx.inbox)
        self.assertEqual(glob.glob(sshd.inbox + "/*.COMPLETE"), [])
        # What the dead one has, and what was kept here, is the bundle.
        names = sorted({os.path.basename(p) for p in glob.glob(sshd.inbox + "/*.tar.[0-9]*") + glob.glob(spill + "/*.tar.[0-9]*")
                        if not p.endswith(".part")})
        whole = sorted(os.path.basename(p) for p in glob.glob(nginx.inbox + "/*.tar.[0-9]*"))
        self.assertEqual(names, whole)
        for name in whole:
            there = [p for p in (os.path.join(sshd.inbox, name), os.path.join(spill, name)) if os.path.exists(p)]
            self.assertEqual({lab.sha256_file(p) for p in there}, {lab.sha256_file(os.path.join(nginx.inbox, name))})

    def test_the_only_one_that_dies(self):
        sshd = self.server(Sshd)
        proxy = Proxy(sshd.port, cut_after=5 << 20, times=1000)
        self.addCleanup(proxy.stop)
        run = self.collect("--to", sshd.url(port=proxy.port), *sshd.login(), "--known-hosts", sshd.known(proxy.port), "--retry-for", "2s")
        self.expect(run, 1)
        self.assertIn("NOT COMPLETE", run.out.decode())
        self.assertNotIn("\\x", run.out.decode())
        self.assertEqual(glob.glob(sshd.inbox + "/*.COMPLETE"), [])

    def test_all_of_it_in_the_spill_directory(self):
        spill, inbox = self.temp(), self.temp()
        run = self.collect("--to", "https://127.0.0.1:1/x", "--retry-for", "1s", "--spill", spill, "--allow-plaintext")
        self.expect(run, 1)
        said = run.err.decode()
        self.assertIn("it is all of it: ctriage export " + spill, said)
        first = said.split("ctriage export ")[1].split()[0]
        self.expect(ctriage("export", first, "file:" + inbox), 0)
        self.assert_whole(self.joined(inbox), inbox)

    def test_usage(self):
        for words in (["--to", "sftp://eve:hunter2@host/"], ["--to", "file:/tmp", "-o", "/tmp"], ["--to", "ftp://127.0.0.1/"], ["--ack"], ["-o", "/tmp", "--verify", "hash"], ["--to", "rsync://host/x/y"]):
            with self.subTest(words):
                run = self.collect(*words)
                self.expect(run, 2)
                self.assertNotIn(b"hunter2", run.err)

    def piped(self, receiver, *words):
        """collect -o - --ack with its pipes to `receiver` and back: both statuses, and what collect said."""
        forth, back = os.pipe(), os.pipe()
        env = {**os.environ, **lab.SANITIZER}
        other = subprocess.Popen(receiver, stdin=forth[0], stdout=back[1], stderr=subprocess.PIPE, env=env)
        sender = subprocess.Popen([lab.binary(), "collect", f"pid:{self.box.pid}", "--skip", "node", "-o", "-", "--ack", *words],
                                  stdin=back[0], stdout=forth[1], stderr=subprocess.PIPE, env=env)
        for end in (*forth, *back):
            os.close(end)
        said = sender.communicate(timeout=200)[1].decode()
        other.communicate(timeout=200)
        return sender.returncode, other.returncode, said

    def test_receive_acknowledges(self):
        inbox = self.temp()
        sent, received, said = self.piped([lab.binary(), "receive", "-o", inbox, "--ack"])
        self.assertEqual((sent, received), (0, 0), said)
        self.assertIn("has acknowledged all of it", said)
        self.expect(ctriage("verify", self.one_bundle(inbox)), 0)

    def test_a_receiver_that_dies_lies_or_is_none(self):
        for receiver in (["sh", "-c", "head -c 100000 >/dev/null"], ["sh", "-c", "cat >/dev/null; echo ctriage-ack 00 1"], ["sh", "-c", "cat >/dev/null"]):
            with self.subTest(receiver):
                sent, _, said = self.piped(receiver)
                self.assertEqual(sent, 3, said)
                self.assertIn("NOT ACKNOWLEDGED", said)
