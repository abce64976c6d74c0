"""A container without an engine: targets by pid, hostile upper layers, ends that come early."""
import glob
import os
import resource
import signal
import socket
import subprocess
import tarfile
import time

import lab
from lab import Box, Bundle, Case, Untouched, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "nsenter", "pivot_root", "zstd", "gcc")


class BoxCase(Case):
    def box(self, *arguments, **options):
        made = Box(*arguments, **options)
        self.addCleanup(made.stop)
        return made

    def collect(self, box, *options, statuses=(0,), **more):
        out = self.temp()
        run = self.expect(ctriage("collect", f"pid:{box.pid}", "-o", out, *options, **more), *statuses)
        bundle = Bundle(self.one_bundle(out))
        self.addCleanup(bundle.close)
        self.expect(ctriage("verify", bundle.path), 0)
        return run, bundle


class Target(BoxCase):
    def test_intrusion(self):
        box = self.box(lab.intrusion() + "while :; do sleep 1000; done", wait_for="intrusion played",
                       files={"/opt/implant": lab.build_implant(lab.BUILD_DIR)})
        visitor = box.enter("sleep", "333333")
        self.addCleanup(lambda: (visitor.kill(), visitor.wait()))
        time.sleep(1)
        members = box.pids()
        watch = Untouched([box.upper, *box.lowers], members)
        run, bundle = self.collect(box, "--json")
        self.assertEqual(watch.changed(), [])
        self.assertEqual(watch.grown(), [])
        processes = {p["pid"]: p for p in bundle.records(f"containers/{bundle.containers()[0]}/processes.jsonl")}
        self.assertEqual(set(processes), members)
        entered = [p["membership"] for p in processes.values() if p["argv"] == ["sleep", "333333"]]
        self.assertEqual(entered, ["entered"])
        severities = [f["severity"] for f in bundle.records("findings.jsonl")]
        self.assertGreaterEqual(severities.count("critical"), 2)
        self.assertTrue(run.json()["schema"].startswith("ctriage."))
        self.assertRegex(os.path.basename(bundle.path), rf"_pid-{box.pid}_\d{{8}}T\d{{6}}Z\.ctriage\.tar$")

    def test_a_member_leads_to_the_container(self):
        box = self.box("sleep 1111 & sleep 2222 & wait")
        time.sleep(0.3)
        inner = next(pid for pid in box.pids() if pid != box.pid)
        out = self.temp()
        self.expect(ctriage("collect", f"pid:{inner}", "-o", out), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            container = bundle.containers()[0]
            self.assertEqual({p["pid"] for p in bundle.records(f"containers/{container}/processes.jsonl")}, box.pids())

    def test_an_ordinary_process_is_alone(self):
        process = subprocess.Popen(["sleep", "4444"])
        self.addCleanup(lambda: (process.kill(), process.wait()))
        out = self.temp()
        self.expect(ctriage("collect", f"pid:{process.pid}", "-o", out), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            records = [r for s in bundle.streams if s.endswith("/processes.jsonl") for r in bundle.records(s)]
            self.assertEqual([(r["pid"], r["membership"]) for r in records], [(process.pid, "alone")])

    def test_no_such_target(self):
        dead = subprocess.Popen(["true"])
        dead.wait()
        out = self.temp()
        for token in (f"pid:{dead.pid}", "pid:999999999", "no-such-pod", "ns/no-such-pod"):
            with self.subTest(token):
                run = self.expect(ctriage("collect", token, "-o", out), 1)
                self.assertEqual(run.err.count(b"\n"), 1, str(run))
                self.assertEqual(run.out, b"")
                self.assertEqual(os.listdir(out), [])

    def test_zombie(self):
        process = subprocess.Popen(["true"])
        self.addCleanup(process.wait)
        time.sleep(0.3)
        out = self.temp()
        run = self.expect(ctriage("collect", f"pid:{process.pid}", "-o", out), 1)
        self.assertIn(b"has ended (zombie)", run.err)
        self.assertEqual(os.listdir(out), [])

    def test_usage(self):
        box = self.box()
        run = self.expect(ctriage("collect", f"pid:{box.pid}"), 2)
        self.assertIn(f"ctriage collect pid:{box.pid} -o ".encode(), run.err)
        for arguments in (("collect",), ("collect", "--no-such-option"), ("no-such-command",), ("verify",),
                          ("collect", f"pid:{box.pid}", "-o", "/tmp", "--max-bytes", "many")):
            with self.subTest(arguments):
                self.expect(ctriage(*arguments), 2)
        self.expect(ctriage("collect", f"pid:{box.pid}", "-o", "/no/such/directory"), 1, 2)
        for arguments in (("--help",), ("collect", "--help"), ("--version",), ("completion", "bash")):
            self.expect(ctriage(*arguments), 0)

    def test_output_inside_the_container_is_refused(self):
        box = self.box()
        before = sorted(os.listdir(box.upper))
        for place in (box.upper, f"{box.root}/tmp", box.lowers[0]):
            with self.subTest(place):
                self.expect(ctriage("collect", f"pid:{box.pid}", "-o", place), 1, 2)
        self.assertEqual(sorted(os.listdir(box.upper)), before)
        self.assertEqual(os.listdir(os.path.join(box.upper, "tmp")) if "tmp" in before else [], [])

    def test_state_comes_in_time(self):
        """--json says how long the hold took and when the state was sealed; see bench/ for the numbers."""
        _, bundle = self.collect(self.box())
        phases = [c for c in bundle.records("custody.jsonl") if c["action"] == "phase"]
        self.assertGreaterEqual(len(phases), 2)
        first = phases[0]
        with open(bundle.path, "rb") as file:
            head = file.read(first["length_bytes"])
        self.assertEqual(lab.hashlib.sha256(head).hexdigest(), first["sha256"])


class Several(BoxCase):
    def test_two_in_the_same_second(self):
        box = self.box()
        out = self.temp()
        runs = [lab.start("collect", f"pid:{box.pid}", "-o", out, "-q") for _ in range(3)]
        for run in runs:
            self.expect(lab.finish(run), 0)
        bundles = glob.glob(out + "/*.ctriage.tar")
        self.assertEqual(len(bundles), 3, os.listdir(out))
        for bundle in bundles:
            self.expect(ctriage("verify", bundle), 0)


class Hostile(BoxCase):
    """Everything an attacker can put into the upper layer."""

    def test_odd_files(self):
        box = self.box("while :; do sleep 1000; done")
        root = box.root + "/evil"
        os.mkdir(root)
        outside = os.path.join(self.temp(), "secret")
        with open(outside, "w", encoding="ascii") as file:
            file.write("of the examiner\n")
        watch_secret = Untouched([os.path.dirname(outside)])

        os.mkfifo(f"{root}/fifo")
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(f"{root}/socket")
        os.mknod(f"{root}/null", 0o600 | 0o020000, os.makedev(1, 3))
        os.mknod(f"{root}/block", 0o600 | 0o060000, os.makedev(7, 200))
        with open(f"{root}/sparse", "wb") as file:
            file.truncate(2**63 - 4096)  # the most that tmpfs takes
            file.seek(1 << 40)
            file.write(b"needle")
        with open(f"{root}/linked", "wb") as file:
            file.write(b"one inode\n")
        os.link(f"{root}/linked", f"{root}/linked-2")
        os.link(f"{root}/linked", f"{root}/linked-3")
        os.symlink("/etc/shadow", f"{root}/link-absolute")
        os.symlink("../" * 40 + outside.lstrip("/"), f"{root}/link-out")
        os.symlink("x" * 4000, f"{root}/link-long")
        os.symlink("loop", f"{root}/loop")
        names = [b"new\nline", b"esc\x1b[31mred\x1b[0m", b"bad\xff\xfeutf8", b"rtl\xe2\x80\xaegpj.exe", b"-rf", b" ", b"back\\slash",
                 b"x" * 255, b"c1\xc2\x9b31m", b".wh.not-a-whiteout", b"tab\t", b"%2e%2e", b"quote\"'$(id)`"]
        for name in names:
            with open(os.path.join(root.encode(), name), "wb") as file:
                file.write(b"content of " + name)
        os.mkdir(f"{root}/xattrs")
        for number in range(20):
            os.setxattr(f"{root}/xattrs", f"trusted.big{number}", os.urandom(3000))
        try:
            os.setxattr(f"{root}/linked", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
            capability = True
        except OSError:
            capability = False

        _, bundle = self.collect(box, timeout=120)
        container = bundle.containers()[0]
        changes = {lab.path_of(c): c for c in bundle.records(f"containers/{container}/changes.jsonl")}
        for name, kind in ((b"fifo", "fifo"), (b"socket", "socket"), (b"null", "character"), (b"block", "block"),
                           (b"link-out", "symlink"), (b"loop", "symlink"), (b"sparse", "regular")):
            self.assertEqual(changes[b"/evil/" + name]["after"]["type"], kind, name)
        layer = self.read_layer(bundle, container)
        for name in names:
            self.assertIn(b"/evil/" + name, changes)
            self.assertEqual(changes[b"/evil/" + name]["after"]["sha256"],
                             lab.hashlib.sha256(b"content of " + name).hexdigest())
            if name != b".wh.not-a-whiteout":  # a layer has no way to hold such a name
                self.assertIn(b"evil/" + name, layer)
        linked = [layer[b"evil/" + n] for n in (b"linked", b"linked-2", b"linked-3")]
        self.assertEqual([m.isreg() for m in linked], [True, False, False])
        self.assertEqual([m.islnk() for m in linked], [False, True, True])
        self.assertEqual(changes[b"/evil/sparse"]["after"]["size_bytes"], 2**63 - 4096)
        self.assertEqual(changes[b"/evil/link-out"]["after"]["link_target"], "../" * 40 + outside.lstrip("/"))
        if capability:
            self.assertIn("security.capability", [x["name"] for x in changes[b"/evil/linked"]["after"]["xattrs"]])
        self.assertEqual(len([x for x in changes[b"/evil/xattrs"]["after"]["xattrs"] if x["name"].startswith("trusted.big")]),
                         20)
        self.assertEqual(watch_secret.changed(), [])

        for command in (("show", bundle.path), ("diff", bundle.path), ("diff", f"pid:{box.pid}"), ("verify", bundle.path)):
            run = self.expect(ctriage(*command), 0, 3)
            for poison in (b"\x1b", b"\xc2\x9b", b"\xe2\x80\xae", b"\xff"):
                self.assertNotIn(poison, run.out + run.err, command)
        self.assertTrue(all(byte < 128 for byte in ctriage("diff", bundle.path, "--json").out))

    @staticmethod
    def read_layer(bundle, container):
        """Headers only, by name: the sparse file is 8 EiB long."""
        data = bundle.bytes(f"containers/{container}/upper.tar.zst")
        with tarfile.open(fileobj=lab.io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as layer:
            return {os.fsencode(m.name).rstrip(b"/"): m for m in layer}

    def test_deep_tree(self):
        box = self.box("while :; do sleep 1000; done")
        top = os.open(box.root, os.O_DIRECTORY)
        where = top
        depth = 0
        while depth < 200:  # names of 100 bytes: 20,000 bytes of path, far over PATH_MAX
            os.mkdir("d" * 99 + str(depth % 10), dir_fd=where)
            deeper = os.open("d" * 99 + str(depth % 10), os.O_DIRECTORY, dir_fd=where)
            os.close(where)
            where, depth = deeper, depth + 1
        with open(os.open("treasure", os.O_CREAT | os.O_WRONLY, dir_fd=where), "wb") as file:
            file.write(b"at the bottom")
        os.close(where)
        _, bundle = self.collect(box, timeout=120)
        container = bundle.containers()[0]
        bottom = [c for c in bundle.records(f"containers/{container}/changes.jsonl") if c["path"].endswith("/treasure")]
        self.assertEqual([c["after"]["sha256"] for c in bottom], [lab.hashlib.sha256(b"at the bottom").hexdigest()])

    def test_many_names(self):
        box = self.box("while :; do sleep 1000; done")
        os.mkdir(box.root + "/many")
        for number in range(20_000):
            os.close(os.open(f"{box.root}/many/{number * 7919 % 20_000}", os.O_CREAT | os.O_WRONLY))
        _, bundle = self.collect(box, timeout=240)
        container = bundle.containers()[0]
        names = [c["path"] for c in bundle.records(f"containers/{container}/changes.jsonl") if c["path"].startswith("/many/")]
        self.assertEqual(len(names), 20_000)
        self.assertEqual(names, sorted(names))

    def test_changes_while_we_look(self):
        """Files that come, go, grow and shrink all the time: never a crash, and what is sealed is whole."""
        box = self.box("mkdir /busy; i=0; while :; do i=$((i+1)); for n in 1 2 3 4 5; do echo $i >> /busy/grow$n; "
                       "echo $i > /busy/new$((i%50)); rm -f /busy/new$(((i+25)%50)); mkdir -p /busy/d; rmdir /busy/d; done; done")
        time.sleep(0.3)
        for _ in range(3):
            self.collect(box, statuses=(0, 3))

    def test_processes_that_come_and_go(self):
        box = self.box("while :; do for n in 1 2 3 4 5 6; do sleep 0.01 & done; wait; done")
        for _ in range(3):
            self.collect(box, statuses=(0, 3))

    def test_page_cache_is_left(self):
        box = self.box("while :; do sleep 1000; done", disk=True, files={"/opt/big": os.urandom(8 << 20)})
        box.run("cp /opt/big /added; echo x >> /opt/big; sync")
        paths = [box.upper + "/added", box.upper + "/opt/big", box.lowers[0] + "/opt/big"]
        for path in paths:
            lab.sha256_file(path)
        before = [lab.resident_pages(p) for p in paths]
        self.assertEqual(min(before), 2048)
        self.collect(box)
        self.assertEqual([lab.resident_pages(p) for p in paths], before)


class FewDescriptors(BoxCase):
    """More programs and processes than we may hold descriptors: opened when their turn comes, and that is said."""

    def test_all_programs_are_taken(self):
        box = self.box("for n in $(seq 60); do mkdir -p /root/p$n; cp /bin/busybox /root/p$n; for m in 1 2; do /root/p$n/busybox sleep 100000 & done; "
                       "done; sleep 1; echo all-run; while :; do sleep 1000; done", wait_for="all-run", size="256m")
        run, bundle = self.collect(box, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)))
        (container,) = bundle.containers()
        own = [p for p in bundle.records(f"containers/{container}/processes.jsonl") if "/p" in p["exe"]["path"]]
        self.assertEqual(len(own), 120)
        self.assertEqual({p["exe"]["origin"] for p in own}, {"upper"})
        digest = {p["exe"]["sha256"] for p in own}
        self.assertEqual(len(digest), 1)
        self.assertIn(f"containers/{container}/executables/{digest.pop()}.zst", bundle.streams)
        gaps = [g for g in bundle.records("gaps.jsonl") if "no descriptor was left" in g["reason"]]
        self.assertEqual([g["impact"] for g in gaps], ["degraded"], gaps)
        self.assertIn(b"no descriptor was left to hold ", run.out + run.err)


class Ends(BoxCase):
    """Collects that do not get to their end."""

    def big_box(self, mebibytes=300):
        box = self.box("while :; do sleep 1000; done")
        os.mkdir(box.root + "/data")
        for number in range(mebibytes):
            with open(f"{box.root}/data/{number:04}", "wb") as file:
                file.write(os.urandom(1 << 20))
        return box

    def begun(self, box, out, *options):
        """Starts a collect and waits until the bulk is being written."""
        process = lab.start("collect", f"pid:{box.pid}", "-o", out, *options)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        for _ in range(3000):
            parts = glob.glob(out + "/*.part")
            if parts and os.stat(parts[0]).st_size > 8 << 20:
                return process
            if process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError("ended before it could be interrupted: " + str(lab.finish(process)))

    def check_interrupted(self, out):
        found = glob.glob(out + "/*.ctriage.tar*")
        self.assertEqual(len(found), 1, os.listdir(out))
        self.expect(ctriage("verify", found[0]), 0 if found[0].endswith(".tar") else 3)
        with_state = self.expect(ctriage("show", found[0], "--json"), 0, 3)
        self.assertIn(b'"processes"', with_state.out)
        return found[0]

    def test_signals(self):
        box = self.big_box()
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                out = self.temp()
                process = self.begun(box, out)
                process.send_signal(number)
                began = time.monotonic()
                self.expect(lab.finish(process, 60), 3)
                self.assertLess(time.monotonic() - began, 10)
                self.check_interrupted(out)

    def test_kill(self):
        box = self.big_box()
        out = self.temp()
        process = self.begun(box, out)
        process.kill()
        lab.finish(process)
        part = self.one_bundle(out, ".part")
        self.expect(ctriage("verify", part), 3)
        salvage = self.expect(ctriage("verify", "--salvage", part), 3)
        self.assertIn(b"processes.jsonl", salvage.out)
        self.expect(ctriage("show", part), 0, 3)
        time.sleep(1)
        left = subprocess.run(["pgrep", "-f", f"collect pid:{box.pid}"], stdout=subprocess.PIPE, check=False).stdout
        self.assertEqual(left, b"", "children outlived their parent")

    def test_broken_pipe(self):
        """Nobody reads what we print: the evidence is still taken."""
        box = self.box()
        out = self.temp()
        process = lab.start("collect", f"pid:{box.pid}", "-o", out, "--json")
        process.stdout.close()
        process.stderr.close()
        process.wait(120)
        self.assertIn(process.returncode, (0, 1, 3))
        self.expect(ctriage("verify", self.one_bundle(out)), 0)

    def test_disk_full(self):
        box = self.big_box(40)
        for size in ("1m", "3m", "20m"):
            with self.subTest(size):
                out = self.temp()
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "ctriage-full", out], check=True)
                try:
                    run = ctriage("collect", f"pid:{box.pid}", "-o", out)
                    if size == "1m":  # not even the state may fit
                        self.expect(run, 1, 3)
                    else:
                        self.expect(run, 3)
                        with Bundle(self.one_bundle(out)) as bundle:
                            self.expect(ctriage("verify", bundle.path), 0)
                            self.assertIn("full", [g["code"] for g in bundle.records("gaps.jsonl")])
                            self.assertTrue(bundle.records(f"containers/{bundle.containers()[0]}/processes.jsonl"))
                finally:
                    subprocess.run(["umount", out], check=True)

    def test_max_bytes(self):
        box = self.big_box(40)
        for limit in (4 << 20, 16 << 20):
            with self.subTest(limit):
                out = self.temp()
                self.expect(ctriage("collect", f"pid:{box.pid}", "-o", out, "--max-bytes", str(limit)), 3)
                bundle = self.one_bundle(out)
                self.assertLessEqual(os.stat(bundle).st_size, limit)
                self.expect(ctriage("verify", bundle), 0)

    def test_target_dies(self):
        box = self.big_box()
        out = self.temp()
        process = self.begun(box, out)
        os.kill(box.pid, signal.SIGKILL)
        self.expect(lab.finish(process), 0, 3)
        with Bundle(self.one_bundle(out)) as bundle:
            self.expect(ctriage("verify", bundle.path), 0)
            container = bundle.containers()[0]
            self.assertEqual(len([n for n in bundle.layer(container) if n.startswith("data/0")]), 300)
