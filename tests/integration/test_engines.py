"""Real Podman, dockerd and ctr containers: found without asking the engine, taken, and compared with its own diff."""
import json
import os

import engines
import lab
from lab import Bundle, Case, ctriage

TAG = f"e{os.getpid()}"  # names are looked up on the whole node, other test runs included


def setUpModule():
    lab.binary()
    lab.need_root()


def listed(case, status=(0, 3)):
    """Every container that `ctriage list` shows, by id."""
    run = case.expect(ctriage("list", "--json"), *status)
    return {container["id"]: container for container in run.json()["containers"]}


def layer_of_change(case, target, path):
    """What our diff says of the layer that `path` comes from: digest and history line."""
    changes = case.expect(ctriage("diff", target, "--json"), 0).json()["changes"]
    (change,) = [c for c in changes if lab.path_of(c).decode() == path]
    return change.get("layer_digest"), change.get("layer_made_by")


def our_changes(case, target):
    """Our diff of a container as path to A, C or D, what the runtime made to mount over set apart."""
    changes, stubs = {}, set()
    for change in case.expect(ctriage("diff", target, "--all", "--json"), 0).json()["changes"]:
        path = lab.path_of(change).decode()
        letter = {"added": "A", "deleted": "D"}.get(change["kind"], "C")
        if change["kind"] == "runtime_stub":
            stubs.add(path)
        elif path != "/":
            changes[path] = letter
    return changes, stubs


