"""Writable volumes of real containers: listed whole, bytes of programs and small files, nothing beyond them."""
import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile

import engines
import fuse
import lab
from lab import Bundle, Containerd, ctriage

NS = f"vol-{os.getpid()}"


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("zstd", "find")


def member(mountpoint):
    return mountpoint[1:].replace("/", "%2F")


def tree(bundle, container, mountpoint):
    """The layer of one volume: name to (TarInfo, SHA-256 of a regular file), in the order of the archive."""
    data = bundle.bytes(f"containers/{container}/volumes/{member(mountpoint)}.tar.zst")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {}
        for m in tar:
            digest = None
            if m.isreg():
                digest = lab.hashlib.sha256(tar.extractfile(m).read()).hexdigest()
            found[m.name.rstrip("/")] = (m, digest)
        return found


def listed(bundle, container, mountpoint):
    return {lab.path_of(r).decode(errors="surrogateescape"): r
            for r in bundle.records(f"containers/{container}/volumes/{member(mountpoint)}.jsonl")}


def names_below(directory):
    """find(1)'s names of one file system."""
    out = subprocess.run(["find", directory, "-xdev", "-mindepth", "1", "-printf", r"%P\0"], stdout=subprocess.PIPE, check=True)
    return sorted(os.fsdecode(name) for name in out.stdout.split(b"\0") if name)


def volume_gaps(bundle, impact=None):
    return [(g["impact"], g["origin"], g["reason"]) for g in bundle.records("gaps.jsonl")
            if g["artifact"].startswith(("container.volumes", "tree.")) and impact in (None, g["impact"])]


class WithPlaces(lab.Case):
    """`base` is a place on a disk of the node, `pods` the volumes of a pod in a kubelet's directory there."""

    @classmethod
    def setUpClass(cls):
        lab.need("containerd", "runc", "ctr")
        cls.base = tempfile.mkdtemp(prefix="ctriage-volumes-", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.base)
        cls.pods = f"{cls.base}/kubelet/pods/0c6a/volumes"


