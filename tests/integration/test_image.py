"""image packages and image verify, on a real containerd pod and on Podman: packages of the image, files of theirs that the
container replaced, layers in the engine's store that were changed behind its back."""
import glob
import hashlib
import os
import shutil
import subprocess

import engines
import lab
from lab import Case, ctriage

NS = f"image-{os.getpid()}"
TOOL = b"#!/bin/sh\necho tool\n"
SUMS = hashlib.md5(TOOL).hexdigest() + "  usr/bin/tool\n" + hashlib.md5(b"data\n").hexdigest() + "  usr/share/tool/data\n"
FILES = {
    "/usr/bin/tool": TOOL,
    "/usr/share/tool/data": b"data\n",
    "/etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
    "/var/lib/dpkg/status": b"Package: tool\nStatus: install ok installed\nVersion: 1.5-1\nArchitecture: amd64\nDepends: libc6\n\n",
    "/var/lib/dpkg/info/tool.list": b"/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/share/tool\n/usr/share/tool/data\n/etc/tool.conf\n",
    "/var/lib/dpkg/info/tool.md5sums": SUMS.encode(),
    "/etc/tool.conf": b"x\n",
}


def setUpModule():
    lab.binary()
    lab.need_root()


class Pod(Case):
    @classmethod
    def setUpClass(cls):
        lab.need("containerd", "runc", "ctr")
        cls.lab = lab.Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images(FILES)
        cls.lab.run_pod(NS, "web", "app", "echo changed > /usr/share/tool/data; rm /etc/tool.conf; echo mine > /opt/mine; "
                                          "cp -p /usr/bin/tool /x; rm /usr/bin/tool; cp -p /x /usr/bin/tool; exec sleep 1000000")

    def layer_directory(self, number):
        """Where the layer lies on the node."""
        layers = self.expect(ctriage("image", "verify", f"{NS}/web", "--json"), 0, 1, 3).json()["layers"]
        return next(one["path"] for one in layers if one["number"] == number)

    def test_packages(self):
        run = self.expect(ctriage("image", "packages", f"{NS}/web", "--json"), 0)
        told = run.json()
        self.assertEqual(told["schema"], "ctriage.image_packages/1")
        self.assertEqual([(p["manager"], p["name"], p["version"], p["depends"]) for p in told["packages"]],
                         [("dpkg", "tool", "1.5-1", "libc6")])
        image = told["image"]
        self.assertEqual((image["distribution"], image["shell"], image["package_database"]), ("debian 12", True, "dpkg"))
        changed = {c["path"]: (c["kind"], c["package"].get("fits")) for c in told["changed"]}
        self.assertEqual(changed["/usr/share/tool/data"], ("content", False))
        self.assertEqual(changed["/etc/tool.conf"], ("deleted", False))
        self.assertNotIn("/opt/mine", changed)
        self.assertIn(changed.get("/usr/bin/tool", (None, True))[1], (True,))
        text = self.expect(ctriage("image", "packages", f"{NS}/web"), 0).out
        self.assertIn(b"NOT THE PACKAGE'S", text)

    def test_the_image_as_a_layer(self):
        """The image alone: what the container deleted and changed is there as it was."""
        self.assertEqual(self.expect(ctriage("cat", f"{NS}/web:/usr/share/tool/data", "--layer", "image"), 0).out, b"data\n")
        self.assertEqual(self.expect(ctriage("cat", f"{NS}/web:/etc/tool.conf", "--layer", "image"), 0).out, b"x\n")
        self.expect(ctriage("cat", f"{NS}/web:/opt/mine", "--layer", "image"), 1)

    def test_verify(self):
        """Untouched, every layer is its blob; then a file of a lower directory is edited, one added, one made setuid."""
        run = self.expect(ctriage("image", "verify", f"{NS}/web", "--json"), 0)
        layers = run.json()["layers"]
        self.assertEqual([(one["verdict"], one["by"]) for one in layers], [("verified", "entries")] * 2, run.out)
        self.assertGreater(layers[0]["entries"], 100)
        directory = self.layer_directory(2)
        target, conf = directory + "/usr/bin/tool", directory + "/etc/tool.conf"
        before = os.stat(target)
        try:
            with open(target, "r+b") as file:
                file.write(TOOL.replace(b"tool", b"evil"))
            os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
            with open(directory + "/usr/bin/dropped", "wb") as file:
                file.write(b"x")
            os.chmod(conf, 0o4644)
            run = self.expect(ctriage("image", "verify", f"{NS}/web", "--json"), 1)
            first, second = run.json()["layers"]
            self.assertEqual((first["verdict"], second["verdict"]), ("verified", "differs"))
            self.assertEqual({d["path"]: d["differs"] for d in second["differences"]},
                             {"/usr/bin/tool": ["content"], "/usr/bin/dropped": ["added"], "/etc/tool.conf": ["mode"]})
            os.rename(conf, conf + ".away")
            run = self.expect(ctriage("image", "verify", f"{NS}/web"), 1)
            self.assertIn(b"missing", run.out)
        finally:
            with open(target, "r+b") as file:
                file.write(TOOL)
            os.unlink(directory + "/usr/bin/dropped")
            if os.path.exists(conf + ".away"):
                os.rename(conf + ".away", conf)
            os.chmod(conf, 0o644)
        self.expect(ctriage("image", "verify", f"{NS}/web"), 0)

    def test_without_the_blob(self):
        """containerd may throw blobs away when they are unpacked: then the packages' checksums are what there is."""
        layers = self.expect(ctriage("image", "verify", f"{NS}/web", "--json"), 0).json()["layers"]
        store = self.lab.base + "/root/io.containerd.content.v1.content/blobs/sha256"
        blob = next(path for path in glob.glob(store + "/*") if "sha256:" + self.plain_digest(path) == layers[1]["digest"])
        os.rename(blob, blob + ".away")
        try:
            told = self.expect(ctriage("image", "verify", f"{NS}/web", "--json"), 0).json()
            self.assertEqual([one["verdict"] for one in told["layers"]], ["verified", "not_verifiable"])
            self.assertEqual((told["packages"]["compared"], told["packages"]["differ"]), (2, []))
            self.assertTrue(told["layers"][1]["why"])
        finally:
            os.rename(blob + ".away", blob)

    @staticmethod
    def plain_digest(path):
        """SHA-256 of a blob, unpacked where it is a gzip file."""
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        data = subprocess.run(["gzip", "-dc", path] if packed else ["cat", path], stdout=subprocess.PIPE, check=True).stdout
        return hashlib.sha256(data).hexdigest()

    def test_other_sources(self):
        """A bundle has no image: that is said, and is no empty answer."""
        out = self.temp()
        self.expect(ctriage("collect", f"{NS}/web", "-o", out), 0, 3)
        run = self.expect(ctriage("image", "packages", self.one_bundle(out)), 1)
        self.assertIn(b"a bundle has the upper layer only", run.err)
        run = self.expect(ctriage("image", "verify", self.one_bundle(out)), 1)
        self.assertIn(b"no image store", run.err)


