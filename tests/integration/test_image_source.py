"""Images in archives: what Docker and Podman save, in each form, against what was put into the image."""
import os
import shutil
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


class Hostile(Case):
    def test_a_name_over_the_limit_hides_nothing_else(self):
        path = os.path.join(self.temp(), "image.tar")
        lab.image_archive(path, "x:1", [{"a/" * 3000 + "x": b"1", "b/y": b"2"}], ["/y"])
        run = self.expect(ctriage("ls", f"{path}:/b"), 3)
        self.assertIn(b"y", run.out)
        self.assertIn(b"a name over", run.out + run.err)
        self.assertEqual(self.expect(ctriage("cat", f"{path}:/b/y"), 3).out, b"2")
        run = self.expect(ctriage("cat", f"{path}:/none"), 1)
        self.assertIn(b"not found in what could be read", run.out + run.err)


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


class Libraries(Case):
    """An image of this machine's own programs and libraries, against ldd and dpkg."""

    def test_deps(self):
        lab.need("bash", "ldd", "dpkg")
        base = self.temp()
        program = os.path.realpath("/bin/bash")
        listed = subprocess.run(["ldd", program], stdout=subprocess.PIPE, check=True, text=True).stdout
        libraries = {word for line in listed.splitlines() for word in line.split() if word.startswith("/")}
        lower, upper = os.path.join(base, "lower"), os.path.join(base, "upper")
        for path in sorted(libraries | {program}):
            real = os.path.realpath(path)
            for name in {path, real}:
                to = upper + os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copyfile(real, to)
                os.chmod(to, 0o755)
        os.makedirs(lower + "/var/lib/dpkg/info")
        for name in ("lib", "lib64", "bin"):
            if os.path.islink(f"/{name}"):
                os.symlink(os.readlink(f"/{name}"), f"{lower}/{name}")
        packages = [name for name in ("bash", "libc6", "libtinfo6", "tzdata", "base-files")
                    if subprocess.run(["dpkg", "-s", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      check=False).returncode == 0]
        with open(lower + "/var/lib/dpkg/status", "w", encoding="utf-8") as status:
            for name in packages:
                status.write(subprocess.run(["dpkg", "-s", name], stdout=subprocess.PIPE, check=True, text=True).stdout + "\n")
                owned = subprocess.run(["dpkg", "-L", name], stdout=subprocess.PIPE, check=True, text=True).stdout
                with open(f"{lower}/var/lib/dpkg/info/{name}.list", "w", encoding="utf-8") as file:
                    file.write(owned)
        archive = os.path.join(base, "image.tar")
        lab.image_archive(archive, "localhost/deps:1", [lower, upper], [program])
        told = self.expect(ctriage("image", "deps", archive, "--json"), 0).json()
        files = {file["path"]: file for file in told["files"]}
        self.assertEqual([file for file in told["files"] if "missing" in file], [])
        self.assertEqual({file["needed_as"] for file in told["files"]} - {program},
                         {path if "/ld-" in path else os.path.basename(path) for path in libraries})
        self.assertEqual(files[program]["sha256"], lab.sha256_file(program))
        role = {package["name"]: package["role"] for package in told["packages"]}
        self.assertEqual(set(role), set(packages))
        self.assertEqual((role["bash"], role["libc6"]), ("loaded", "loaded"))
        if "tzdata" in role:
            self.assertEqual(role["tzdata"], "never_loaded")
        if "base-files" in role:  # bash pre-depends on it
            self.assertEqual(role["base-files"], "dependency")
        text = self.expect(ctriage("image", "deps", archive, "--all"), 0).out
        self.assertIn(lab.sha256_file(program).encode(), text)

    def test_a_library_that_is_not_there(self):
        base = self.temp()
        os.makedirs(base + "/lower/bin")
        os.makedirs(base + "/upper")
        shutil.copyfile("/bin/bash", base + "/lower/bin/bash")
        os.chmod(base + "/lower/bin/bash", 0o755)
        archive = os.path.join(base, "image.tar")
        lab.image_archive(archive, "localhost/deps:2", [base + "/lower", base + "/upper"], ["bash"])
        told = self.expect(ctriage("image", "deps", archive, "--json"), 0).json()
        self.assertIn("libc.so.6", {file["needed_as"] for file in told["files"] if "missing" in file})