class EngineCase(Case):
    """What holds for a running container of any engine."""

    def ready(self, pid):
        engines.wait_until(lambda: os.path.exists(f"/proc/{pid}/root/tmp/ready"), "the container's script")

    def check_collected(self, target, container_id, name):
        out = self.temp()
        self.expect(ctriage("collect", target, "-o", out), 0)
        self.expect(ctriage("verify", self.one_bundle(out)), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            (member,) = bundle.containers()
            self.assertEqual(bundle.json(f"containers/{member}/container.json")["id"], container_id)
            processes = bundle.records(f"containers/{member}/processes.jsonl")
            self.assertEqual([p["argv"] for p in processes], [["sleep", "1000000"]])
            self.assertEqual(processes[0]["exe"]["origin"], "image")
            layer = bundle.layer(member)
            self.assertEqual(layer["opt/new"][1], lab.hashlib.sha256(b"new\n").hexdigest())
            self.assertIn("opt/.wh.readme", layer)
            self.assertTrue(bundle.json(f"containers/{member}/spec.json")["process"]["args"])
            lost = [g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"]
            self.assertEqual(lost, [])
        self.assertEqual(member, name)

    def check_names(self, container_id, tokens):
        for token in tokens:
            with self.subTest(token):
                changes = self.expect(ctriage("diff", *token.split(), "--json"), 0).json()["changes"]
                self.assertEqual({c["container"] for c in changes}, {container_id})


    def check_ended(self, name, logs=None):
        """Of one that has ended: what is there is told, what is gone is not called empty."""
        self.assertEqual(self.expect(ctriage("cat", f"{name}:/opt/new"), 0).out, b"new\n")
        self.expect(ctriage("cat", f"{name}:/opt/readme"), 1)
        self.assertEqual(self.expect(ctriage("cat", f"{name}:/opt/readme", "--layer", "2"), 0, 1).out[:5] or b"hello", b"hello")
        shown = self.expect(ctriage("show", name, "--json"), 0, 3).json()
        self.assertEqual(shown["source"]["kind"], "disk")
        levels = {c["facet"]: c["level"] for c in shown["coverage"]}
        self.assertEqual((levels["changes"], levels["processes"]), ("whole", "none"))
        self.assertIn(b"has ended", self.expect(ctriage("show", name), 0, 3).out)
        into = os.path.join(self.temp(), "out")
        taken = self.expect(ctriage("extract", name, "-o", into, "--json"), 0).json()
        with open(os.path.join(into, "manifest.jsonl"), encoding="ascii") as file:
            objects = {one["path"]: one for one in map(json.loads, file)}
        self.assertEqual(objects["/opt/new"]["sha256"], lab.hashlib.sha256(b"new\n").hexdigest())
        self.assertEqual({one["kind"] for one in objects.values()}, {"changed"})
        self.assertIn("has ended", str([gap for gap in taken["gaps"] if gap["artifact"] == "extract.memfd"]))
        if logs:
            self.assertTrue(any(log["path"].endswith(logs) for log in shown["logs"]), str(shown["logs"]))

    def check_ended_collected(self, name, theirs, status=7):
        """What is left of it, in a bundle: each added path that the engine's own diff names is in the layer, each deleted one
        is a whiteout there or lies below one."""
        out = self.temp()
        self.expect(ctriage("collect", name, "-o", out), 0)
        path = self.one_bundle(out)
        self.expect(ctriage("verify", path), 0)
        with Bundle(path) as bundle:
            (folder,) = bundle.containers()
            container = bundle.json(f"containers/{folder}/container.json")
            self.assertEqual(container["name"], name)
            if status is not None:
                self.assertEqual(container["exit_code"], status)
            layer = bundle.layer(folder)
            for changed, letter in theirs.items():
                if letter == "A":
                    self.assertIn(changed.lstrip("/"), {entry.rstrip("/") for entry in layer})
            self.assertEqual(layer["opt/new"][1], lab.hashlib.sha256(b"new\n").hexdigest())
            self.assertIn("opt/.wh.readme", layer)
            self.assertNotIn(f"containers/{folder}/processes.jsonl", bundle.streams)
            self.assertEqual([g for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"], [])
            return [name for name in bundle.streams if name.startswith(f"containers/{folder}/")]

    def check_disk(self, name, data, where, theirs):
        """The same when the engine's directory is a disk's."""
        disk = self.temp()
        os.makedirs(f"{disk}/{where}")
        lab.subprocess.run(["mount", "--bind", data, f"{disk}/{where}"], check=True)
        self.addCleanup(lab.subprocess.run, ["umount", f"{disk}/{where}"], check=True)
        changes = self.expect(ctriage("diff", name, "--root", disk, "--json"), 0).json()["changes"]
        paths = {lab.path_of(c).decode() for c in changes}
        self.assertGreater(len(theirs), 5)
        self.assertEqual({p for p, letter in theirs.items() if letter == "A"} - paths, set())


class OneContainer(EngineCase):
    """An engine with one container that runs."""

    @classmethod
    def start(cls, engine, name, *arguments):
        cls.engine = engine
        cls.addClassCleanup(engine.stop)
        cls.name = name
        cls.container_id = engine.start(name, *arguments)
        cls.pid = engine.inspect(name)["State"]["Pid"]

    def setUp(self):
        self.ready(self.pid)


class DockerTest(OneContainer):
    @classmethod
    def setUpClass(cls):
        lab.need("dockerd", "docker", "runc")
        cls.start(engines.Docker(), f"web-{TAG}", engines.SCRIPT, "-l", "tier=front", "--restart", "no")

    def test_list(self):
        container = listed(self)[self.container_id]
        inspected = self.engine.inspect(self.name)
        self.assertEqual(container["name"], self.name)
        self.assertEqual((container["engine"], container["engine_namespace"]), ("docker", "moby"))
        self.assertEqual((container["state"], container["init_pid"]), ("running", self.pid))
        self.assertEqual((container["image"], container["image_id"]), (engines.IMAGE, inspected["Image"]))
        self.assertEqual(container["labels"], ["tier=front"])
        self.assertEqual(container["engine_root"], self.engine.data)
        self.assertEqual(container["record"], f"{self.engine.data}/containers/{self.container_id}/config.v2.json")
        self.assertEqual(container["created_at"][:19], inspected["Created"][:19])

    def test_collect(self):
        self.check_collected(self.name, self.container_id, self.name)

    def test_names(self):
        self.check_names(self.container_id, (self.name, f"docker://{self.container_id}", self.container_id[:12], f"-n moby {self.name}"))

    def test_layers_by_digest(self):
        image = lab.json.loads(self.engine.run("image", "inspect", engines.IMAGE).stdout)[0]
        self.assertEqual(layer_of_change(self, self.name, "/opt/readme"), (image["RootFS"]["Layers"][1], "layer 1"))
        self.assertEqual(layer_of_change(self, self.name, "/etc/motd"), (image["RootFS"]["Layers"][0], "layer 0"))

    def test_diff_agrees_with_docker(self):
        theirs = engines.parse_changes(self.engine.run("diff", self.name).stdout)
        ours, stubs = our_changes(self, self.name)
        # Docker keeps what it mounts over in a layer of its own below the container's ("<id>-init") and shows neither.
        self.assertEqual(stubs, set())
        self.assertEqual(expanded(ours, theirs), theirs)

    def test_ended(self):
        ended = self.engine.run("run", "--name", f"gone-{TAG}", "--network", "none", engines.IMAGE, "/bin/sh", "-c", "exit 7",
                                check=False)
        self.assertEqual(ended.returncode, 7)
        made = self.engine.run("create", "--name", f"made-{TAG}", "--network", "none", engines.IMAGE, "/bin/true").stdout.strip()
        inspected = self.engine.inspect(f"gone-{TAG}")
        all_ = listed(self)
        gone = all_[inspected["Id"]]
        self.assertEqual((gone["name"], gone["engine"], gone["state"]), (f"gone-{TAG}", "docker", "exited"))
        self.assertEqual((gone["exit_code"], gone["init_pid"]), (7, 0))
        self.assertEqual(gone["finished_at"][:19], inspected["State"]["FinishedAt"][:19])
        self.assertEqual(gone["args"], ["/bin/sh", "-c", "exit 7"])
        self.assertEqual(all_[made]["state"], "created")
        self.damaged(inspected["Id"])

    def test_layers_of_an_ended_one(self):
        self.engine.run("run", "--name", f"left-{TAG}", "--network", "none", engines.IMAGE, "/bin/sh", "-c", engines.ENDED, check=False)
        theirs = engines.parse_changes(self.engine.run("diff", f"left-{TAG}").stdout)
        ours, stubs = our_changes(self, f"left-{TAG}")
        self.assertEqual(stubs, set())
        self.assertEqual(expanded(ours, theirs), theirs)
        self.check_ended(f"left-{TAG}", "-json.log")
        self.check_disk(f"left-{TAG}", self.engine.data, "var/lib/docker", theirs)
        streams = self.check_ended_collected(f"left-{TAG}", theirs)
        self.assertTrue([name for name in streams if "/runtime/config.v2.json" in name])
        self.assertTrue([name for name in streams if "/logs/" in name and "-json.log" in name])

    def damaged(self, container_id):
        """Half a record costs what was in it, not the container, and the others nothing."""
        path = f"{self.engine.data}/containers/{container_id}/config.v2.json"
        with open(path, "rb") as file:
            whole = file.read()
        try:
            with open(path, "wb") as file:
                file.write(whole[:len(whole) // 2])
            run = self.expect(ctriage("list", "--json"), 3)
            self.assertIn(path, str(run.json()["gaps"]))
            names = {c["id"]: c["name"] for c in run.json()["containers"]}
            self.assertEqual((names[container_id], names[self.container_id]), (container_id, self.name))
        finally:
            with open(path, "wb") as file:
                file.write(whole)

    def test_the_daemon_is_not_needed(self):
        os.kill(self.engine.daemon.pid, lab.signal.SIGSTOP)
        try:
            self.assertEqual(listed(self)[self.container_id]["name"], self.name)
        finally:
            os.kill(self.engine.daemon.pid, lab.signal.SIGCONT)


class PodmanTest(OneContainer):
    @classmethod
    def setUpClass(cls):
        lab.need("podman", "conmon", "runc")
        cls.start(engines.Podman(), f"pod-{TAG}")

    def test_list(self):
        container = listed(self)[self.container_id]
        inspected = self.engine.inspect(self.name)
        self.assertEqual((container["name"], container["engine"]), (self.name, "podman"))
        self.assertEqual((container["state"], container["init_pid"]), ("running", self.pid))
        self.assertEqual((container["image"], container["image_id"]), (engines.IMAGE, inspected["Image"]))
        self.assertEqual(container["engine_root"], self.engine.root)

    def test_collect(self):
        self.check_collected(self.name, self.container_id, self.name)

    def test_names(self):
        self.check_names(self.container_id, (self.name, f"podman://{self.container_id}", self.container_id[:12]))

    def test_exec_is_not_another_container(self):
        self.engine.run("exec", "-d", self.name, "sleep", "424242")
        same = [c for c in listed(self).values() if c["bundle_dir"].startswith(self.engine.base)]
        self.assertEqual([c["id"] for c in same if c["state"] == "running"], [self.container_id])

    def test_ended(self):
        ended = self.engine.run("run", "--name", f"pgone-{TAG}", "--network", "none", *engines.ULIMITS, "--label", "a=b",
                                engines.IMAGE, "/bin/sh", "-c", "exit 7", check=False)
        self.assertEqual(ended.returncode, 7, ended.stderr)
        made = self.engine.run("create", "--name", f"pmade-{TAG}", "--network", "none", engines.IMAGE, "true").stdout.strip()
        inspected = self.engine.inspect(f"pgone-{TAG}")
        all_ = listed(self)
        gone = all_[inspected["Id"]]
        self.assertEqual((gone["name"], gone["engine"], gone["state"]), (f"pgone-{TAG}", "podman", "exited"))
        self.assertEqual((gone["exit_code"], gone["init_pid"], gone["labels"]), (7, 0, ["a=b"]))
        self.assertEqual(gone["image"], engines.IMAGE)
        self.assertEqual(gone["args"], ["/bin/sh", "-c", "exit 7"])
        self.assertEqual(all_[made]["state"], "created")

    def test_layers_of_an_ended_one(self):
        self.engine.run("run", "--name", f"left-{TAG}", "--network", "none", *engines.ULIMITS, engines.IMAGE, "/bin/sh", "-c",
                        engines.ENDED, check=False)
        theirs = self.agrees_with_podman(f"left-{TAG}")
        self.check_ended(f"left-{TAG}")
        self.check_ended_collected(f"left-{TAG}", theirs)
        self.check_disk(f"left-{TAG}", self.engine.root, "var/lib/containers/storage", theirs)

    def test_layers_by_digest(self):
        image = lab.json.loads(self.engine.run("image", "inspect", engines.IMAGE).stdout)[0]
        self.assertEqual(layer_of_change(self, self.name, "/opt/readme"), (image["RootFS"]["Layers"][1], "layer 1"))

    def test_diff_agrees_with_podman(self):
        self.agrees_with_podman(self.name)

    def agrees_with_podman(self, name):
        theirs = engines.parse_changes(self.engine.run("diff", name).stdout)
        ours, stubs = our_changes(self, name)
        # Podman leaves out the directories and files that it made to mount over; for us the files are stubs, which are
        # shown as such, and what stands round them was added.
        self.assertEqual(stubs, {"/etc/hostname", "/run/.containerenv"})
        for path, letter in (("/etc/mtab", "A"), ("/run", "A")):
            self.assertEqual(ours.pop(path), letter)
            self.assertNotIn(path, theirs)
        # containers/storage reads the mark of an opaque directory as the deletion of what it hides, though a new one
        # stands there.
        self.assertEqual((theirs.pop("/opt/again"), ours.pop("/opt/again")), ("D", "C"))
        ours = {path: letter for path, letter in ours.items() if path != "/opt/again/x"}
        self.assertEqual(expanded(ours, theirs), theirs)
        return theirs


class CtrTest(EngineCase):
    @classmethod
    def setUpClass(cls):
        lab.need("containerd", "ctr", "runc")
        cls.engine = engines.Ctr()
        cls.addClassCleanup(cls.engine.stop)
        cls.name = f"job-{TAG}"
        cls.named = f"{'0123456789abcdef' * 4}"[:58] + f"{os.getpid():06x}"  # nerdctl's ids have 64 digits
        for namespace in (f"one-{TAG}", f"two-{TAG}"):
            cls.engine.load(namespace)
        cls.engine.start(f"one-{TAG}", cls.name)
        cls.engine.start(f"two-{TAG}", cls.named, engines.SCRIPT, "--annotation", f"nerdctl/name=nerd-{TAG}")
        cls.pids = {}
        for namespace, name in cls.engine.tasks:
            path = f"{cls.engine.base}/state/io.containerd.runtime.v2.task/{namespace}/{name}/init.pid"
            with open(path, encoding="ascii") as file:
                cls.pids[name] = int(file.read())

    def setUp(self):
        for pid in self.pids.values():
            self.ready(pid)

    def test_list(self):
        all_ = listed(self)
        for container_id, name, namespace in ((self.name, self.name, f"one-{TAG}"), (self.named, f"nerd-{TAG}", f"two-{TAG}")):
            with self.subTest(name):
                container = all_[container_id]
                self.assertEqual((container["name"], container["engine"]), (name, "containerd"))
                self.assertEqual(container["engine_namespace"], namespace)
                self.assertEqual((container["state"], container["init_pid"]), ("running", self.pids[container_id]))
                self.assertEqual(container["engine_root"], f"{self.engine.base}/root")

    def test_collect(self):
        self.check_collected(self.name, self.name, self.name)

    def test_names(self):
        self.check_names(self.named, (f"nerd-{TAG}", f"containerd://{self.named}", f"-n two-{TAG} {self.named[:20]}"))

    def test_ended(self):
        """containerd holds the lock of its database all the time; the image's name and digest are there, too."""
        namespace, name = f"one-{TAG}", f"gone-{TAG}"
        self.engine.start(namespace, name, "exit 7", "--label", "tier=front")
        engines.wait_until(lambda: "STOPPED" in self.engine.ctr(namespace, "task", "ls").stdout, "the end of the task")
        self.engine.ctr(namespace, "task", "rm", name)
        all_ = listed(self)
        gone = all_[name]
        self.assertEqual((gone["engine"], gone["engine_namespace"], gone["state"]), ("containerd", namespace, "exited"))
        self.assertEqual(gone["image"], engines.IMAGE)
        self.assertEqual(gone["args"], ["/bin/sh", "-c", "exit 7"])
        self.assertIn("tier=front", gone["labels"])
        self.assertEqual(gone["record"], f"{self.engine.base}/root/io.containerd.metadata.v1.bolt/meta.db")
        digest = [line.split()[2] for line in self.engine.ctr(namespace, "images", "ls").stdout.splitlines()[1:]]
        self.assertEqual([gone["image_digest"]], digest)
        self.assertEqual((all_[self.name]["image"], all_[self.name]["state"]), (engines.IMAGE, "running"))
        self.assertEqual(our_changes(self, name)[0], {})
        self.engine.ctr(namespace, "container", "rm", name)
        # Its record is in a page that is free now, unless the database has used that again already.
        self.assertIn(listed(self).get(name, {}).get("state"), (None, "recovered"))

    def test_layers_by_digest(self):
        with lab.tarfile.open(os.path.join(self.engine.base, f"image-one-{TAG}", "image.tar")) as image:
            digest = "sha256:" + lab.hashlib.sha256(image.extractfile("layer1/layer.tar").read()).hexdigest()
        self.assertEqual(layer_of_change(self, self.name, "/opt/readme"), (digest, "layer 1"))

    def test_layers_of_an_ended_one(self):
        """The changes are those of a container that runs, made by the same script."""
        namespace, name = f"one-{TAG}", f"left-{TAG}"
        self.engine.start(namespace, name, engines.ENDED)
        engines.wait_until(lambda: "STOPPED" in self.engine.ctr(namespace, "task", "ls").stdout, "the end of the task")
        self.engine.ctr(namespace, "task", "rm", name)
        theirs, _ = our_changes(self, self.name)
        self.assertEqual(our_changes(self, name)[0], theirs)
        self.check_ended(name)
        self.check_ended_collected(name, theirs, None)
        self.check_disk(name, f"{self.engine.base}/root", "var/lib/containerd", theirs)

    def test_a_killed_shim_hides_nothing(self):
        """Somebody who kills the shim takes the way to the bundle; the cgroup still names the container."""
        namespace, name = f"one-{TAG}", f"{os.getpid():06x}" + "fedcba9876543210" * 3 + "0123456789"
        self.engine.start(namespace, name, engines.SCRIPT, "--cgroup", f"/ctriage-{TAG}/{name}")
        bundle = f"{self.engine.base}/state/io.containerd.runtime.v2.task/{namespace}/{name}"
        with open(f"{bundle}/init.pid", encoding="ascii") as file:
            pid = int(file.read())
        self.ready(pid)
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            shim = int(file.read().rpartition(")")[2].split()[1])
        self.assertEqual(os.readlink(f"/proc/{shim}/cwd"), bundle)
        os.kill(self.engine.daemon.pid, lab.signal.SIGSTOP)  # it would clean up after the shim
        try:
            os.kill(shim, lab.signal.SIGKILL)
            engines.wait_until(lambda: not os.path.exists(f"/proc/{shim}/cwd"), "the end of the shim")
            container = listed(self)[name]
            self.assertEqual((container["init_pid"], container["state"]), (pid, "running"))
            self.assertEqual((container["engine"], container["image"]), ("containerd", engines.IMAGE))
            self.expect(ctriage("diff", name[:20], "--json"), 0, 3)
        finally:
            os.kill(pid, lab.signal.SIGKILL)
            os.kill(self.engine.daemon.pid, lab.signal.SIGCONT)


def expanded(ours, theirs):
    """Ours in the words of `docker diff` and `podman diff`. Of a deleted directory they name the directory only, we all
    that was in it; of a directory that was replaced by an empty one (opaque) they do not name what it held. What is the
    same but for having been copied up, a parent directory mostly, is a C to them and "unchanged" to us."""
    out = {}
    for path, letter in ours.items():
        above = [path[:end] for end in range(1, len(path)) if path[end] == "/"]
        if letter == "D" and path not in theirs and any(ours.get(p) == "D" or p == "/opt/again" for p in above):
            continue
        out[path] = letter
    return out
