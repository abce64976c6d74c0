"""Bundles in other hands: volumes, unpacked directories, later hands, and the way through a pipe."""
import json
import os
import random
import subprocess

import lab
from lab import Box, Case, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "tar", "sha256sum", "cat")


class Hands(Case):
    @classmethod
    def setUpClass(cls):
        box = Box("while :; do sleep 1000; done")
        cls.addClassCleanup(box.stop)
        cls.out = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(lab.shutil.rmtree, cls.out)
        cls.run_ = ctriage("collect", f"pid:{box.pid}", "-o", cls.out)

    def setUp(self):
        self.expect(self.run_, 0)
        self.path = self.one_bundle(self.out)
        self.name = os.path.basename(self.path)
        self.size = os.path.getsize(self.path)

    def same(self, path):
        self.assertEqual(lab.sha256_file(path), lab.sha256_file(self.path))

    def split(self, size):
        into = self.temp()
        self.expect(ctriage("pack", self.path, "-o", into, "--split", str(size)), 0)
        volumes = [os.path.join(into, name) for name in sorted(os.listdir(into))]
        self.assertEqual(volumes, [f"{into}/{self.name}.{i:03}" for i in range(len(volumes))])
        return into, volumes

    def test_volumes(self):
        into, volumes = self.split(self.size // 5 + 1)
        self.assertEqual(len(volumes), 5)
        listed = subprocess.run(f"cat {into}/*.0* | tar t", shell=True, capture_output=True, check=True).stdout
        self.assertIn(b"manifest.json.sha256", listed)
        for volume in (volumes[0], volumes[3]):
            self.expect(ctriage("verify", volume), 0)
            joined = self.temp()
            self.expect(ctriage("pack", volume, "-o", joined), 0)
            self.same(os.path.join(joined, self.name))
        self.expect(ctriage("pack", volumes[0], "-o", into), 1)  # the name of a volume is taken
        with open(volumes[2], "r+b") as file:
            file.seek(100)
            byte = file.read(1)
            file.seek(100)
            file.write(bytes([byte[0] ^ 1]))
        self.expect(ctriage("verify", volumes[0]), 1)
        joined = self.temp()
        self.expect(ctriage("pack", volumes[0], "-o", joined), 1)
        self.assertEqual(os.listdir(joined), [])

    def test_missing_volumes(self):
        into, volumes = self.split(self.size // 5 + 1)
        os.truncate(volumes[1], 4096)
        self.assertIn(os.path.basename(volumes[1]).encode(), self.expect(ctriage("verify", volumes[0]), 1).err)
        os.unlink(volumes[1])
        self.assertIn(os.path.basename(volumes[1]).encode(), self.expect(ctriage("verify", volumes[0]), 1).err)
        into, volumes = self.split(self.size // 5 + 1)
        os.unlink(volumes[-1])
        self.expect(ctriage("verify", volumes[0]), 3)

    def test_as_json(self):
        into = self.temp()
        packed = self.expect(ctriage("pack", self.path, "-o", into, "--split", str(self.size // 3), "--json"), 0).json()
        self.assertEqual((packed["volumes"], packed["size_bytes"], packed["verified"]), (len(os.listdir(into)), self.size, True))
        self.assertEqual(packed["path"], f"{into}/{self.name}.000")
        digest = self.expect(ctriage("verify", self.path, "--json"), 0).json()["manifest_sha256"]
        self.assertEqual(packed["manifest_sha256"], digest)
        with open(self.path, "rb") as file:
            run = subprocess.run([lab.binary(), "receive", "-o", into, "--name", "x", "--json"], stdin=file, capture_output=True, check=True,
                                 env={**os.environ, **lab.SANITIZER})
        received = lab.json.loads(run.stdout)
        self.assertEqual((received["sha256"], received["size_bytes"], received["manifest_sha256"]), (lab.sha256_file(self.path), self.size, digest))
        page = self.expect(ctriage("custody", "show", received["path"], "--json"), 0).json()
        self.assertEqual((page["sha256"], page["has_sidecar"]), (digest, False))
        self.assertIn("seal", [field["value"] for action in page["actions"] for field in action["fields"]])
        added = self.expect(ctriage("custody", "add", received["path"], "--by", "A", "--action", "received", "--json"), 0).json()
        checked = self.expect(ctriage("custody", "check", received["path"], "--json"), 0).json()
        self.assertEqual(added["hands"], checked["hands"])

    def test_encrypted_while_it_is_packed(self):
        key, recipient = lab.age_key(self.temp())
        into = self.temp()
        self.expect(ctriage("pack", self.path, "-o", into, "--encrypt-to", recipient), 0)
        sealed = os.path.join(into, self.name + ".age")
        opened = os.path.join(into, "opened")
        subprocess.run(["age", "-d", "-i", key, "-o", opened, sealed], check=True)
        self.same(opened)
        volumes = self.temp()
        self.expect(ctriage("pack", self.path, "-o", volumes, "--encrypt-to", recipient, "--split", str(self.size // 3)), 0)
        self.assertGreaterEqual(len(os.listdir(volumes)), 3)
        self.expect(ctriage("verify", os.path.join(volumes, self.name + ".age.000"), "--identity", key), 0)
        self.expect(ctriage("pack", sealed, "-o", volumes, "--encrypt-to", recipient), 1)  # twice
        # To the configured ones, unless that is declined; what is encrypted is copied as it is.
        configured, plain = self.temp(), self.temp()
        environment = {"CTRIAGE_RECIPIENTS": recipient}
        self.expect(ctriage("pack", self.path, "-o", configured, env=environment), 0)
        self.assertEqual(os.listdir(configured), [self.name + ".age"])
        self.assertIn(b"NOT ENCRYPTED", self.expect(ctriage("pack", self.path, "-o", plain, "--no-encrypt", env=environment), 0).out)
        self.expect(ctriage("pack", sealed, "-o", plain, env=environment), 0)
        self.assertEqual(sorted(os.listdir(plain)), [self.name, self.name + ".age"])
        self.expect(ctriage("pack", self.path, "-o", volumes, "--sign", key), 2)

    def test_redacted(self):
        word, token = "correct-horse-41", "ghp_" + "a1B2" * 9
        box = Box(f"export DB_PASSWORD={word}; echo the word is {word} >/tmp/said; while :; do sleep 1000; done & sleep 1; "
                  f"exec /bin/busybox sh -c 'while :; do sleep 1000; done' --token {token}")
        out = self.temp()
        try:
            with open(os.path.join(box.root, "tmp/config"), "w", encoding="ascii") as file:
                file.write(f"password={word}\n")
            attached = os.path.join(self.temp(), "values.json")
            with open(attached, "w", encoding="ascii") as file:
                json.dump({"password": "only-attached-77"}, file)
            self.expect(ctriage("collect", f"pid:{box.pid}", "-o", out, "--memory", "all", "--note", f"he said {token}", "--attach", attached), 0, 3)
        finally:
            box.stop()
        path = self.one_bundle(out)
        before = lab.sha256_file(path)
        parent = self.expect(ctriage("verify", path, "--json"), 0).json()["manifest_sha256"]
        into = self.temp()
        told = self.expect(ctriage("pack", path, "-o", into, "--redact", "--json"), 0).json()
        self.assertEqual((told["redacted_from"], told["sealing"]), (parent, ""))
        self.assertGreaterEqual(told["values_hidden"], 2)
        again = self.expect(ctriage("pack", path, "-o", self.temp(), "--redact"), 0)
        self.assertIn(parent.encode(), again.out)
        self.assertIn(b"NOT ENCRYPTED", again.out)
        (name,) = os.listdir(into)
        copy = os.path.join(into, name)
        self.assertEqual(lab.sha256_file(path), before)  # never changed
        self.expect(ctriage("verify", copy), 0)

        def contents(bundle):
            directory = self.temp()
            subprocess.run(["tar", "xf", bundle, "-C", directory], check=True)
            subprocess.run(f"find {directory} -name '*.zst*' -exec zstd -dq --rm {{}} + 2>/dev/null; true", shell=True, check=True)
            return subprocess.run(["grep", "-rlaF", "-e", word, "-e", token, "-e", "only-attached-77", directory], check=False, capture_output=True, text=True).stdout.split()

        self.assertNotEqual(contents(path), [])
        self.assertEqual(contents(copy), [])
        with lab.Bundle(copy) as bundle:
            self.assertEqual(bundle.json("redaction.json")["parent_manifest_sha256"], parent)
            statuses = {stream["path"]: stream["status"] for stream in bundle.json("manifest.json")["streams"]}
            (container,) = bundle.containers()
            self.assertEqual(statuses[f"containers/{container}/upper.tar.zst"], "not_collected")
            self.assertEqual(statuses["pod/attach/values.json"], "not_collected")
            self.assertTrue(any(status == "not_collected" for name, status in statuses.items() if "/memory/" in name and name.endswith(".core.zst")))
            argv = [record["argv"] for record in bundle.records(f"containers/{container}/processes.jsonl")]
            self.assertTrue(any("[redacted " in " ".join(one) for one in argv), argv)
            self.assertTrue(bundle.bytes("SUMMARY.txt").startswith(f"REDACTED COPY of the bundle whose manifest.json has SHA-256 {parent}".encode()))
        shown = self.expect(ctriage("show", copy), 0, 3)
        self.assertNotIn(word.encode(), shown.out)
        self.expect(ctriage("diff", copy), 0, 3)
        # Nothing is found in memory that is not there: said, not "nothing found".
        searched = self.expect(ctriage("search", copy, word), 1, 3)
        self.assertIn(b"redacted", searched.out + searched.err)
        # Of a bundle that is not whole no copy is made.
        cut = os.path.join(self.temp(), "cut.ctriage.tar")
        with open(path, "rb") as whole, open(cut, "wb") as file:
            file.write(whole.read()[:-2000])
        empty = self.temp()
        self.expect(ctriage("pack", cut, "-o", empty, "--redact"), 3)
        self.assertEqual(os.listdir(empty), [])

    def test_unpacked(self):
        base = self.temp()
        directory = os.path.join(base, self.name[:-len(".ctriage.tar")])
        os.mkdir(directory)
        subprocess.run(["tar", "xf", self.path, "-C", directory], check=True)
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=directory, check=True)
        self.expect(ctriage("verify", directory), 0)
        into = self.temp()
        self.expect(ctriage("pack", directory, "-o", into), 0)
        self.same(os.path.join(into, self.name))
        with open(os.path.join(directory, "bundle.json"), "r+b") as file:
            file.write(b" ")
        other = self.temp()
        self.expect(ctriage("pack", directory, "-o", other), 1)
        self.assertEqual(os.listdir(other), [])
        os.unlink(os.path.join(directory, "bundle.json"))
        self.assertIn(b"bundle.json", self.expect(ctriage("pack", directory, "-o", other), 1).err)

    def test_later_hands(self):
        into = self.temp()
        bundle = os.path.join(into, self.name)
        lab.shutil.copy(self.path, bundle)
        report = os.path.join(self.temp(), "report.txt")
        with open(report, "w", encoding="ascii") as file:
            file.write("sealed bag 17\n")
        self.expect(ctriage("custody", "add", bundle, "--by", "A. Examiner", "--action", "received"), 0)
        self.expect(ctriage("custody", "add", bundle, "--by", "B", "--action", "stored", "--attach", report), 0)
        self.assertIn(b"A. Examiner", self.expect(ctriage("custody", "check", bundle), 0).out)
        self.expect(ctriage("verify", bundle), 0)
        page = self.expect(ctriage("custody", "show", bundle), 0).out.decode()
        self.assertNotIn("\\x", page)  # nothing of our own is escaped
        digest = self.expect(ctriage("verify", bundle, "--json"), 0).json()["manifest_sha256"]
        for part in (digest, "command_line", lab.sha256_file(lab.binary()), "hold", "deviations", "A. Examiner", "report.txt"):
            self.assertIn(part, page)
        sidecar = bundle[:-len(".ctriage.tar")] + ".custody.jsonl"
        with open(sidecar, "rb") as file:
            good = file.read()
        for place in range(0, len(good), 7):  # a changed byte anywhere
            changed = bytearray(good)
            changed[place] ^= 1
            with open(sidecar, "wb") as file:
                file.write(changed)
            self.expect(ctriage("custody", "check", bundle), 1)
        self.assertIn(b"custody.jsonl", self.expect(ctriage("verify", bundle), 1).out)
        self.expect(ctriage("custody", "add", bundle, "--by", "C", "--action", "nothing"), 1)
        with open(sidecar, "wb") as file:
            file.write(good)
        attached = bundle[:-len(".ctriage.tar")] + ".attach/report.txt"
        with open(attached, "a", encoding="ascii") as file:
            file.write("more")
        self.assertIn(b"report.txt", self.expect(ctriage("verify", bundle), 1).out)
        os.unlink(attached)
        self.expect(ctriage("custody", "check", bundle), 1)

    def test_receive(self):
        with open(self.path, "rb") as file:
            data = file.read()

        def receive(data, *options):
            into = self.temp()
            run = subprocess.run([lab.binary(), "receive", "-o", into, "--name", "x", *options], input=data,
                                 capture_output=True, check=False)
            return run, into
        run, into = receive(data, "--ack")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(run.stdout.decode(), f"ctriage-ack {lab.sha256_file(self.path)} {len(data)}\n")
        self.same(os.path.join(into, "x.ctriage.tar"))
        again = subprocess.run([lab.binary(), "receive", "-o", into, "--name", "x", "--ack"], input=data,
                               capture_output=True, check=False)
        self.assertEqual((again.returncode, again.stdout), (1, b""))  # nothing is replaced
        for cut in sorted(random.Random(7).sample(range(512, len(data) - 1), 6)):
            run, into = receive(data[:cut], "--ack")
            self.assertEqual((run.returncode, run.stdout), (3, b""), run.stderr)
            self.assertEqual(os.listdir(into), ["x.ctriage.tar.part"])
            self.assertEqual(os.path.getsize(os.path.join(into, "x.ctriage.tar.part")), cut)
        # Of what is encrypted nobody here can read more than where age's files may end.
        key, recipient = lab.age_key(self.temp())
        sealed = subprocess.run(["age", "-r", recipient], input=data, check=True, capture_output=True).stdout
        run, into = receive(sealed, "--ack")
        self.assertEqual((run.returncode, os.listdir(into)), (0, ["x.ctriage.tar.age"]), run.stderr)
        header = len(sealed) - len(data) - 16 - 16 * (len(data) // 65536 + 1)
        for cut in (22, header - 1, header, header + 16, header + 31, header + 16 + 65552 + 5):
            run, into = receive(sealed[:cut], "--ack")
            self.assertNotEqual(run.returncode, 0, cut)
            self.assertEqual((run.stdout, os.listdir(into)), (b"", ["x.ctriage.tar.age.part"]), cut)
        damaged = bytearray(data)
        damaged[len(data) // 2] ^= 4
        run, into = receive(bytes(damaged), "--ack")
        self.assertEqual((run.returncode, run.stdout), (1, b""), run.stderr)
        self.assertEqual(os.listdir(into), ["x.ctriage.tar.part"])

