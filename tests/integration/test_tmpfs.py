"""The tmpfs of a container: taken with all that is in them, and nothing else of the node's memory."""
import io
import os
import socket
import tarfile

import lab
from lab import Box, BoxCase, Containerd, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "zstd")


def tree(bundle, container, mount):
    """The layer of one tmpfs: name to (TarInfo, bytes of a regular file)."""
    data = bundle.bytes(f"containers/{container}/tmpfs/{mount}.tar.zst")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name.rstrip("/"): (m, tar.extractfile(m).read() if m.isreg() else None) for m in tar}


class OfABox(BoxCase):
    def box(self, script):
        made = Box(script + "echo tmpfs-is-full; while :; do sleep 1000; done", wait_for="tmpfs-is-full")
        self.addCleanup(made.stop)
        return made

    def test_everything_in_it(self):
        box = self.box("""
mkdir -p /dev/shm/.x
cp /bin/busybox /dev/shm/.x/run
chmod 4755 /dev/shm/.x/run
ln -s /etc/shadow /dev/shm/link
mkfifo /dev/shm/fifo
echo secret > /dev/shm/loot
dd if=/dev/zero of=/dev/shm/sparse bs=1 count=1 seek=100000000 2>/dev/null
mount -t tmpfs -o size=1m,mode=700 hidden /opt
echo under > /opt/below
mount -t tmpfs over /opt
echo over > /opt/above
""")
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(f"{box.root}/dev/shm/sock")
        run, bundle = self.collect(box, 3)
        lost = [(g["origin"], g["reason"]) for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"]
        self.assertEqual(lost, [("/opt", "another mount lies over this tmpfs: what is in it is not seen")])
        self.expect(ctriage("verify", bundle.path), 0)
        dev = tree(bundle, self.container, "dev")
        self.assertEqual(dev["shm/loot"][1], b"secret\n")
        self.assertEqual(dev["shm/.x/run"][0].mode, 0o4755)
        with open("/bin/busybox", "rb") as file:
            self.assertEqual(dev["shm/.x/run"][1], file.read())
        self.assertEqual(dev["shm/link"][0].linkname, "/etc/shadow")
        self.assertTrue(dev["shm/fifo"][0].isfifo())
        self.assertTrue(dev["null"][0].ischr())
        self.assertEqual(dev["shm/sparse"][0].size, 100000001)
        self.assertLess(len(bundle.bytes(f"containers/{self.container}/tmpfs/dev.tar.zst")), 10 << 20)
        files = {r["path"]: r for r in bundle.records(f"containers/{self.container}/tmpfs/dev.jsonl")}
        self.assertEqual(files["/dev/shm/.x/run"]["file"]["sha256"], lab.sha256_file("/bin/busybox"))
        self.assertTrue(files["/dev/shm/.x/run"]["program"])
        self.assertEqual(files["/dev/shm/sock"]["file"]["type"], "socket")
        self.assertEqual(files["/dev/shm/loot"]["mount"], "/dev")
        # What is mounted over a tmpfs hides it: the mount table says so, and what shows is taken.
        self.assertEqual([n for n in tree(bundle, self.container, "opt") if n != "."], ["above"])

    def test_of_the_node_not_taken(self):
        """A process of the host has the node's own tmpfs, which are not the target's."""
        sleeper = lab.subprocess.Popen(["sleep", "100"])
        self.addCleanup(lambda: (sleeper.kill(), sleeper.wait()))
        out = self.temp()
        self.expect(ctriage("collect", f"pid:{sleeper.pid}", "-o", out), 0)
        with lab.Bundle(self.one_bundle(out)) as bundle:
            self.assertEqual([n for n in bundle.streams if "/tmpfs/" in n], [])


class OfAPod(lab.Case):
    def test_shm_of_the_pod_and_no_false_gaps(self):
        lab.need("containerd", "runc", "ctr")
        containerd = Containerd()
        self.addCleanup(containerd.stop)
        containerd.add_images({"/etc/of-the-app": b"x\n"})
        ns = f"tmpfs-{os.getpid()}"
        pod = containerd.run_pod(ns, "mem", "app", "echo loot > /dev/shm/loot; echo filled; exec sleep 7777")
        pod.wait_for_log("filled")
        out = self.temp()
        self.expect(ctriage("collect", f"{ns}/mem", "-o", out), 0)
        with lab.Bundle(self.one_bundle(out)) as bundle:
            self.assertEqual(tree(bundle, "app", "dev%2Fshm")["loot"][1], b"loot\n")
            self.assertIn("null", tree(bundle, "app", "dev"))
            gaps = [g for g in bundle.records("gaps.jsonl")
                    if g["artifact"].startswith(("container.tmpfs", "tree.")) and g["impact"] != "note"]
            self.assertEqual(gaps, [])
