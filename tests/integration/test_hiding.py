"""Processes, threads and descriptors that keep out of lists: each case came out of an attack on ctriage. What cannot be
seen must be a gap; a container at rest must have none."""
import os
import subprocess
import time

import lab
from lab import Box, BoxCase, build_implant

HIDER = "/opt/hider"


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "nsenter", "gcc")


class Hiding(BoxCase):
    def box(self, script="true", command="sleep 5000"):
        program = build_implant(lab.BUILD_DIR, "hider")
        box = Box(f"echo box-is-up; {command}", files={HIDER: program}, wait_for="box-is-up")
        self.addCleanup(box.stop)
        box.run(script)
        return box

    def gaps(self, bundle, *impacts):
        return [gap for gap in bundle.records("gaps.jsonl") if gap["impact"] in (impacts or ("lost", "degraded"))]

    def one(self, bundle, comm):
        found = [p for p in self.records(bundle, "processes") if p["comm"] == comm]
        self.assertEqual(len(found), 1, [p["comm"] for p in self.records(bundle, "processes")])
        return found[0]

    def listening(self, bundle, port):
        return [s for s in self.records(bundle, "sockets") if s["state"] == "LISTEN" and s["local"].endswith(f":{port}")]

    def test_a_main_thread_that_ended_hides_nothing(self):
        box = self.box(f"cp {HIDER} /tmp/evil; SECRET=1 /tmp/evil leader-ends 5551 >/dev/null 2>&1 & sleep 1; rm /tmp/evil")
        _, bundle = self.collect(box, 0)
        process = self.one(bundle, "evil")
        self.assertEqual((process["state"], process["threads"]), ("Z", 2))
        self.assertEqual((process["exe"]["path"], process["exe"]["origin"]), ("/tmp/evil", "deleted"))
        self.assertEqual(process["argv"], ["/tmp/evil", "leader-ends", "5551"])
        self.assertIn("SECRET=1", process["environ"])
        self.assertTrue(process["cwd"] and process["root"] and process["namespaces"])
        self.assertGreater(process["rss_bytes"], 0)
        self.assertEqual([s["pids"] for s in self.listening(bundle, 5551)], [[process["pid"]]])
        self.assertTrue([m for m in self.records(bundle, "mappings") if m["pid"] == process["pid"]])
        self.assertTrue([d for d in self.records(bundle, "descriptors") if d["pid"] == process["pid"] and d["kind"] == "socket"])
        self.assertIn("CT-EXEC-001", {f["rule"] for f in bundle.records("findings.jsonl") if f.get("pid") == process["pid"]})
        self.assertIn(f"containers/{self.container}/executables/{process['exe']['sha256']}.zst", bundle.streams)
        self.assertEqual(self.gaps(bundle), [])

    def test_an_init_whose_main_thread_ended(self):
        box = self.box("true", command=f"cp {HIDER} /tmp/evil; exec /tmp/evil leader-ends 5552")
        time.sleep(0.5)
        _, bundle = self.collect(box, 0)
        self.assertEqual(self.one(bundle, "evil")["exe"]["origin"], "upper")
        self.assertIn("/tmp/evil", [change["path"] for change in self.records(bundle, "changes")])
        self.assertTrue(self.records(bundle, "mounts"))

    def test_who_keeps_moving_to_new_pids_is_met_or_missed_with_a_gap(self):
        for pause in (0, 300, 2000, 20000):
            with self.subTest(microseconds=pause):
                box = self.box(f"cp {HIDER} /tmp/evil; /tmp/evil hop {pause} >/dev/null 2>&1 & sleep 0.5")
                for _ in range(3):
                    _, bundle = self.collect(box, 0, 3)
                    seen = [p for p in self.records(bundle, "processes") if p["exe"]["path"] == "/tmp/evil"]
                    lost = [g for g in self.gaps(bundle, "lost") if g["artifact"] in ("proc.members", "proc.process")]
                    self.assertTrue(seen or lost, bundle.records("gaps.jsonl"))
                box.stop()

    def test_a_container_at_rest_on_a_busy_node_has_no_gap(self):
        box = self.box()
        for _ in range(2):
            noise = [subprocess.Popen(["/bin/sh", "-c", "while :; do /bin/true; done"]) for _ in range(2)]
            try:
                time.sleep(0.3)
                for _ in range(3):
                    _, bundle = self.collect(box, 0)
                    self.assertEqual(self.gaps(bundle), [])
            finally:
                for process in noise:
                    process.kill()
                    process.wait()

    def test_a_cgroup_with_the_name_of_a_container(self):
        name = "ab" * 32
        box = self.box("mkdir /tmp/cg; (mount -t cgroup2 c /tmp/cg && grep -q . /tmp/cg/cgroup.procs) || mount -t cgroup -o pids c /tmp/cg; "
                       f"mkdir /tmp/cg/{name}; cp {HIDER} /tmp/evil; "
                       f"(sh -c 'echo $$ > /tmp/cg/{name}/cgroup.procs; exec unshare -m /tmp/evil listen 5553' >/dev/null 2>&1 &); "
                       f"sleep 1; grep -q . /tmp/cg/{name}/cgroup.procs")

        def away():
            box.stop()
            for top, directories, _ in os.walk("/sys/fs/cgroup"):
                if name in directories:
                    for _ in range(50):
                        try:
                            os.rmdir(os.path.join(top, name))
                            break
                        except OSError:
                            time.sleep(0.1)
        self.addCleanup(away)
        _, bundle = self.collect(box, 3)
        process = self.one(bundle, "evil")
        self.assertEqual([s["pids"] for s in self.listening(bundle, 5553)], [[process["pid"]]])

    def test_a_thread_with_a_descriptor_table_of_its_own(self):
        box = self.box(f"{HIDER} own-table 5554 >/dev/null 2>&1 & sleep 0.5")
        _, bundle = self.collect(box, 0)
        pid = self.one(bundle, "hider")["pid"]
        self.assertEqual([s["pids"] for s in self.listening(bundle, 5554)], [[pid]])
        own = [d for d in self.records(bundle, "descriptors") if d["pid"] == pid and d["tid"]]
        self.assertEqual(sorted(d["kind"] for d in own), ["regular", "socket"])
        (loot,) = [d for d in own if d["kind"] == "regular"]
        self.assertEqual((loot["target"], loot["deleted"], loot["size_bytes"]), ("/root/.loot (deleted)", True, 4))

    def test_a_thread_in_namespaces_of_its_own(self):
        box = self.box(f"{HIDER} own-spaces 5555 >/dev/null 2>&1 & sleep 0.5")
        _, bundle = self.collect(box, 3)
        pid = self.one(bundle, "hider")["pid"]
        self.assertEqual([s["pids"] for s in self.listening(bundle, 5555)], [[pid]])
        self.assertEqual([g["artifact"] for g in self.gaps(bundle)], ["proc.mounts"])

    def test_ten_thousand_threads_stay_quick(self):
        box = self.box(f"{HIDER} threads 10000 >/dev/null 2>&1 & sleep 2")
        begun = time.monotonic()
        _, bundle = self.collect(box, 0)
        self.assertLess(time.monotonic() - begun, 60)  # some seconds under a sanitizer
        self.assertGreater(len(self.records(bundle, "threads")), 5000)
        self.assertEqual([d for d in self.records(bundle, "descriptors") if d["tid"]], [])
        self.assertEqual(self.gaps(bundle), [])

    def test_arguments_that_never_come_are_a_gap(self):
        box = self.box(f"{HIDER} missing-arguments >/dev/null 2>&1 & sleep 0.5")
        try:
            _, bundle = self.collect(box, 3)
        except AssertionError:
            if not [p for p in box.pids() if open(f"/proc/{p}/comm", encoding="ascii").read() == "hider\n"]:
                self.skipTest("no userfaultfd(2) here")
            raise
        pid = self.one(bundle, "hider")["pid"]
        lost = {(g["artifact"], g["origin"]) for g in self.gaps(bundle, "lost")}
        self.assertEqual(lost, {("proc.cmdline", f"pid {pid}"), ("proc.environ", f"pid {pid}")})

    def test_a_program_whose_path_is_longer_than_a_page(self):
        box = self.box(f"{HIDER} deep 5556 >/dev/null 2>&1 & sleep 1")
        _, bundle = self.collect(box, 0)
        process = self.one(bundle, "deep")
        self.assertGreater(len(process["exe"]["path"]), 4096)
        self.assertEqual(process["exe"]["origin"], "upper")
        self.assertIn("CT-EXEC-003", {f["rule"] for f in bundle.records("findings.jsonl") if f.get("pid") == process["pid"]})
        self.assertIn(f"containers/{self.container}/executables/{process['exe']['sha256']}.zst", bundle.streams)
        self.assertEqual([(g["impact"], g["artifact"]) for g in self.gaps(bundle)], [("degraded", "proc.cwd")])

    def test_a_mount_table_too_large_costs_nothing_else(self):
        box = self.box("echo evil > /root/implant; mkdir /dev/m; mount -t tmpfs t /dev/m; cd /dev/m; d=$(printf 'd%.0s' $(seq 250)); p=.; "
                       "for i in $(seq 15); do p=$p/$d; done; mkdir -p $p; "
                       "n=0; while [ $n -lt 4400 ]; do mount --bind /dev/m $p; n=$((n + 1)); done")
        _, bundle = self.collect(box, 3)
        lost = {(gap["artifact"], gap["code"]) for gap in self.gaps(bundle, "lost")}
        self.assertIn(("proc.mounts", "limit"), lost)
        self.assertLessEqual(lost, {("proc.mounts", "limit"), ("tree.mount", "outside"), ("container.tmpfs", "outside")})
        self.assertIn("/root/implant", [change["path"] for change in self.records(bundle, "changes")])
        self.assertEqual({p["exe"]["origin"] for p in self.records(bundle, "processes")}, {"image"})

    def test_zombies_bury_nothing(self):
        box = self.box(f"{HIDER} zombies 3000 >/dev/null 2>&1 & sleep 1; cp {HIDER} /tmp/evil; /tmp/evil listen 5557 >/dev/null 2>&1 & sleep 1")
        begun = time.monotonic()
        _, bundle = self.collect(box, 0)
        self.assertLess(time.monotonic() - begun, 60)
        states = [p["state"] for p in self.records(bundle, "processes")]
        self.assertEqual(states.count("Z"), 3000)
        self.assertNotIn("Z", states[:len(states) - 3000])  # who lives comes first
        self.one(bundle, "evil")
        self.assertEqual(self.gaps(bundle), [])
