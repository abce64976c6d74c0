"""A user's Podman, looked at as root on the node: with the kernel's overlayfs and with fuse-overlayfs."""
import os

import engines
import lab
from lab import Bundle, ctriage
from test_engines import TAG, OneContainer, expanded, listed, our_changes

USER = engines.RootlessPodman


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("podman", "conmon", "runc", "newuidmap", "setpriv")


class Rootless(OneContainer):
    def ready(self, pid):
        """The last thing that the script does is to become another program; a user's FUSE mount is closed to root."""
        def replaced():
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return b"sleep\0" in file.read()
        engines.wait_until(replaced, "the container's script")

    def test_list(self):
        container = listed(self)[self.container_id]
        self.assertEqual((container["name"], container["engine"]), (self.name, "podman"))
        self.assertEqual(container["engine_namespace"], f"uid {USER.UID}")
        self.assertEqual((container["state"], container["init_pid"]), ("running", self.pid))
        self.assertEqual(container["image"], engines.IMAGE)
        self.assertEqual(container["runs"], ["image"])
        self.assertEqual(container["engine_root"], self.engine.root)

    def test_dropped_program(self):
        dropped = self.engine.start(f"drop-{TAG}", "cp /bin/busybox /opt/sleep; echo ready > /tmp/ready; exec /opt/sleep 1000000")
        pid = self.engine.inspect(f"drop-{TAG}")["State"]["Pid"]
        self.ready(pid)
        self.assertEqual(listed(self)[dropped]["runs"], ["upper"])

    def test_names(self):
        self.check_names(self.container_id, (self.name, f"podman://{self.container_id}", f"pid:{self.pid}"))

    def test_diff_agrees_with_podman(self):
        theirs = engines.parse_changes(self.engine.run("diff", self.name).stdout)
        ours, stubs = our_changes(self, self.name)
        self.assertIn("/etc/hostname", stubs)
        for path in ("/etc/mtab", "/run"):  # what test_engines.py says of root's Podman
            self.assertEqual(ours.pop(path), "A")
            theirs.pop(path, None)
        for changes in (theirs, ours):
            changes.pop("/opt/again", None)
        ours = {path: letter for path, letter in ours.items() if path != "/opt/again/x"}
        self.assertEqual(expanded(ours, theirs), theirs)
        self.assertGreater(len(theirs), 10)

    def test_owners_are_the_nodes(self):
        """On one scale: the image's root is the user, before as after."""
        changes = self.expect(ctriage("diff", self.name, "--all", "--json"), 0, 3).json()["changes"]
        by_path = {lab.path_of(change).decode(): change for change in changes}
        mode = by_path["/opt/mode"]
        self.assertEqual((mode["kind"], mode["differs"]), ("metadata", ["mode"]))
        self.assertEqual(mode["before"]["uid"], mode["after"]["uid"])
        self.assertEqual(by_path["/opt/new"]["after"]["uid"], USER.UID)

    def test_files(self):
        self.assertEqual(self.expect(ctriage("cat", f"{self.name}:/opt/new"), 0).out, b"new\n")
        self.assertEqual(self.expect(ctriage("cat", f"{self.name}:/opt/kept"), 0).out, b"kept\n")
        self.expect(ctriage("cat", f"{self.name}:/opt/readme"), 1)
        names = self.expect(ctriage("ls", f"{self.name}:/opt"), 0).out
        self.assertIn(b"elsewhere", names)
        for gone in (b"readme", b"tree", b".wh."):
            self.assertNotIn(gone, names)

    def test_show(self):
        shown = self.expect(ctriage("show", self.name, "--json"), 0, 3).json()
        levels = {c["facet"]: c["level"] for c in shown["coverage"]}
        self.assertEqual((levels["changes"], levels["processes"], levels["layers"]), ("whole", "whole", "whole"))

    def test_collect(self):
        out = self.temp()
        self.expect(ctriage("collect", self.name, "-o", out), 0, 3)
        self.expect(ctriage("verify", self.one_bundle(out)), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            (member,) = bundle.containers()
            layer = bundle.layer(member)
            self.assertEqual(layer["opt/new"][1], lab.hashlib.sha256(b"new\n").hexdigest())
            self.assertIn("opt/.wh.readme", layer)
            processes = bundle.records(f"containers/{member}/processes.jsonl")
            self.assertEqual([p["argv"] for p in processes], [["sleep", "1000000"]])
            lost = {g["artifact"] for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"}
            self.assertEqual(lost - self.LOST, set())


class KernelOverlay(Rootless):
    LOST = {"container.tmpfs"}  # the node's devices are mounted over the container's /dev

    @classmethod
    def setUpClass(cls):
        cls.start(engines.RootlessPodman(), f"kern-{TAG}")


class FuseOverlay(Rootless):
    # Programs and libraries are not opened through FUSE, and no way to what is mounted below leads over it.
    LOST = {"container.tmpfs", "container.volumes", "proc.exe", "proc.library"}

    @classmethod
    def setUpClass(cls):
        lab.need("fuse-overlayfs")
        if not os.path.exists("/dev/fuse"):
            raise lab.unittest.SkipTest("needs /dev/fuse")
        cls.start(engines.RootlessPodman(fuse=True), f"fuse-{TAG}")

    def test_root_is_fuse(self):
        with open(f"/proc/{self.pid}/mountinfo", encoding="utf-8") as file:
            self.assertIn(" / / ", text := file.readline())
        self.assertIn(" - fuse.fuse-overlayfs ", text)

    def test_silent_server(self):
        """A server that does not answer keeps nobody waiting."""
        changes = self.expect(ctriage("diff", self.name, "--json"), 0, 3).json()["changes"]
        (server,) = self.servers()
        os.kill(server, lab.signal.SIGSTOP)
        try:
            self.assertEqual(listed(self)[self.container_id]["runs"], ["image"])
            self.assertEqual(self.expect(ctriage("diff", self.name, "--json", timeout=60), 0, 3).json()["changes"], changes)
        finally:
            os.kill(server, lab.signal.SIGCONT)

    def servers(self):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    text = file.read()
            except OSError:
                continue
            if text.startswith(b"/usr/bin/fuse-overlayfs\0") and self.layer().encode() in text:
                yield int(pid)

    def layer(self):
        return os.path.basename(os.path.dirname(self.engine.inspect(self.name)["GraphDriver"]["Data"]["UpperDir"]))


del OneContainer, Rootless