class OfAPod(WithPlaces):
    """One pod of two containers with volumes of every kind."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cache, cls.claim = f"{cls.pods}/kubernetes.io~empty-dir/cache", f"{cls.pods}/kubernetes.io~csi/pvc/mount"
        cls.host, cls.only, cls.memory, cls.file = (f"{cls.base}/{name}" for name in ("host", "only", "memory", "file"))
        for path in (cls.cache, cls.claim, cls.host, cls.only, cls.memory):
            os.makedirs(path)
        cls.fill(cls.host)
        with open(cls.file, "w", encoding="ascii") as file:
            file.write("one file\n")
        for path, options in ((cls.memory, "size=64m"), (f"{cls.host}/nested", "size=1m")):
            os.makedirs(path, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "ctriage-volume", path], check=True)
            cls.addClassCleanup(subprocess.run, ["umount", path], check=True)
        with open(f"{cls.host}/nested/inside", "w", encoding="ascii") as file:
            file.write("nested\n")
        for name, mode in (("huge", 0o644), ("huge-run", 0o755)):
            os.close(os.open(f"{cls.memory}/{name}", os.O_CREAT | os.O_WRONLY, mode))
            os.truncate(f"{cls.memory}/{name}", 2**63 - 1)
        # ctime tells old from new: older than the start by more than the slack.
        lab.time.sleep(3)
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/etc/of-the-app": b"x\n"})
        mounts = (("/cache", cls.cache, False), ("/data", cls.claim, False), ("/host", cls.host, False),
                  ("/again", cls.host, False), ("/part", f"{cls.host}/dir", False), ("/only", cls.only, True),
                  ("/memory", cls.memory, False), ("/etc/file", cls.file, False))
        cls.pod = cls.lab.run_pod(NS, "web", "app",
                                  "cp /bin/busybox /cache/busybox; echo loot > /cache/loot; echo row > /data/row; ln -s /etc/shadow /data/link;"
                                  "echo dropped > /host/z-new; cp /bin/busybox /host/new-program; /cache/busybox sleep 7777 & echo filled;"
                                  "exec sleep 7777", mounts=mounts, more=("side",))
        cls.pod.wait_for_log("filled")
        lab.time.sleep(0.5)
        cls.out = tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.out)
        cls.before = cls.times()
        cls.run_ = ctriage("collect", f"{NS}/web", "-o", cls.out, "--json")
        cls.after = cls.times()
        (name,) = [n for n in os.listdir(cls.out) if n.endswith(".tar")]
        cls.bundle = Bundle(os.path.join(cls.out, name))
        cls.addClassCleanup(cls.bundle.close)

    @classmethod
    def fill(cls, top):
        """Everything that an attacker may put there, and what is there in peace."""
        subprocess.run(["/bin/bash", "-c", r"""
            mkdir -p dir/deep nested; printf old > dir/deep/old; printf x > plain; ln plain twice; ln -s /etc/shadow link; ln -s / up
            mkfifo fifo; mknod null c 1 3; printf n > $'new\nline'; printf e > $'esc\e[31m'; printf b > $'bad\xff'
            printf '#!/bin/sh\n' > script; truncate -s 12M script; truncate -s 12M large; cp /bin/busybox program
            truncate -s 12M program; truncate -s 9M large-run; chmod 755 large-run
            printf s > suid; chmod 4755 suid; ln large large-too"""], cwd=top, check=True)
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(f"{top}/sock")

    @classmethod
    def times(cls):
        """Access times of all that was there before, links included."""
        found = {}
        for top in (cls.host, cls.cache):
            for directory, _, files in os.walk(top):
                for path in [directory] + [os.path.join(directory, name) for name in files]:
                    found[path] = os.lstat(path).st_atime_ns
        return found

    def test_status_and_verify(self):
        self.expect(self.run_, 0)
        self.expect(ctriage("verify", self.bundle.path), 0)
        self.assertEqual(self.run_.json()["counts"]["volumes"], 6)
        self.assertEqual(volume_gaps(self.bundle, "lost"), [])

    def test_every_name_once(self):
        for mountpoint, directory in (("/host", self.host), ("/cache", self.cache), ("/data", self.claim), ("/memory", self.memory)):
            with self.subTest(mountpoint):
                records = self.bundle.records(f"containers/app/volumes/{member(mountpoint)}.jsonl")
                ours = sorted(os.fsdecode(lab.path_of(r))[len(mountpoint) + 1:] for r in records if lab.path_of(r) != mountpoint.encode())
                # What is mounted inside is a volume by itself, whose place is listed here where a clone shows it.
                self.assertEqual(ours, [n for n in names_below(directory) if not n.startswith("nested/")])

    def test_bytes_of_programs_and_small_files(self):
        layer, files = tree(self.bundle, "app", "/host"), listed(self.bundle, "app", "/host")
        left = {"large", "large-too"}
        for name in names_below(self.host):
            path = os.path.join(self.host, name)
            if name.startswith("nested/") or os.path.islink(path) or not os.path.isfile(path):
                continue
            with self.subTest(name):
                record = files[f"/host/{name}"]
                if name in left:
                    self.assertNotIn(name, layer)
                    self.assertEqual(record["partial"], "over --volume-max 8.0 MiB")
                    self.assertNotIn("sha256", record["file"])
                    continue
                digest = lab.sha256_file(path)
                self.assertEqual(record["file"]["sha256"], digest)
                stored = layer[name]
                if stored[0].islnk():
                    stored = layer[stored[0].linkname]
                self.assertEqual(stored[1], digest)
        self.assertTrue(files["/host/large-run"]["program"] and files["/host/script"]["program"] and files["/host/program"]["program"])
        self.assertEqual(layer["link"][0].linkname, "/etc/shadow")
        self.assertTrue(layer["fifo"][0].isfifo() and layer["null"][0].ischr())
        self.assertEqual(files["/host/sock"]["file"]["type"], "socket")
        self.assertEqual(layer["suid"][0].mode, 0o4755)

    def test_stock_tar_reads_it(self):
        data = self.bundle.bytes("containers/app/volumes/host.tar.zst")
        seen = subprocess.run(["tar", "t", "--quoting-style=literal"], input=data, stdout=subprocess.PIPE, check=True).stdout
        self.assertIn(b"new-program\n", seen)

    def test_the_newer_first(self):
        paths = [lab.path_of(r).decode(errors="replace") for r in self.bundle.records("containers/app/volumes/host.jsonl")]
        self.assertEqual(paths[:3], ["/host", "/host/new-program", "/host/z-new"])
        self.assertEqual(paths[3:], sorted(paths[3:]))

    def test_huge_sparse_file(self):
        files = listed(self.bundle, "app", "/memory")
        data = self.bundle.bytes("containers/app/volumes/memory.tar.zst")
        self.assertLess(len(data), 1 << 20)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            layer = {name.split("/")[-1] for name in tar.getnames()}
        self.assertEqual(files["/memory/huge"]["file"]["size_bytes"], 2**63 - 1)
        self.assertEqual(files["/memory/huge"]["partial"], "over --volume-max 8.0 MiB")
        self.assertNotIn("huge", layer)
        # A program is taken, holes and all: without a byte of them.
        self.assertIn("holes not hashed", files["/memory/huge-run"]["partial"])
        self.assertIn("huge-run", layer)

    def test_once_and_referred_to(self):
        streams = [s for s in self.bundle.streams if "/volumes/" in s]
        self.assertEqual({s.split("/")[1] for s in streams}, {"app"})
        self.assertEqual({s.split("/")[3].split(".")[0] for s in streams},
                         {"cache", "data", "host", "memory", "etc%2Ffile", "host%2Fnested"})
        notes = {origin: reason for impact, origin, reason in volume_gaps(self.bundle, "note")}
        self.assertEqual(notes["app:/again"], "shows what app:/host shows: taken once, containers/app/volumes/host")
        self.assertEqual(notes["app:/part"], "shows a part of what app:/host shows: taken once, containers/app/volumes/host")
        self.assertEqual(notes["side:/cache"], "shows what app:/cache shows: taken once, containers/app/volumes/cache")
        self.assertIn("is read-only for this container", notes["/only"])

    def test_one_file(self):
        (record,) = self.bundle.records("containers/app/volumes/etc%2Ffile.jsonl")
        self.assertEqual((record["path"], record["file"]["sha256"]), ("/etc/file", lab.sha256_file(self.file)))

    def test_program_that_runs_from_it(self):
        (process,) = [p for p in self.bundle.records("containers/app/processes.jsonl") if p["exe"]["path"] == "/cache/busybox"]
        self.assertEqual(process["exe"]["origin"], "volume")
        stream = f"containers/app/executables/{process['exe']['sha256']}.zst"
        self.assertEqual(lab.hashlib.sha256(self.bundle.bytes(stream)).hexdigest(), lab.sha256_file("/bin/busybox"))

    def test_nothing_touched(self):
        self.assertEqual({p: t for p, t in self.after.items() if p in self.before and self.before[p] != t}, {})

    def test_links_of_a_claim(self):
        (gap,) = [g for g in self.bundle.records("gaps.jsonl") if g["artifact"] == "atime"]
        self.assertEqual((gap["impact"], gap["origin"]), ("degraded", "/data"))

    def test_engine_files_are_none(self):
        names = {s.split("/")[3] for s in self.bundle.streams if "/volumes/" in s}
        self.assertFalse([n for n in names if "hosts" in n or "resolv" in n or "dev" in n])

    def test_bundle_views(self):
        path = self.bundle.path
        self.assertEqual(self.expect(ctriage("cat", f"{path}:/cache/loot", "-c", "app"), 0).out, b"loot\n")
        self.assertIn(b"new-program", self.expect(ctriage("ls", f"{path}:/host", "-c", "app"), 0).out)
        out = self.temp()
        self.expect(ctriage("cp", f"{path}:/host/program", out, "-c", "app"), 0)
        self.assertEqual(lab.sha256_file(f"{out}/program"), lab.sha256_file(f"{self.host}/program"))
        run = self.expect(ctriage("cat", f"{path}:/host/large", "-c", "app"), 1)
        self.assertIn(b"over --volume-max 8.0 MiB", run.err)

    def test_volume_max_and_skip(self):
        out = self.temp()
        self.expect(ctriage("collect", f"{NS}/web/app", "-o", out, "--only", "volumes", "--volume-max", "0"), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            layer = tree(bundle, "app", "/cache")
            self.assertIn("busybox", layer)
            self.assertNotIn("loot", layer)
            self.assertEqual(listed(bundle, "app", "/cache")["/cache/loot"]["partial"], "over --volume-max 0 B")
        out = self.temp()
        run = self.expect(ctriage("collect", f"{NS}/web/app", "-o", out, "--only", "state", "--json"), 0)
        self.assertNotIn("volumes", run.json()["counts"])
        self.expect(ctriage("collect", f"{NS}/web/app", "-o", out, "--volume-max", "much"), 2)


class OfTheNode(lab.Case):
    """hostPath /: the node is not copied."""

    def test_root_of_the_node(self):
        lab.need("containerd", "runc", "ctr")
        base = tempfile.mkdtemp(prefix="ctriage-volumes-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, base)
        with open(f"{base}/before", "w", encoding="ascii") as file:
            file.write("before\n")
        lab.time.sleep(3)
        containerd = Containerd()
        self.addCleanup(containerd.stop)
        containerd.add_images({"/etc/of-the-app": b"x\n"})
        pod = containerd.run_pod(NS, "node", "app", f"echo dropped > /node{base}/after; echo filled; exec sleep 7777",
                                 mounts=(("/node", "/", False),))
        pod.wait_for_log("filled")
        out = self.temp()
        self.expect(ctriage("collect", f"{NS}/node", "-o", out, "--only", "volumes", timeout=600), 0, 3)
        with Bundle(self.one_bundle(out)) as bundle:
            files = listed(bundle, "app", "/node")
            self.assertLessEqual(len(files), 300_000)
            self.assertEqual(files[f"/node{base}/after"]["file"]["sha256"], lab.hashlib.sha256(b"dropped\n").hexdigest())
            older = [r for r in files.values() if r.get("partial") == "of the node, and older than the container"]
            self.assertGreater(len(older), 1000)
            self.assertLessEqual(len(older), 50_000)
            self.assertFalse([r for r in older if "sha256" in r["file"]])
            if f"/node{base}/before" in files:
                self.assertEqual(files[f"/node{base}/before"]["partial"], "of the node, and older than the container")
            self.assertTrue([reason for _, origin, reason in volume_gaps(bundle, "note") if origin == "/node" and "of the node" in reason])


class OfAnEndedOne(WithPlaces):
    """What its record says of its mounts, as the node has it by now."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.places = {"/cache": f"{cls.pods}/kubernetes.io~empty-dir/cache", "/data": f"{cls.pods}/kubernetes.io~csi/pvc/mount",
                      "/token": f"{cls.pods}/kubernetes.io~secret/token"}
        cls.places |= {f"/{name}": f"{cls.base}/{name}" for name in ("host", "moved", "away", "only", "loop", "hung", "memory", "remade")}
        for path in cls.places.values():
            os.makedirs(path)
        with open(f"{cls.places['/host']}/old", "w", encoding="ascii") as file:
            file.write("old\n")
        os.symlink("/etc/shadow", f"{cls.places['/host']}/link")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "ctriage-volume", cls.places["/memory"]], check=True)
        cls.addClassCleanup(subprocess.run, ["umount", cls.places["/memory"]], check=True)
        lab.time.sleep(3)
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/etc/of-the-app": b"x\n"})
        script = "sleep 1; for v in cache host moved away memory data hung remade; do echo of $v > /$v/new; done; cp /bin/busybox /cache/tool; exit 7"
        mounts = [(path, source, path in ("/only", "/token")) for path, source in cls.places.items()]
        cls.pod = cls.lab.run_pod(NS, "ended", "app", script, mounts=mounts)
        engines.wait_until(lambda: not os.path.exists(f"/proc/{cls.pod.pid}"), "its end")

    def test_collect(self):
        moved = self.places["/moved"]
        os.rename(moved, f"{self.base}/there")
        os.symlink("there", f"{self.base}/one")
        os.symlink(f"{self.base}/one", moved)
        shutil.rmtree(self.places["/away"])
        shutil.rmtree(self.places["/remade"])
        os.mkdir(self.places["/remade"])
        os.rmdir(self.places["/loop"])
        os.symlink("loop", self.places["/loop"])
        # Whoever could write there had it lead to a server that never answers.
        served = f"{self.base}/served"
        os.mkdir(served)
        server = fuse.Fuse(os.getpid(), served, "tool", "/bin/busybox")
        self.addCleanup(subprocess.run, ["umount", "-l", served], check=True)
        self.addCleanup(server.close)
        server.fall_silent()
        shutil.rmtree(self.places["/hung"])
        os.symlink(f"{served}/x", self.places["/hung"])
        before = os.lstat(f"{self.places['/host']}/link").st_atime_ns

        out = self.temp()
        self.expect(ctriage("collect", f"{NS}/ended/app", "-o", out, timeout=120), 3)
        path = self.one_bundle(out)
        self.expect(ctriage("verify", path), 0)
        self.assertEqual(os.lstat(f"{self.places['/host']}/link").st_atime_ns, before)
        with Bundle(path) as bundle:
            gaps = {(impact, origin): reason for impact, origin, reason in volume_gaps(bundle)}
            self.assertEqual({origin for impact, origin in gaps if impact == "lost"}, {"/data", "/away", "/loop", "/hung", "/moved", "/remade"})
            self.assertIn("mounted there for the pod", gaps["lost", "/data"])
            self.assertIn("not there any more", gaps["lost", "/away"])
            self.assertIn("links", gaps["lost", "/loop"])
            self.assertIn("fuse.ctriage", gaps["lost", "/hung"])
            self.assertIn("read-only", gaps["note", "/only"])
            self.assertIn("secrets", gaps["note", "/token"])
            self.assertIn(f"leads to {self.base}/there now, by a link that is newer", gaps["lost", "/moved"])
            self.assertIn("made after the container started", gaps["lost", "/remade"])
            names = {s.split("/")[3].split(".")[0] for s in bundle.streams if "/volumes/" in s}
            self.assertEqual(names, {"cache", "host", "moved", "memory", "remade"})
            for mountpoint in ("cache", "host", "moved", "memory"):
                self.assertEqual(tree(bundle, "app", f"/{mountpoint}")["new"][1], lab.hashlib.sha256(f"of {mountpoint}\n".encode()).hexdigest())
            self.assertEqual(tree(bundle, "app", "/cache")["tool"][1], lab.sha256_file("/bin/busybox"))
            self.assertEqual(tree(bundle, "app", "/host")["link"][0].linkname, "/etc/shadow")
            self.assertEqual([lab.path_of(r).decode() for r in bundle.records("containers/app/volumes/host.jsonl")][1:2], ["/host/new"])  # the newer first
            sources = {s["path"]: s["source"] for s in bundle.json("manifest.json")["streams"]}
            self.assertIn("(empty_dir ", sources["containers/app/volumes/cache.tar.zst"])


