"""The program on real checkpoints: plain, compressed and unpacked, cut and on their own, in its sandbox."""
import json
import os
import shutil
import subprocess
import tarfile

import lab
from checkpoints import DATA, Unpacked
from lab import ctriage


def setUpModule():
    lab.binary()
    lab.need("xz", "tar", "zstd")


class Checkpoint(Unpacked):
    def show(self, *arguments, status=0):
        run = ctriage("show", *arguments)
        self.expect(run, status)
        return run.out.decode()

    def test_overview(self):
        out = self.show(self.plain)
        for text in ("shop/web-7d9f/app", "checkpointed", "kubelet/CRI-O", "/tmp/implant run 4444", "uid 0, runs a deleted file: /tmp/.cache/kworker",
                     "leave changed files of the image out", "LISTEN 127.0.0.1:4444"):
            self.assertIn(text, out)

    def test_every_form_gives_the_same(self):
        forms = [self.plain, self.tree, os.path.join(DATA, "crio.tar.xz")]
        for tool, name in (("gzip", "gz"), ("bzip2", "bz2"), ("lz4", "lz4"), ("zstd", "zst")):
            if shutil.which(tool) is None:
                continue
            packed = f"{self.dir}/crio.tar.{name}"
            with open(packed, "wb") as out:
                subprocess.run([tool, "-c", self.plain], stdout=out, check=True)
            forms.append(packed)
        first = None
        for form in forms:
            with self.subTest(form=os.path.basename(form)):
                document = json.loads(self.show(form, "--all", "--json"))
                seen = {key: document[key] for key in ("processes", "threads", "descriptors", "mappings", "sockets", "mounts")}
                self.assertEqual([process["pid"] for process in seen["processes"]], [1, 20, 21, 23])
                first = first or seen
                self.assertEqual(seen, first)

    def test_images_alone(self):
        out = self.show(os.path.join(self.tree, "checkpoint"), "--pid", "23", "--env", "--maps", "--sockets")
        self.assertIn("AWS_SECRET_ACCESS_KEY=AKIAEXAMPLESECRET", out)
        self.assertIn("ESTABLISHED", out)
        self.assertIn("/tmp/.cache/kworker (deleted)", out)

    def test_cut(self):
        cut = os.path.join(self.dir, "cut.tar")
        with open(self.plain, "rb") as whole, open(cut, "wb") as out:
            out.write(whole.read(os.path.getsize(self.plain) // 2))
        self.assertIn("tar at byte", self.show(cut, status=3))

    def test_neither(self):
        other = os.path.join(self.dir, "other.tar")
        with tarfile.open(other, "w") as tar:
            tar.add(os.path.join(DATA, "README.md"), "README.md")
        run = ctriage("show", other)
        self.expect(run, 1)
        self.assertIn(b"no checkpoint in it", run.err)
