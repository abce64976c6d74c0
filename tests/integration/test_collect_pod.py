"""A real containerd pod with an intruder in it; its daemon is stopped while we collect."""
import os
import threading
import time

import lab
from lab import Bundle, Case, Containerd, Untouched, ctriage

NS = f"shop-{os.getpid()}"  # names are looked up on the whole node, other test runs included


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("containerd", "runc", "ctr", "gcc")


class PodCase(Case):
    lab: Containerd

    @classmethod
    def setUpClass(cls):
        cls.lab = Containerd()
        cls.addClassCleanup(cls.lab.stop)
        cls.lab.add_images({"/opt/implant": lab.build_implant(lab.BUILD_DIR)})


def sockets_listening(bundle, container, port):
    return [s for s in bundle.records(f"containers/{container}/sockets.jsonl")
            if s["state"] == "LISTEN" and s["local"].endswith(f":{port}")]


class Intrusion(PodCase):
    """One collect, many questions to it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.port = lab.free_port()
        cls.pod = cls.lab.run_pod(NS, "web-7d9f8c6b5-x2x4q", "app", lab.intrusion(cls.port) +
                                  "echo 'line for the log'; while :; do sleep 1000; done")
        cls.pod.wait_for_log("line for the log")
        cls.exec = cls.lab.exec_in(cls.pod, "sh-from-outside", "/bin/sleep", "424242")
        cls.addClassCleanup(lambda: (cls.exec.kill(), cls.exec.communicate()))
        for _ in range(100):
            if len(cls.pod.pids()) >= 5:
                break
            time.sleep(0.1)
        time.sleep(0.5)  # until all of them sleep, so that their memory stands still
        cls.members = cls.pod.pids()
        cls.sandbox_members = set()
        cls.untouched = Untouched([cls.pod.upper, *cls.pod.lowers], cls.members)
        cls.out = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(lab.shutil.rmtree, cls.out)
        cls.lab.pause_daemon()
        try:
            cls.run_ = ctriage("collect", f"{NS}/web-7d9f", "-o", cls.out, "--json")
        finally:
            cls.changed, cls.grown = cls.untouched.changed(), cls.untouched.grown()
            cls.members_after = cls.pod.pids()
            cls.lab.resume_daemon()

    def bundle(self):
        opened = Bundle(self.one_bundle(self.out))
        self.addCleanup(opened.close)
        return opened

    def processes(self):
        return {p["pid"]: p for p in self.bundle().records("containers/app/processes.jsonl")}

    def test_status_and_name(self):
        self.expect(self.run_, 0)
        name = os.path.basename(self.one_bundle(self.out))
        self.assertRegex(name, rf"^{os.uname().nodename}_web-7d9f8c6b5-x2x4q_\d{{8}}T\d{{6}}Z\.ctriage\.tar$")
        self.assertEqual(os.stat(self.one_bundle(self.out)).st_mode & 0o777, 0o600)
        self.assertTrue(self.run_.json()["schema"].startswith("ctriage."))

    def test_verifies(self):
        self.expect(ctriage("verify", self.one_bundle(self.out)), 0)

    def test_no_gap_is_lost(self):
        lost = [g for g in self.bundle().records("gaps.jsonl") if g["impact"] == "lost"]
        self.assertEqual(lost, [])

    def test_members_are_the_cgroup(self):
        self.assertEqual(self.members, self.members_after, "the container changed under the test")
        self.assertEqual(set(self.processes()), self.members)

    def test_membership(self):
        processes = self.processes()
        by_argv = {tuple(p["argv"][:1]): p for p in processes.values()}
        self.assertEqual(processes[self.pod.pid]["membership"], "init")
        entered = [p for p in processes.values() if p["argv"] == ["/bin/sleep", "424242"]]
        self.assertEqual([p["membership"] for p in entered], ["executed_in"], by_argv)
        implant = [p for p in processes.values() if p["argv"][:2] == ["/tmp/implant", "run"]]
        self.assertEqual([p["membership"] for p in implant], ["child"])

    def test_origins(self):
        origin = {}
        for process in self.processes().values():
            origin[" ".join(process["argv"])] = process["exe"]
        deleted = origin[f"[kworker/u8:2] loop {self.port}"]
        self.assertTrue(deleted["deleted"])
        self.assertEqual(deleted["path"], "/tmp/.cache/kworker")
        self.assertEqual(deleted["sha256"], lab.sha256_file(os.path.join(self.pod.upper, "tmp/implant")))
        self.assertEqual(origin[f"[kthreadd] loop {self.port + 1}"]["origin"], "memfd")
        self.assertEqual(origin[f"/tmp/implant run {self.port}"]["origin"], "upper")
        self.assertEqual(origin["/bin/sleep 424242"]["origin"], "image")

    def test_programs_are_in_the_bundle(self):
        bundle = self.bundle()
        wanted = lab.sha256_file(os.path.join(self.pod.upper, "tmp/implant"))
        streams = [s for s in bundle.streams if s.startswith(f"containers/app/executables/{wanted}")]
        self.assertEqual(len(streams), 1, list(bundle.streams))
        self.assertEqual(lab.hashlib.sha256(bundle.bytes(streams[0])).hexdigest(), wanted)

    def test_findings(self):
        findings = self.bundle().records("findings.jsonl")
        pids = {f.get("pid"): f for f in findings if "pid" in f}
        by_name = {" ".join(p["argv"]): pid for pid, p in self.processes().items()}
        for name, severity in ((f"[kworker/u8:2] loop {self.port}", "critical"),
                               (f"[kthreadd] loop {self.port + 1}", "critical"), (f"/tmp/implant run {self.port}", "high")):
            self.assertEqual(pids[by_name[name]]["severity"], severity, name)
        self.assertIn("/usr/local/bin/.httpd", [f.get("path") for f in findings])
        self.assertEqual([f["id"] for f in findings], [f"F{n}" for n in range(1, len(findings) + 1)])

    def test_sockets_have_owners(self):
        bundle = self.bundle()
        by_name = {" ".join(p["argv"]): pid for pid, p in self.processes().items()}
        for port, name in ((self.port, f"[kworker/u8:2] loop {self.port}"),
                           (self.port + 1, f"[kthreadd] loop {self.port + 1}")):
            found = sockets_listening(bundle, "app", port)
            self.assertEqual([s["pids"] for s in found], [[by_name[name]]])
        unread = [s for s in bundle.records("containers/app/sockets.jsonl")
                  if s["state"] == "ESTABLISHED" and s["receive_queue_bytes"] == 50 and s["pids"]]
        self.assertGreaterEqual(len(unread), 2)  # the command nobody read, once per implant

    def test_descriptors_show_the_deleted_log(self):
        descriptors = self.bundle().records("containers/app/descriptors.jsonl")
        self.assertTrue([d for d in descriptors if d["deleted"] and "/tmp/.deleted-log" in d["target"]])

    def test_memory_maps(self):
        maps = self.bundle().records("containers/app/mappings.jsonl")
        self.assertEqual({m["pid"] for m in maps}, self.members)
        self.assertTrue([m for m in maps if m["protection"] == "rwxp" and m["inode"] == "0x0"])

    def test_memory_of_each_process(self):
        """What the implants have in memory, in the bundle before the UpperDir; the others, the sandbox's too, at its end."""
        bundle = self.bundle()
        by_name = {" ".join(p["argv"]): pid for pid, p in self.processes().items()}
        suspicious = {pid for name, pid in by_name.items() if not name.startswith(("/bin/sh -c", "sleep 1000"))}
        upper = min(n for n, name in enumerate(bundle.order) if name.startswith("containers/app/upper.tar"))
        before = {int(name.split("/")[3].split(".")[0]) for name in bundle.order[:upper] if "/memory/" in name}
        self.assertEqual(before, suspicious, by_name)
        cores = {s for s in bundle.streams if s.endswith(".core.zst")}
        self.assertEqual({s for s in cores if "/app/" in s}, {f"containers/app/memory/{pid}.core.zst" for pid in self.members})
        self.assertEqual(len([s for s in cores if "/sandbox/" in s]), 1, cores)
        for port, name in ((self.port, f"[kworker/u8:2] loop {self.port}"), (self.port + 1, f"[kthreadd] loop {self.port + 1}")):
            core = bundle.bytes(f"containers/app/memory/{by_name[name]}.core.zst")
            for mark in (f"TOKEN=ctr14ge-{port}-HEAPSECRET", "RWX-SHELLCODE-MARKER", "SHARED-ANON-MARKER"):
                self.assertIn(mark.encode(), core, name)

    def test_changes(self):
        changes = {c["path"]: c for c in self.bundle().records("containers/app/changes.jsonl")}
        expected = {"/usr/local/bin/.httpd": "added", "/usr/local/bin/backup": "added", "/tmp/implant": "added",
                    "/etc/passwd": "content", "/etc/motd": "deleted", "/usr/share/doc/busybox": "opaque",
                    "/usr/share/doc/busybox/README": "added", "/etc/hostname": "runtime_stub"}
        self.assertEqual({p: changes[p]["kind"] for p in expected if p in changes}, expected)
        passwd = changes["/etc/passwd"]
        self.assertEqual(passwd["before"]["size_bytes"], passwd["after"]["size_bytes"])
        self.assertEqual(passwd["before"]["mtime"][:19], passwd["after"]["mtime"][:19])
        self.assertNotEqual(passwd["before"]["sha256"], passwd["after"]["sha256"])
        self.assertEqual(passwd["layer"], 1)
        self.assertEqual(changes["/usr/local/bin/.httpd"]["after"]["mode"] & 0o7777, 0o4755)
        # Every name of the upper layer is in the list, and nothing else is.
        here = {"/" + os.path.relpath(os.path.join(w, n), self.pod.upper)
                for w, d, f in os.walk(self.pod.upper) for n in d + f}
        listed = {p for p, c in changes.items() if p != "/"}
        self.assertEqual(here - listed, set())
        self.assertEqual({p for p in listed - here if changes[p]["kind"] != "deleted"}, set())

    def test_upper_layer(self):
        layer = self.bundle().layer("app")
        for where, _, files in os.walk(self.pod.upper):
            for name in files:
                path = os.path.join(where, name)
                inside = os.path.relpath(path, self.pod.upper)
                if os.path.isfile(path) and not os.path.islink(path):
                    self.assertEqual(layer[inside][1], lab.sha256_file(path), inside)
        self.assertIn("etc/.wh.motd", layer)
        self.assertIn("usr/share/doc/busybox/.wh..wh..opq", layer)
        self.assertEqual(layer["usr/local/bin/.httpd"][0].mode & 0o7777, 0o4755)

    def test_logs(self):
        bundle = self.bundle()
        logs = [s for s in bundle.streams if s.startswith("containers/app/logs/")]
        self.assertEqual(len(logs), 1, list(bundle.streams))
        with open(self.pod.log_path, "rb") as file:
            self.assertEqual(bundle.bytes(logs[0]), file.read())

    def test_identity(self):
        bundle = self.bundle()
        container = bundle.json("containers/app/container.json")
        self.assertEqual(container["id"], self.pod.container_id)
        pod = container["pod"]
        self.assertEqual((pod["namespace"], pod["name"], pod["uid"]), (NS, "web-7d9f8c6b5-x2x4q", self.pod.uid))
        self.assertIn("pod/pod.json", bundle.streams)
        self.assertEqual(bundle.json("containers/app/spec.json")["process"]["args"][:2], ["/bin/sh", "-c"])
        self.assertIn("SUMMARY.txt", bundle.streams)

    def test_nothing_was_touched(self):
        self.assertEqual(self.changed, [])
        self.assertEqual(self.grown, [])

    def test_the_instrument_works(self):
        """What test_nothing_was_touched relies on: a read does show."""
        lower = next(d for d in self.pod.lowers if os.path.exists(os.path.join(d, "etc/group")))
        watch = Untouched([os.path.join(lower, "etc")])
        with open(os.path.join(lower, "etc/group"), "rb") as file:
            file.read()
        self.assertEqual(len(watch.changed()), 1)

    def test_show_and_diff_read_the_bundle(self):
        bundle = self.one_bundle(self.out)
        shown = self.expect(ctriage("show", bundle), 0, 3)
        self.assertIn(b"kworker", shown.out)
        self.assertIn(b"DELETED", shown.out.upper())
        self.expect(ctriage("show", bundle, "F1"), 0, 3)
        difference = self.expect(ctriage("diff", bundle, "--json"), 0, 3).json()
        self.assertTrue(difference["schema"].startswith("ctriage.diff/"))
        self.assertIn(b"/usr/local/bin/.httpd", ctriage("diff", bundle).out)

    def test_live_views_agree(self):
        self.expect(ctriage("show", f"{NS}/web-7d9f"), 0, 3)
        live = self.expect(ctriage("diff", f"{NS}/web-7d9f"), 0, 3)
        self.assertIn(b"/usr/local/bin/.httpd", live.out)

    def test_list(self):
        listed = self.expect(ctriage("list"), 0, 3)
        self.assertIn(f"{NS}/web-7d9f8c6b5-x2x4q/app".encode(), listed.out)
        self.assertTrue(self.expect(ctriage("list", "--json"), 0, 3).json()["schema"].startswith("ctriage.list/"))

    def test_names_of_the_target(self):
        for token in ("web-7d9f8c6b5-x2x4q", f"{NS}/web-7d9f8c6b5-x2x4q/app", self.pod.container_id[:12],
                      f"containerd://{self.pod.container_id}", f"pid:{self.pod.pid}"):
            with self.subTest(token):
                out = self.temp()
                self.expect(ctriage("collect", token, "-o", out, "-q"), 0)
                self.expect(ctriage("verify", self.one_bundle(out)), 0)


