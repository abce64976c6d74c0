"""Images in archives: what Docker and Podman save, in each form, against what was put into the image."""
import os
import subprocess

import engines
import lab
from lab import Case, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()


class Saved(Case):
    """What all forms have to say."""

    def look_at(self, source):
        listed = self.expect(ctriage("ls", f"{source}:/opt", "--json"), 0).json()
        names = {entry["path"] for entry in listed["files"]}
        self.assertEqual(names, {"/" + "/".join(name.split("/")[:2]) for name in engines.FILES})
        for name, text in engines.FILES.items():
            self.assertEqual(self.expect(ctriage("cat", f"{source}:/{name}"), 0).out, text.encode())
        with open("/bin/busybox", "rb") as file:
            busybox = file.read()
        out = os.path.join(self.temp(), "out")
        self.expect(ctriage("cp", f"{source}:/bin/busybox", out), 0)
        with open(out if os.path.isfile(out) else os.path.join(out, "busybox"), "rb") as file:
            self.assertEqual(file.read(), busybox)
        verified = self.expect(ctriage("image", "verify", source, "--json"), 0).json()
        self.assertEqual([layer["verdict"] for layer in verified["layers"]], ["verified"] * 2)
        shown = self.expect(ctriage("show", source), 0).out
        self.assertIn(b"an image has no processes", shown)
        self.assertIn(b"/bin/sleep", shown)

    def change(self, path, old, new):
        with open(path, "rb") as file:
            data = file.read()
        self.assertIn(old, data)
        with open(path, "wb") as file:
            file.write(data.replace(old, new))


class OfPodman(Saved):
    @classmethod
    def setUpClass(cls):
        lab.need("podman", "runc")
        cls.engine = engines.Podman()
        cls.addClassCleanup(cls.engine.stop)

    def save(self, form, name):
        path = os.path.join(self.temp(), name)
        self.engine.run("save", "-q", "--format", form, "-o", path, engines.IMAGE)
        return path

    def test_forms(self):
        for form in ("docker-archive", "oci-archive", "oci-dir", "docker-dir"):
            with self.subTest(form):
                path = self.save(form, "image")
                if form == "docker-dir":  # blobs beside a manifest, neither layout nor archive
                    self.expect(ctriage("ls", f"{path}:/"), 1)
                    continue
                self.look_at(path)

    def test_compressed(self):
        path = self.save("docker-archive", "image.tar")
        for program in ("gzip", "xz"):
            with self.subTest(program):
                subprocess.run([program, "-k", "-1", path], check=True)
                self.look_at(path + {"gzip": ".gz", "xz": ".xz"}[program])

    def test_changed(self):
        path = self.save("docker-archive", "image.tar")
        self.change(path, b"kept\n", b"KEPT\n")
        run = self.expect(ctriage("cat", f"{path}:/opt/kept"), 3)
        self.assertEqual(run.out, b"KEPT\n")
        self.assertIn(b"SHA-256", run.err)
        verified = self.expect(ctriage("image", "verify", path, "--json"), 1).json()
        self.assertEqual([layer["verdict"] for layer in verified["layers"]], ["verified", "differs"])

    def test_two_images(self):
        self.engine.run("tag", engines.IMAGE, "localhost/second:2")
        self.addCleanup(self.engine.run, "untag", engines.IMAGE, "localhost/second:2")
        path = os.path.join(self.temp(), "both.tar")
        self.engine.run("save", "-q", "-m", "-o", path, engines.IMAGE, "localhost/second:2")
        self.look_at(path)  # one image by two names


class OfDocker(Saved):
    @classmethod
    def setUpClass(cls):
        lab.need("dockerd", "docker", "containerd", "runc")
        cls.engine = engines.Docker()
        cls.addClassCleanup(cls.engine.stop)

    def test_saved(self):
        path = os.path.join(self.temp(), "image.tar")
        self.engine.run("save", "-o", path, engines.IMAGE)
        self.look_at(path)
        layers = self.expect(ctriage("image", "verify", path, "--json"), 0).json()["layers"]
        inspected = self.engine.run("image", "inspect", "--format", "{{join .RootFS.Layers \" \"}}", engines.IMAGE).stdout
        self.assertEqual([layer["digest"] for layer in layers], inspected.split())
