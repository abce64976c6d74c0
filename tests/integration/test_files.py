"""ls, cat and cp: what they show is what the container sees (nsenter is the oracle), one layer alone, and bundles."""
import hashlib
import os
import subprocess

import lab
from lab import Box, Bundle, Case, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "nsenter", "pivot_root", "zstd")


ODD = "odd \x1b[2J\nname"

PLAY = r"""
mkdir -p /etc/conf /opt/app/deep; echo one > /etc/conf/a; echo two > /etc/conf/b; ln -s conf/a /etc/link; ln -s /opt/app /app
ln -s loop2 /etc/loop1; ln -s loop1 /etc/loop2; ln -s ../../../../../../etc/conf/b /opt/app/up
cp /bin/busybox /opt/app/deep/tool; chmod 4755 /opt/app/deep/tool; ln /opt/app/deep/tool /opt/app/second
printf 'head' > /opt/app/sparse; dd if=/dev/zero of=/opt/app/sparse bs=1 count=1 seek=3000000 conv=notrunc 2>/dev/null
mkfifo /opt/app/pipe; rm /etc/hostname 2>/dev/null; mkdir /tmp/x; mount -t tmpfs t /tmp/x; echo hidden > /tmp/x/inside
printf 'bytes' > "/opt/app/$1"
echo played; while :; do sleep 1000; done
"""