class Deleted(PodCase):
    """The pod goes away one second after collect starts."""

    FILES = 2000

    def test_pod_deleted_while_we_collect(self):
        pod = self.lab.run_pod(NS, "gone", "app", lab.intrusion(lab.free_port()) + "while :; do sleep 1000; done")
        pod.wait_for_log("intrusion played")
        digests = {}
        for number in range(self.FILES):  # 300 MiB that do not compress
            name = f"data/{number % 40:02}/{number:05}"
            path = f"/proc/{pod.pid}/root/{name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            data = os.urandom(300 * 1024 * 1024 // self.FILES)
            with open(path, "wb") as file:
                file.write(data)
            digests[name] = lab.hashlib.sha256(data).hexdigest()
        for name in ("tmp/implant", "usr/local/bin/.httpd", "etc/passwd"):
            digests[name] = lab.sha256_file(os.path.join(pod.upper, name))
        members = pod.pids()

        out = self.temp()
        process = lab.start("collect", f"{NS}/gone", "-o", out)
        removed = []

        def remove():
            time.sleep(1)
            removed.append(process.poll())
            self.lab.remove_pod(pod.sandbox)

        remover = threading.Thread(target=remove)
        remover.start()
        run = lab.finish(process)
        remover.join()
        print(f"      collect was {'still at work' if removed == [None] else 'done'} when the pod was deleted")
        self.expect(run, 0, 3)
        self.expect(ctriage("verify", self.one_bundle(out)), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            processes = bundle.records("containers/app/processes.jsonl")
            self.assertEqual({p["pid"] for p in processes}, members)
            for process in processes:
                if process["exe"]["origin"] != "image":
                    digest = process["exe"]["sha256"]
                    stream = [s for s in bundle.streams if f"/executables/{digest}" in s]
                    self.assertEqual(len(stream), 1, process)
                    self.assertEqual(lab.hashlib.sha256(bundle.bytes(stream[0])).hexdigest(), digest)
            layer = bundle.layer("app")
            wrong = [name for name, digest in digests.items() if layer.get(name, (None, None))[1] != digest]
            self.assertEqual(wrong, [])


class Others(PodCase):
    def test_host_pid_pod_has_only_its_own_members(self):
        pod = self.lab.run_pod(NS, "hostpid", "app", "sleep 5555 & exec sleep 6666", pid="node")
        self.assertEqual(os.readlink(f"/proc/{pod.pid}/ns/pid"), os.readlink("/proc/self/ns/pid"))
        time.sleep(0.5)
        out = self.temp()
        self.expect(ctriage("collect", f"{NS}/hostpid", "-o", out), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            self.assertEqual({p["pid"] for p in bundle.records("containers/app/processes.jsonl")}, pod.pids())

    def test_ambiguous_and_unknown(self):
        self.lab.run_pod(f"one-{NS}", f"{NS}-twin-a", "app", "exec sleep 7777")
        self.lab.run_pod(f"two-{NS}", f"{NS}-twin-b", "app", "exec sleep 7777")
        out = self.temp()
        candidates = (f"one-{NS}/{NS}-twin-a".encode(), f"two-{NS}/{NS}-twin-b".encode())
        for token, words in ((f"{NS}-twin", candidates), ("nothing-like-that", (b"nothing-like-that",))):
            with self.subTest(token):
                run = self.expect(ctriage("collect", token, "-o", out), 1)
                for word in words:
                    self.assertIn(word, run.err)
                self.assertEqual(os.listdir(out), [])
        self.expect(ctriage("collect", "-n", f"two-{NS}", f"{NS}-twin", "-o", out), 0)

    def test_output_is_refused_where_it_would_hurt(self):
        pod = self.lab.run_pod(NS, "refuse", "app", "exec sleep 7777")
        for place in (pod.upper, f"/proc/{pod.pid}/root/tmp", self.kubelet_pods()):
            with self.subTest(place):
                before = sorted(os.listdir(place))
                run = ctriage("collect", f"{NS}/refuse", "-o", place)
                self.expect(run, 1, 2)
                self.assertEqual(sorted(os.listdir(place)), before)

    def kubelet_pods(self):
        path = "/var/lib/kubelet/pods/ctriage-test"
        made = next(p for p in ("/var/lib/kubelet", "/var/lib/kubelet/pods", path) if not os.path.exists(p))
        os.makedirs(path)
        self.addCleanup(lab.shutil.rmtree, made)
        return path


class Waiting(PodCase):
    def test_a_pod_that_is_not_there_yet(self):
        out = self.temp()
        process = lab.start("collect", f"{NS}/late", "-o", out, "--wait", "60s")
        time.sleep(1)
        self.assertIsNone(process.poll())
        self.assertEqual(os.listdir(out), [])
        self.lab.run_pod(NS, "late", "app", "cp /bin/busybox /root/dropped; exec sleep 100000")
        run = lab.finish(process, 120)
        self.expect(run, 0, 3)
        with Bundle(self.one_bundle(out)) as bundle:
            self.assertIn("app", bundle.containers())
            self.assertTrue(bundle.records("containers/app/processes.jsonl"))

    def test_who_never_comes(self):
        out = self.temp()
        run = self.expect(ctriage("collect", f"{NS}/never", "-o", out, "--wait", "1s"), 1)
        self.assertIn(b"did not start within the time of --wait", run.err)
        self.assertEqual(os.listdir(out), [])
        self.expect(ctriage("collect", "pid:1", "-o", out, "--wait", "1s"), 1, 2)