class Podman(Case):
    @classmethod
    def setUpClass(cls):
        lab.need("podman", "runc")
        cls.engine = engines.Podman()
        cls.addClassCleanup(cls.engine.stop)
        cls.container = cls.engine.start("verified", "exec sleep 1000000")

    def test_verify(self):
        """The tar of each layer, made again from its directory by tar-split, has the diff id."""
        run = self.expect(ctriage("image", "verify", self.container[:12], "--json"), 0, 3)
        layers = run.json()["layers"]
        self.assertEqual({(one["verdict"], one.get("by")) for one in layers}, {("verified", "digest")}, run.out)
        (directory,) = {one["path"] for one in layers if one["number"] == 1}
        if os.path.basename(os.path.dirname(directory)) == "l":
            directory = os.path.join(os.path.dirname(directory), os.readlink(directory))
        busybox = directory + "/bin/busybox"
        kept = self.temp() + "/busybox"
        shutil.copy2(busybox, kept)
        try:
            with open(busybox, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                last = file.read(1)
                file.seek(-1, os.SEEK_END)
                file.write(bytes([last[0] ^ 1]))
            told = self.expect(ctriage("image", "verify", self.container[:12], "--json"), 1).json()["layers"][0]
            self.assertEqual(told["verdict"], "differs")
            self.assertIn({"path": "/bin/busybox", "differs": ["content"]}, told["differences"])
        finally:
            with open(busybox, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(last)


class Docker(Case):
    @classmethod
    def setUpClass(cls):
        lab.need("dockerd", "docker", "runc")
        cls.engine = engines.Docker()
        cls.addClassCleanup(cls.engine.stop)
        cls.engine.start("verified", "exec sleep 1000000")

    def test_verify(self):
        """By tar-split, too; Docker's own layer on top is none of the image's."""
        layers = self.expect(ctriage("image", "verify", "verified", "--json"), 0, 3).json()["layers"]
        self.assertEqual({(one["verdict"], one["by"]) for one in layers if one.get("digest")}, {("verified", "digest")}, layers)
        (own,) = [one for one in layers if not one.get("digest")]
        self.assertIn("Docker's own", own["why"])