class Files(Case):
    @classmethod
    def setUpClass(cls):
        play = f"set -- '{ODD}'\n" + PLAY
        cls.box = Box(play, files={"/etc/hostname": b"web\n"}, wait_for="played")
        cls.addClassCleanup(cls.box.stop)

    def source(self, path):
        return f"pid:{self.box.pid}:{path}"

    def inside(self, *command):
        return subprocess.run(["nsenter", "-t", str(self.box.pid), "-m", "-r", "/bin/busybox", *command], stdout=subprocess.PIPE,
                              check=True).stdout

    def listed(self, path, *options, statuses=(0, 3)):
        run = self.expect(ctriage("ls", path, "--json", *options), *statuses)
        return {lab.path_of(f).decode("utf-8", "surrogateescape"): f for f in run.json()["files"]}, run.json()["gaps"]

    def test_directories_are_what_the_container_sees(self):
        for directory in ("/", "/etc", "/etc/conf", "/opt/app", "/app", "/bin", "/app/deep/.."):
            with self.subTest(directory):
                files, _ = self.listed(self.source(directory), statuses=(0,))
                names = {os.path.basename(name) for name in files}
                seen = self.inside("find", directory + "/", "-mindepth", "1", "-maxdepth", "1", "-print0").split(b"\0")
                self.assertEqual(names, {os.path.basename(name.decode()) for name in seen if name})
        files, _ = self.listed(self.source("/opt/app"))
        tool = self.listed(self.source("/opt/app/deep"))[0]["/opt/app/deep/tool"]["file"]
        self.assertEqual((tool["mode"], tool["setuid"], tool["nlink"]), (0o4755, True, 2))
        self.assertEqual(files["/opt/app/up"]["file"]["link_target"], "../../../../../../etc/conf/b")
        self.assertEqual(files["/opt/app/pipe"]["file"]["type"], "fifo")
        self.assertNotIn("/etc/hostname", self.listed(self.source("/etc"))[0])

    def test_text_is_printable(self):
        run = self.expect(ctriage("ls", self.source("/opt/app")), 0)
        self.assertNotIn(b"\x1b", run.out)
        self.assertIn(b"-4755", run.out)
        self.assertIn(b" -> ../../../../../../etc/conf/b", run.out)

    def test_cat(self):
        for path in ("/etc/conf/a", "/etc/link", "/app/up", "/app/deep/tool", "/opt/app/sparse", "/bin/busybox", "/opt/app/" + ODD):
            with self.subTest(path):
                run = self.expect(ctriage("cat", self.source(path)), 0)
                self.assertEqual(hashlib.sha256(run.out).hexdigest(), hashlib.sha256(self.inside("cat", path)).hexdigest())

    def test_what_cannot_be_shown(self):
        for path, why in (("/etc/loop1", b"more than 40 links"), ("/etc/nothing", b"no such file"), ("/etc/conf/a/b", b"not a directory"),
                          ("/opt/app/pipe", b"not a regular file"), ("/etc/hostname", b"no such file")):
            with self.subTest(path):
                run = self.expect(ctriage("cat", self.source(path)), 1)
                self.assertEqual(run.out, b"")
                self.assertIn(why, run.err)
        self.assertIn(b"SOURCE:/path", self.expect(ctriage("cat", f"pid:{self.box.pid}"), 2).err)
        self.assertIn(b"a mount (tmpfs)", self.expect(ctriage("cat", self.source("/tmp/x/inside")), 1).err)

    def test_a_mount_over_it_is_said(self):
        files, gaps = self.listed(self.source("/tmp/x"), statuses=(3,))
        self.assertEqual(files, {})
        self.assertIn("what the container sees there is not in its layers", gaps[-1]["reason"])
        _, gaps = self.listed(self.source("/tmp"), statuses=(0,))
        self.assertEqual([g["origin"] for g in gaps if g["artifact"] == "container.files"], ["/tmp/x"])

    def test_layers(self):
        upper, _ = self.listed(self.source("/etc"), "--layer", "upper")
        self.assertEqual(upper["/etc/hostname"]["file"]["type"], "character")  # the whiteout, as it lies there
        image, _ = self.listed(self.source("/etc"), "--layer", "2")
        self.assertEqual(image["/etc/hostname"]["file"]["type"], "regular")
        self.assertNotIn("/etc/conf", image)
        self.assertEqual(self.expect(ctriage("cat", self.source("/etc/hostname"), "--layer", "2"), 0).out, b"web\n")
        with open("/bin/busybox", "rb") as file:
            self.assertEqual(self.expect(ctriage("cat", self.source("/bin/busybox"), "--layer", "1"), 0).out, file.read())
        self.expect(ctriage("ls", self.source("/etc"), "--layer", "99"), 1)
        self.expect(ctriage("ls", self.source("/etc"), "--layer", "x"), 2)

    def test_cp(self):
        out = self.temp()
        run = self.expect(ctriage("cp", self.source("/opt/app/deep/tool"), out), 0)
        with open("/bin/busybox", "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        self.assertEqual(run.out.decode(), f"{digest}  /opt/app/deep/tool\n")
        self.assertEqual(os.stat(out + "/tool").st_mode & 0o7777, 0o600)
        again = self.expect(ctriage("cp", self.source("/opt/app/deep/tool"), out), 1)
        self.assertIn(b"tool", again.err)
        self.expect(ctriage("cp", self.source("/opt/app"), out + "/tree"), 0)
        self.assertEqual(sorted(os.listdir(out + "/tree")), sorted(["deep", "second", "sparse", ODD]))
        self.assertEqual(os.listdir(out + "/tree/deep"), ["tool"])

    def test_bundle(self):
        out = self.temp()
        self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", out), 0, 3)
        path = self.one_bundle(out)
        files, _ = self.listed(path + ":/opt/app")
        self.assertIn("/opt/app/second", files)
        self.assertEqual(self.expect(ctriage("cat", path + ":/etc/conf/a"), 0).out, b"one\n")
        for name in ("/opt/app/second", "/opt/app/deep/tool", "/opt/app/sparse", "/opt/app/" + ODD):
            with self.subTest(name):
                run = self.expect(ctriage("cat", path + ":" + name), 0)
                self.assertEqual(run.out, self.inside("cat", name))
        self.assertEqual(self.expect(ctriage("cat", path + ":/tmp/x/inside"), 0).out, b"hidden\n")
        self.assertIn(b"a link to conf/a", self.expect(ctriage("cat", path + ":/etc/link"), 1).err)
        self.assertIn(b"not in this bundle", self.expect(ctriage("cat", path + ":/bin/busybox"), 1).err)
        self.assertIn(b"deleted, was in layer 2", self.expect(ctriage("cat", path + ":/etc/hostname"), 1).err)
        self.assertIn(b"upper layer only", self.expect(ctriage("cat", path + ":/bin/busybox", "--layer", "1"), 1).err)
        os.mkdir(out + "/copies")
        self.expect(ctriage("cp", path + ":/opt/app/second", out + "/copies"), 0)
        with Bundle(path) as bundle, open(out + "/copies/second", "rb") as file:
            (container,) = bundle.containers()
            digests = {c["after"].get("sha256") for c in bundle.records(f"containers/{container}/changes.jsonl")
                       if c["path"] == "/opt/app/second"}
            self.assertEqual({hashlib.sha256(file.read()).hexdigest()}, digests)
