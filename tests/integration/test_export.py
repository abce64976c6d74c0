"""`export` to real servers: a good login, a bad one, no room, an unknown key, a cut, no answer, a bundle larger than our memory."""
import os
import random
import re
import subprocess

import lab
from lab import Box, Case, ctriage
from s3_stub import S3
from servers import Dripping, Nginx, Proftpd, Proxy, Rsyncd, Samba, Sshd, Vsftpd


def text(run):
    """What it printed, both streams."""
    return (run.out + run.err).decode()


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("sshd", "vsftpd", "nginx", "ssh-keygen", "openssl", "sha256sum", "rsync", "ssh", "smbd", "smbpasswd", "smbclient")


class Export(Case):
    @classmethod
    def setUpClass(cls):
        cls.out = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(lab.shutil.rmtree, cls.out)
        box = Box("while :; do sleep 1000; done")
        try:
            with open(box.root + "/large", "wb") as file:
                file.write(os.urandom(9 << 20))
            cls.run_ = ctriage("collect", f"pid:{box.pid}", "-o", cls.out, "--skip", "node")
        finally:
            box.stop()

    def setUp(self):
        self.expect(self.run_, 0)
        self.path = self.one_bundle(self.out)
        self.name = os.path.basename(self.path)
        self.stem = self.name.removesuffix(".ctriage.tar")
        with open(self.path, "rb") as file:
            self.data = file.read()
        self.journal = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        self.addCleanup(lab.shutil.rmtree, self.journal)

    def server(self, kind, *args, **named):
        server = kind(*args, **named)
        self.addCleanup(server.stop)
        return server

    def export(self, *words, split="4M", timeout=120, **options):
        return ctriage("export", self.path, *words, "--split", split, "--journal", self.journal, timeout=timeout, **options)

    def assert_whole(self, inbox):
        """What lies there is the bundle, by what lies there alone."""
        names = sorted(name for name in os.listdir(inbox) if name != ".tmp")
        self.assertEqual([name for name in names if name.endswith(".part")], [])
        check = subprocess.run(["sha256sum", "--strict", "-c", self.stem + ".COMPLETE"], cwd=inbox, check=False, capture_output=True, text=True)
        self.assertEqual(check.returncode, 0, check.stdout + check.stderr)
        volumes = [name for name in names if name.startswith(self.name)]
        self.assertEqual(b"".join(open(os.path.join(inbox, name), "rb").read() for name in volumes), self.data)
        verified = ctriage("verify", self.path, "--json")
        self.expect(verified, 0)
        digest = verified.json()["manifest_sha256"]
        with open(os.path.join(inbox, self.stem + ".manifest.sha256"), encoding="ascii") as file:
            self.assertEqual(file.read(), f"{digest}  manifest.json\n")
        self.assertEqual(names, sorted(volumes + [self.stem + ".COMPLETE", self.stem + ".manifest.sha256"]))
        return volumes


    def assert_nothing_final(self, inbox):
        self.assertEqual([name for name in os.listdir(inbox) if name.startswith(self.name) and not name.endswith(".part")], [])
        self.assertFalse(os.path.exists(os.path.join(inbox, self.stem + ".COMPLETE")))

    @staticmethod
    def through(proxy, server, options):
        """The same options for the proxy's port, where a host key is known by its port."""
        return [server.known(proxy.port) if before == "--known-hosts" else option for before, option in zip(["", *options], options)]

    def each_server(self):
        """Server, and the options that make it trust us and us it."""
        sshd = self.server(Sshd)
        yield "sftp", sshd, [*sshd.login(), "--known-hosts", sshd.known_hosts]
        ftp = self.server(Vsftpd)
        yield "ftp", ftp, [*ftp.login(), "--allow-plaintext"]
        for tls in ("explicit", "implicit"):
            ftps = self.server(Vsftpd, tls)
            yield "ftp, TLS " + tls, ftps, ftps.login()
        nginx = self.server(Nginx)
        yield "https", nginx, nginx.login()
        samba = self.server(Samba)
        yield "smb", samba, samba.login()

    def test_each_takes_all_of_it_once(self):
        for name, server, options in self.each_server():
            with self.subTest(name):
                run = self.export(server.url(), *options, "--verify", "reread", "--json")
                self.expect(run, 0)
                told = run.json()["destinations"][0]
                self.assertEqual((told["complete"], told["proof"], told["volumes"], told["volumes_before"]), (True, "reread", 3, 0))
                self.assertEqual(len(self.assert_whole(server.inbox)), 3)
                again = self.export(server.url(), *options, "--json")
                self.expect(again, 0)
                told = again.json()["destinations"][0]
                self.assertEqual((told["complete"], told["volumes_before"], told["size_bytes"]), (True, 3, 0))
                # What the journal knows is looked for: a disk may have been unplugged.
                os.unlink(os.path.join(server.inbox, self.name + ".001"))
                os.unlink(os.path.join(server.inbox, self.stem + ".COMPLETE"))
                mended = self.export(server.url(), *options, "--json")
                self.expect(mended, 0)
                self.assertEqual(mended.json()["destinations"][0]["volumes_before"], 2)
                self.assert_whole(server.inbox)
                # A journal that is lost costs a second look, and what is there stays.
                os.unlink(os.path.join(self.journal, self.stem + ".sent.jsonl"))
                self.expect(self.export(server.url(), *options), 0)
                self.assert_whole(server.inbox)
                os.unlink(os.path.join(self.journal, self.stem + ".sent.jsonl"))

    def test_a_server_that_computes_digests(self):
        if not os.path.exists(Proftpd.PROGRAM):
            self.skipTest("needs proftpd-core, which ./run.sh test unpacks below build/")
        ftp = self.server(Proftpd)
        run = self.export(ftp.url(), *ftp.login(), "--verify", "hash", "--json")
        self.expect(run, 0)
        told = run.json()["destinations"][0]
        self.assertEqual((told["complete"], told["proof"], told["volumes"]), (True, "hash", 3))
        self.assert_whole(ftp.inbox)
        # Bytes that were changed there since, and a journal that knows only their size: the digest says so.
        os.unlink(os.path.join(self.journal, self.stem + ".sent.jsonl"))
        self.expect(self.export(ftp.url(), *ftp.login()), 0)
        with open(os.path.join(ftp.inbox, self.name + ".001"), "r+b") as file:
            file.write(b"somebody's")
        run = self.export(ftp.url(), *ftp.login(), "--verify", "hash")
        self.expect(run, 1)
        self.assertIn("was not replaced", text(run))
        run = self.export(ftp.url(), *ftp.login("wrong"), "--retry-for", "10m", timeout=60)
        self.expect(run, 1)

    def test_one_volume_keeps_its_name(self):
        sshd = self.server(Sshd)
        self.expect(self.export(sshd.url(), *sshd.login(), "--host-key", sshd.fingerprint(), split="1G"), 0)
        self.assertEqual(self.assert_whole(sshd.inbox), [self.name])
        hands = ctriage("custody", "check", self.path)
        self.expect(hands, 0)
        self.assertIn("sent to " + sshd.url().replace("root@", ""), text(hands))

    def test_what_cannot_pass_is_not_tried_again(self):
        sshd = self.server(Sshd)
        known = ["--known-hosts", sshd.known_hosts]
        empty = sshd.write("none", "")
        other = sshd.write("other", open(sshd.known_hosts, encoding="ascii").read().split()[0] + " " +
                           " ".join(open(sshd.base + "/stranger.pub", encoding="ascii").read().split()[:2]) + "\n")
        ftp, ftps, nginx = self.server(Vsftpd), self.server(Vsftpd, "explicit"), self.server(Nginx)
        for name, server, options in (
                ("a stranger's key", sshd, [*sshd.login("stranger"), *known]),
                ("an unknown host key", sshd, [*sshd.login(), "--known-hosts", empty]),
                ("another host key", sshd, [*sshd.login(), "--known-hosts", other]),
                ("another fingerprint", sshd, [*sshd.login(), "--host-key", "SHA256:" + "A" * 43]),
                ("no known_hosts", sshd, [*sshd.login(), "--known-hosts", "/nonexistent/known_hosts"]),
                ("no such user", ftp, [*ftp.login("eve"), "--allow-plaintext"]),
                ("an unknown certificate, ftp", ftps, ftps.login()[:2]),
                ("an unknown certificate, https", nginx, nginx.login()[:2]),
                ("a bad password", nginx, nginx.login("wrong"))):
            with self.subTest(name):
                run = self.export(server.url(), *options, "--retry-for", "10m", timeout=60)
                self.expect(run, 1)
                self.assertIn("NOT COMPLETE", text(run))
                self.assertNotIn("hunter2", text(run))
                self.assert_nothing_final(server.inbox)

    def test_insecure_is_loud_and_recorded(self):
        sshd = self.server(Sshd)
        run = self.export(sshd.url(), *sshd.login(), "--insecure", "--json")
        self.expect(run, 0)
        self.assertTrue(run.json()["insecure"])
        self.assertIn("NOT checked", text(run))

    def test_no_room(self):
        for name, server, options in self.each_server():
            with self.subTest(name):
                server.small("6m")
                run = self.export(server.url(), *options, "--retry-for", "3s", timeout=100)
                self.expect(run, 1)
                self.assertFalse(os.path.exists(os.path.join(server.inbox, self.stem + ".COMPLETE")))
                for volume in os.listdir(server.inbox):  # what has its name is whole
                    if re.fullmatch(re.escape(self.name) + r"\.\d+", volume):
                        index = int(volume[-3:])
                        with open(os.path.join(server.inbox, volume), "rb") as file:
                            self.assertEqual(file.read(), self.data[index << 22:(index + 1) << 22])

    def test_a_cut_is_tried_again(self):
        chance = random.Random(7)
        for name, server, options in self.each_server():
            with self.subTest(name):
                at = chance.randrange(1, 4 << 20)
                # The control connection of FTP is what goes through the proxy: it is cut within the dialogue.
                proxy = Proxy(server.port, cut_after=at if "ftp" not in name or name == "sftp" else chance.randrange(1, 200), times=2)
                self.addCleanup(proxy.stop)
                run = self.export(server.url(port=proxy.port), *self.through(proxy, server, options), "--retry-for", "1m")
                self.expect(run, 0)
                self.assertGreaterEqual(proxy.cuts, 1)
                self.assert_whole(server.inbox)

    def test_a_dead_destination_does_not_stop_another(self):
        nginx, sshd = self.server(Nginx), self.server(Sshd)
        proxy = Proxy(sshd.port, cut_after=1 << 20, times=100)
        self.addCleanup(proxy.stop)
        run = self.export(sshd.url(port=proxy.port), nginx.url(), *nginx.login(), *sshd.login(), "--known-hosts", sshd.known(proxy.port),
                          "--retry-for", "5s")
        self.expect(run, 3)
        self.assert_whole(nginx.inbox)
        self.assert_nothing_final(sshd.inbox)
        self.assertIn("ctriage export", text(run))
        self.assertIn(sshd.url(port=proxy.port), text(run).split("ctriage export")[1])

    def test_a_file_that_is_there_is_not_replaced(self):
        for name, server, options in self.each_server():
            with self.subTest(name):
                with open(os.path.join(server.inbox, self.name + ".001"), "w", encoding="ascii") as file:
                    file.write("somebody's")
                run = self.export(server.url(), *options)
                self.expect(run, 1)
                self.assertIn("was not replaced", text(run))
                with open(os.path.join(server.inbox, self.name + ".001"), encoding="ascii") as file:
                    self.assertEqual(file.read(), "somebody's")

    def each_rsync(self):
        """The same for those that take a bundle as one file."""
        sshd = self.server(Sshd)
        yield "rsync+ssh", sshd, sshd.url("rsync+ssh"), [*sshd.login(), "--known-hosts", sshd.known_hosts]
        daemon = self.server(Rsyncd)
        yield "rsync", daemon, daemon.url(), [*daemon.login(), "--allow-plaintext"]

    def test_rsync_takes_it_in_one(self):
        for name, server, url, options in self.each_rsync():
            with self.subTest(name):
                run = self.export(url, *options, "--verify", "reread", "--json")
                self.expect(run, 0)
                told = run.json()["destinations"][0]
                self.assertEqual((told["complete"], told["proof"], told["volumes"], told["volumes_before"]), (True, "size", 1, 0))
                self.assertEqual(self.assert_whole(server.inbox), [self.name])
                for used in told["programs"]:
                    self.assertEqual(used["sha256"], lab.sha256_file(used["path"]))
                self.assertEqual([used["path"] for used in told["programs"]], ["/usr/bin/rsync", "/usr/bin/ssh"][:1 + ("ssh" in name)])
                again = self.export(url, *options, "--json")
                self.expect(again, 0)
                told = again.json()["destinations"][0]
                self.assertEqual((told["complete"], told["volumes_before"], told["size_bytes"]), (True, 1, 0))
                # A journal that is lost: rsync compares, and nothing is replaced.
                os.unlink(os.path.join(self.journal, self.stem + ".sent.jsonl"))
                self.expect(self.export(url, *options), 0)
                self.assert_whole(server.inbox)
                os.unlink(os.path.join(self.journal, self.stem + ".sent.jsonl"))
                with open(os.path.join(server.inbox, self.name), "r+b") as file:
                    file.seek(len(self.data) // 2)
                    file.write(b"somebody's")
                run = self.export(url, *options)
                self.expect(run, 1)
                self.assertIn("was not replaced", text(run))
        self.assertIn("/usr/bin/rsync", text(ctriage("custody", "show", self.path)))

    def test_rsync_takes_volumes_as_they_are(self):
        into = self.temp()
        self.expect(ctriage("pack", self.path, "-o", into, "--split", "4M"), 0)
        for name, server, url, options in self.each_rsync():
            with self.subTest(name):
                run = ctriage("export", os.path.join(into, self.name + ".000"), url, *options)
                self.expect(run, 0)
                self.assertEqual(len(self.assert_whole(server.inbox)), 3)

    def test_rsync_that_refuses(self):
        sshd, daemon = self.server(Sshd), self.server(Rsyncd)
        known = ["--known-hosts", sshd.known_hosts]
        empty = sshd.write("none", "")
        plain = "--allow-plaintext"
        for name, url, options in (
                ("a stranger's key", sshd.url("rsync+ssh"), [*sshd.login("stranger"), *known]),
                ("an unknown host key", sshd.url("rsync+ssh"), [*sshd.login(), "--known-hosts", empty]),
                ("no such directory", sshd.url("rsync+ssh") + "/none", [*sshd.login(), *known]),
                ("a bad password", daemon.url(), [*daemon.login("wrong"), plain]),
                ("no such module", daemon.url().replace("/vault/", "/none/"), [*daemon.login(), plain]),
                ("no such directory below a module", daemon.url() + "/none", [*daemon.login(), plain])):
            with self.subTest(name):
                run = self.export(url, *options, "--retry-for", "10m", timeout=60)
                self.expect(run, 1)
                self.assertIn("NOT COMPLETE", text(run))
                self.assertNotIn("hunter2", text(run))
                self.assertEqual(os.listdir(sshd.inbox) + os.listdir(daemon.inbox), [])
        self.expect(self.export(daemon.url(), *daemon.login()), 2)  # in the clear
        self.assertIn("alone", text(self.expect(self.export(sshd.url("rsync+ssh") + "/a%20b", *sshd.login(), *known), 1)))
        for user in ("-eid", "a%3Ab"):
            self.expect(self.export(sshd.url("rsync+ssh").replace("root@", user + "@"), *sshd.login(), *known), 1, 2)

    def test_rsync_without_room(self):
        for name, server, url, options in self.each_rsync():
            with self.subTest(name):
                server.small("6m")
                run = self.export(url, *options, "--retry-for", "20s", timeout=100)
                self.expect(run, 1)
                self.assertIn("No space left", text(run))
                self.assert_nothing_final(server.inbox)

    def test_rsync_goes_on_where_it_was_cut(self):
        for name, server, url, options in self.each_rsync():
            with self.subTest(name):
                proxy = Proxy(server.port, cut_after=6 << 20, times=1)
                self.addCleanup(proxy.stop)
                run = self.export(url.replace(f":{server.port}", f":{proxy.port}"), *self.through(proxy, server, options), "--retry-for", "1m")
                self.expect(run, 0)
                self.assertEqual(proxy.cuts, 1)
                self.assert_whole(server.inbox)
                self.assertLess(proxy.sent, (6 << 20) + len(self.data))  # not all of it twice

    def test_rsync_to_a_server_that_stops_answering(self):
        for name, server, url, options in self.each_rsync():
            with self.subTest(name):
                proxy = Proxy(server.port, cut_after=3 << 20, times=100, stall=True)
                self.addCleanup(proxy.stop)
                run = self.export(url.replace(f":{server.port}", f":{proxy.port}"), *self.through(proxy, server, options), "--retry-for", "1s", "--stall", "3s", timeout=100)
                self.expect(run, 1)
                self.assert_nothing_final(server.inbox)

    def test_smb_that_refuses(self):
        samba = self.server(Samba)
        for name, url, options in (
                ("a bad password", samba.url(), samba.login("wrong")),
                ("no login", samba.url(), ["--netrc", samba.write("nobody", "machine 127.0.0.1 login nobody password x\n")]),
                ("no such share", samba.url().replace("/vault/", "/none/"), samba.login()),
                ("no such directory", samba.url() + "/none", samba.login())):
            with self.subTest(name):
                run = self.export(url, *options, "--retry-for", "10m", timeout=60)
                self.expect(run, 1)
                self.assertIn("NOT COMPLETE", text(run))
                self.assertNotIn("hunter2", text(run))
                self.assertEqual(os.listdir(samba.inbox), [])

    def test_smb_at_the_top_of_a_share(self):
        samba = self.server(Samba)
        self.expect(self.export(samba.url().replace("/vault/in", "/vault"), *samba.login(), "--verify", "reread"), 0)
        self.assertTrue(os.path.exists(os.path.join(samba.base, self.stem + ".COMPLETE")))

    def test_smb_is_encrypted(self):
        samba = self.server(Samba, encrypt="off")
        run = self.export(samba.url(), *samba.login(), "--retry-for", "10m", timeout=60)
        self.expect(run, 1)
        self.assertEqual(os.listdir(samba.inbox), [])
        self.expect(self.export(samba.url(), *samba.login(), "--allow-plaintext"), 0)
        self.assert_whole(samba.inbox)

    def test_volumes_go_as_they_are_and_all_of_them(self):
        into, inbox = self.temp(), self.temp()
        self.expect(ctriage("pack", self.path, "-o", into, "--split", "4M"), 0)
        first = os.path.join(into, self.name + ".000")
        os.rename(os.path.join(into, self.name + ".001"), os.path.join(into, "away"))
        run = ctriage("export", first, "file:" + inbox)
        self.expect(run, 1)
        self.assertIn(".001 is missing", text(run))
        self.assertEqual(os.listdir(inbox), [])
        # Of an encrypted one nobody here can read whether it ends where it should.
        sealed = self.temp()
        for number in (0, 1):
            lab.shutil.copy(os.path.join(into, f"{self.name}.000"), os.path.join(sealed, f"x.ctriage.tar.age.00{number}"))
        run = ctriage("export", os.path.join(sealed, "x.ctriage.tar.age.000"), "file:" + inbox, "--dry-run")
        self.expect(run, 0)
        self.assertIn("one may be missing after it", text(run))
        os.rename(os.path.join(into, "away"), os.path.join(into, self.name + ".001"))
        self.expect(ctriage("export", first, "file:" + inbox, "--dry-run", "--json"), 0)
        self.assertEqual(os.listdir(inbox), [])
        self.expect(ctriage("export", first, "file:" + inbox), 0)
        self.assert_whole(inbox)

    def test_https_without_move(self):
        nginx = self.server(Nginx, move=False)
        self.expect(self.export(nginx.url(), *nginx.login(), "--verify", "reread"), 0)
        self.assert_whole(nginx.inbox)

    def test_a_signed_url_takes_the_bundle_alone(self):
        nginx = self.server(Nginx)
        url = nginx.write("url", f"{nginx.url()}/object?sig=hunter2\n")
        run = self.export("@" + url, *nginx.login(), split="1G")
        self.expect(run, 0)
        self.assertNotIn("sig=", text(run) + open(os.path.join(self.journal, self.stem + ".sent.jsonl"), encoding="ascii").read())
        with open(os.path.join(nginx.inbox, "object"), "rb") as file:
            self.assertEqual(file.read(), self.data)
        self.expect(self.export("@" + url, *nginx.login()), 2)  # three volumes
        os.chmod(url, 0o644)
        self.expect(self.export("@" + url, *nginx.login(), split="1G"), 2)

    def test_s3(self):
        s3 = self.server(S3)
        run = self.export("s3://bucket/a%20b/c", *s3.options(), "--verify", "hash", "--json", env=s3.keys())
        self.expect(run, 0)
        told = run.json()["destinations"][0]
        self.assertEqual((told["complete"], told["proof"], told["volumes"]), (True, "hash", 3))
        for name in os.listdir(s3.inbox):
            os.rename(os.path.join(s3.inbox, name), os.path.join(s3.inbox, name.removeprefix("a b%c%")))
        self.assert_whole(s3.inbox)

    def test_s3_that_refuses(self):
        s3 = self.server(S3)

        def refused(reason, place="s3://bucket/in", secret=None, **options):
            with self.subTest(reason):
                before = s3.http.requests
                run = self.export(place, *s3.options(), "--retry-for", "10m", timeout=60, env=s3.keys(**({"secret": secret} if secret else {})), **options)
                self.expect(run, 1)
                self.assertIn(reason, text(run))
                self.assertNotIn("wJalr", text(run))
                self.assertFalse(any(name.endswith(".COMPLETE") for name in os.listdir(s3.inbox)))
                self.assertLessEqual(s3.http.requests - before, 12)

        refused("SignatureDoesNotMatch", secret="wrong")
        refused("NoSuchBucket", place="s3://nobucket/in")
        s3.http.skew = -1
        refused("the clock of this node is wrong")
        s3.http.skew = 900
        s3.http.quota = 1 << 20
        refused("QuotaExceeded")

    def test_s3_in_trouble(self):
        s3 = self.server(S3)
        s3.http.faults = [503, "cut", 500, 503]
        self.expect(self.export("s3://bucket/", *s3.options(), "--retry-for", "1m", env=s3.keys()), 0)
        self.assert_whole(s3.inbox)

    def test_s3_in_parts(self):
        s3 = self.server(S3)
        path = os.path.join(self.temp(), "big.ctriage.tar.age")  # encrypted: nobody looks inside
        with open(path, "wb") as file:
            for _ in range(150):
                file.write(os.urandom(1 << 20))
        stored = os.path.join(s3.inbox, "in%big.ctriage.tar.age")

        def send(expected, **options):
            run = ctriage("export", path, "s3://bucket/in", *s3.options(), "--split", "1G", "--verify", "hash", "--json", timeout=200,
                          env=s3.keys(), **options)
            self.expect(run, expected)
            self.assertEqual(s3.http.parts, {})  # no upload is left open
            return run.json()["destinations"][0]

        # A cut in the second part: the first is not sent again. Then an error after the status of 200.
        s3.http.faults = [None] * 4 + ["cut"]
        s3.http.late_errors = 1
        told = send(0)
        self.assertEqual((told["proof"], told["volumes"]), ("hash", 1))
        self.assertEqual((s3.http.parts_taken, s3.http.uploads), (3, 1))
        self.assertEqual(lab.sha256_file(stored), lab.sha256_file(path))
        self.assertEqual(open(os.path.join(s3.inbox, "in%big.COMPLETE"), encoding="ascii").read().split()[0], lab.sha256_file(path))
        # Another object under that name, as large: it stays, and no part is left.
        os.unlink(path.replace(".ctriage.tar.age", ".sent.jsonl"))
        s3.http.composites.clear()
        with open(stored, "r+b") as file:
            file.write(b"somebody's")
        told = send(1)
        self.assertIn("was not replaced", told["why"])
        # What cannot pass in the midst of it.
        os.unlink(stored)
        os.unlink(os.path.join(s3.inbox, "in%big.COMPLETE"))
        s3.http.faults = [None, None, None, None, 403]
        told = send(1)
        self.assertEqual(os.listdir(s3.inbox), [])

    def test_s3_that_answers_without_end(self):
        s3 = self.server(S3)
        s3.http.endless = True
        run = self.export("s3://bucket/", *s3.options(), "--verify", "reread", "--retry-for", "1s", env=s3.keys(), timeout=60)
        self.expect(run, 1)
        self.assertIn("more than was asked for", text(run))

    def test_a_name_that_a_server_or_a_program_would_read_more_into(self):
        into, samba = self.temp(), self.server(Samba)
        for name in ('x;lcd pwn;get in', 'z";echo 1 "', "a b", "-e", "a\nb", "$(id)"):
            path = os.path.join(into, name + ".ctriage.tar")
            lab.shutil.copy(self.path, path)
            run = ctriage("export", path, samba.url(), *samba.login(), cwd=into)
            self.expect(run, 1)
            self.assertIn("rename it", text(run))
            os.unlink(path)
        self.assertEqual(os.listdir(samba.inbox) + os.listdir(into), [])

    def test_s3_with_other_bytes(self):
        s3 = self.server(S3)
        s3.http.spoil = True
        run = self.export("s3://bucket/", *s3.options(), "--verify", "reread", "--retry-for", "1s", env=s3.keys())
        self.expect(run, 1)
        self.assertIn("other bytes", text(run))

    def test_usage(self):
        for words in (["sftp://eve:hunter2@host/"], ["https://host/?sig=hunter2"], [], ["gopher://host"], ["ftp://127.0.0.1/"]):
            with self.subTest(words):
                run = self.export(*words)
                self.expect(run, 2)
                self.assertNotIn("hunter2", text(run))

    def test_queue(self):
        queue = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        self.addCleanup(lab.shutil.rmtree, queue)
        lab.shutil.copy(self.path, queue)
        lab.shutil.copy(self.path, os.path.join(queue, "other.ctriage.tar.part"))
        nginx = self.server(Nginx)
        for _ in range(2):
            run = ctriage("export", "--queue", queue, nginx.url(), *nginx.login(), "--split", "4M")
            self.expect(run, 0)
            self.assertIn("1 bundle is not sealed", text(run))
        self.assert_whole(nginx.inbox)

    def test_a_server_that_stops_answering(self):
        sshd = self.server(Sshd)
        proxy = Proxy(sshd.port, cut_after=3 << 20, times=100, stall=True)
        self.addCleanup(proxy.stop)
        run = self.export(sshd.url(port=proxy.port), *sshd.login(), "--known-hosts", sshd.known(proxy.port), "--retry-for", "1s",
                          "--stall", "3s", timeout=60)
        self.expect(run, 1)
        self.assert_nothing_final(sshd.inbox)

    def test_a_server_that_answers_a_byte_now_and_then(self):
        server = self.server(Dripping)
        run = self.export(server.url(), "--ca", server.ca, "--retry-for", "1s", "--stall", "3s", timeout=60)
        self.expect(run, 1)
        self.assertIn("too slow", text(run))

    def test_larger_than_our_memory(self):
        big = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        self.addCleanup(lab.shutil.rmtree, big)
        path = os.path.join(big, "big.ctriage.tar.age")  # encrypted: nobody looks inside
        with open(path, "wb") as file:
            for _ in range(300):
                file.write(os.urandom(1 << 20))
        sshd = self.server(Sshd)
        run = ctriage("export", path, sshd.url(), *sshd.login(), "--known-hosts", sshd.known_hosts, timeout=200)
        self.expect(run, 0)
        self.assertEqual(lab.sha256_file(path), subprocess.run(
            f"cat {sshd.inbox}/big.ctriage.tar.age.* | sha256sum", shell=True, check=True, capture_output=True, text=True).stdout.split()[0])