class OfEngines(lab.Case):
    """Named volumes and bind mounts of Docker and Podman."""

    SCRIPT = "echo named > /named/file; cp /bin/busybox /named/tool; echo bound > /bound/file; echo ready > /tmp/ready; exec sleep 1000000"

    def check(self, engine, name, engine_root, config, text):
        bound = tempfile.mkdtemp(prefix="ctriage-volumes-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, bound)
        engine.start(name, self.SCRIPT, "-v", "data:/named", "-v", f"{bound}:/bound")
        pid = engine.inspect(name)["State"]["Pid"]
        engines.wait_until(lambda: os.path.exists(f"/proc/{pid}/root/tmp/ready"), "the container's script")
        self.check_collected(name, bound, name)
        # When it has ended, by its engine's record; and on a disk that has the same. Another one shows where the engine is.
        engine.start(f"{name}-runs", "exec sleep 1000000")
        engine.run("stop", "-t", "0", name)
        self.check_collected(name, bound, name)
        disk = self.temp()
        os.makedirs(disk + engine_root)
        subprocess.run(["mount", "--bind", engine_root, disk + engine_root], check=True)
        self.addCleanup(subprocess.run, ["umount", disk + engine_root], check=True)
        os.makedirs(os.path.dirname(f"{disk}/etc/{config}"))
        with open(f"{disk}/etc/{config}", "w", encoding="ascii") as file:
            file.write(text)
        shutil.copytree(bound, f"{disk}/elsewhere")
        os.makedirs(os.path.dirname(disk + bound), exist_ok=True)
        os.symlink("/elsewhere", disk + bound)
        self.check_collected(name, "/elsewhere", name, "--root", disk)

    def check_collected(self, name, bound, *arguments):
        out = self.temp()
        self.expect(ctriage("collect", *arguments, "-o", out), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            names = {s.split("/")[3].split(".")[0] for s in bundle.streams if "/volumes/" in s}
            self.assertEqual(names, {"named", "bound"})
            self.assertEqual(tree(bundle, name, "/named")["file"][1], lab.hashlib.sha256(b"named\n").hexdigest())
            self.assertEqual(tree(bundle, name, "/named")["tool"][1], lab.sha256_file("/bin/busybox"))
            self.assertEqual(tree(bundle, name, "/bound")["file"][1], lab.hashlib.sha256(b"bound\n").hexdigest())
            sources = {s["path"]: s["source"] for s in bundle.json("manifest.json")["streams"]}
            self.assertIn("(engine ", sources[f"containers/{name}/volumes/named.tar.zst"])
            self.assertIn(f"(host_path {bound})", sources[f"containers/{name}/volumes/bound.tar.zst"])
            copied = ("leads to /elsewhere now, by a link that is newer", "/elsewhere of the node was made after")
            self.assertEqual([gap for gap in volume_gaps(bundle) if gap[0] != "degraded" or not any(text in gap[2] for text in copied)], [])

    def test_docker(self):
        lab.need("dockerd", "docker", "runc")
        engine = engines.Docker()
        self.addCleanup(engine.stop)
        self.check(engine, f"vol-{os.getpid()}", engine.data, "docker/daemon.json", f'{{"data-root": "{engine.data}"}}')

    def test_podman(self):
        lab.need("podman", "conmon", "runc")
        engine = engines.Podman()
        self.addCleanup(engine.stop)
        self.check(engine, f"pvol-{os.getpid()}", engine.root, "containers/storage.conf", f'[storage]\ngraphroot = "{engine.root}"\n')
