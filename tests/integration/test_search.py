"""search and strings on a live process and on checkpoints: every kind of memory is searched, the target does not notice, and what was not read is told."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import lab
from lab import Box, Case, ctriage
from test_dump import ALWAYS, MARK, Target, build, in_its_own_namespaces

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "checkpoint")


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("gcc", "xz")


def lines(run):
    """(matches or strings, gaps, summary) of JSON Lines."""
    all_lines = [json.loads(line) for line in run.out.splitlines()]
    kinds = {"ctriage.match/1", "ctriage.string/1"}
    return [x for x in all_lines if x["schema"] in kinds], [x for x in all_lines if x["schema"] == "ctriage.gap/1"], all_lines[-1]


class Search(Case):
    @classmethod
    def setUpClass(cls):
        cls.build_directory = tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.build_directory)
        cls.program = build(cls.build_directory)
        cls.plain = os.path.join(cls.build_directory, "crio.tar")
        with open(cls.plain, "wb") as out:
            subprocess.run(["xz", "-dc", os.path.join(DATA, "crio.tar.xz")], stdout=out, check=True)

    def search(self, *arguments, statuses=(0,)):
        return lines(self.expect(ctriage("search", *arguments, "--format", "jsonl"), *statuses))

    def test_every_kind_of_memory_and_the_target_does_not_grow(self):
        target = Target(self, self.program, resident_mib=80)
        before = target.costs()
        found, gaps, summary = self.search(f"pid:{target.pid}", f"re:{MARK}-[a-z]+")
        self.assertEqual(target.costs(), before)
        at = {}
        for match in found:
            at.setdefault(match["bytes"], []).append(match)
        for name in ALWAYS:
            (match,) = [m for m in at[f"{MARK}-{name}"] if int(m["address"], 16) == target.places[name]]
            self.assertEqual((match["pid"], match["kind"], match["size_bytes"]), (target.pid, "memory", len(MARK) + 1 + len(name)))
        self.assertEqual(at[f"{MARK}-protnone"][0]["protection"], "---p")
        self.assertEqual(at[f"{MARK}-heap"][0]["path"], "[heap]")
        self.assertTrue(at[f"{MARK}-memfd"][0]["path"].startswith("/memfd:evil"))
        self.assertEqual(at[f"{MARK}-memfd"][0]["offset_bytes"], 4096)
        self.assertGreater(summary["searched_bytes"], 80 << 20)
        self.assertLess(summary["searched_bytes"], 100 << 20)
        self.assertFalse(summary["complete"], "of its shared memory not all was touched")
        # A page of a file that nobody changed is in the file; that it was left is told, and how to take it.
        where = {int(m["address"], 16) for m in found}
        self.assertNotIn(target.places["sharedfile"], where)
        self.assertTrue([g for g in gaps if "--file-pages all" in g["reason"]])
        self.assertTrue([g for g in gaps if "not touched" in g["reason"]])
        found, _, _ = self.search(f"pid:{target.pid}", f"{MARK}-sharedfile", "--file-pages", "all")
        self.assertIn(target.places["sharedfile"], [int(m["address"], 16) for m in found])

    def test_what_hides_is_told(self):
        """A file in memory that nobody maps, and a match that is too long: neither is nothing found."""
        script = ("import os,sys,time; fd = os.memfd_create('stash'); os.write(fd, b'x' * 9000); "
                  "kept = b'GET /' + b'a' * 5000 + b' HTTP/1.1'; print('ready', flush=True); time.sleep(1000)")
        hidden = subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE)
        self.addCleanup(hidden.stdout.close)
        self.addCleanup(hidden.wait)
        self.addCleanup(hidden.kill)
        hidden.stdout.readline()
        found, gaps, summary = self.search(f"pid:{hidden.pid}", "re:GET /a[!-~]+ HTTP/1\\.[01]", statuses=(3,))
        self.assertEqual((found, summary["complete"]), ([], False))
        reasons = [g["reason"] for g in gaps if g["impact"] == "lost"]
        self.assertTrue([r for r in reasons if "/memfd:stash" in r and "not mapped" in r], reasons)
        self.assertTrue([r for r in reasons if "only more than 4,096" in r], reasons)

    def test_what_was_found_before_a_stop_is_told(self):
        """strings takes some seconds for that much."""
        target = Target(self, self.program, resident_mib=2400)
        with open(os.path.join(self.temp(), "out"), "w+b") as file:
            process = subprocess.Popen([lab.binary(), "strings", f"pid:{target.pid}", "-m", "16"], stdout=file, stderr=subprocess.PIPE)
            time.sleep(1)
            process.terminate()
            _, err = process.communicate(timeout=60)
            file.seek(0)
            out = file.read()
        self.assertEqual(process.returncode, 3, err)
        self.assertIn(f"{MARK}-heap".encode(), out)
        self.assertIn(b"NOT", out[-3000:])

    def test_sparse_files_of_a_checkpoint(self):
        """CRIU packs a tmpfs with tar --sparse."""
        base = self.temp()
        os.mkdir(f"{base}/shm")
        with open(f"{base}/shm/holes", "wb") as file:
            file.seek(1 << 20)
            file.write(b"sparse-secret-of-the-test")
        os.mkdir(f"{base}/checkpoint")
        subprocess.run(["tar", "-C", f"{base}/shm", "--sparse", "-czf", f"{base}/checkpoint/tmpfs-dev-58.tar.gz.img", "."], check=True)
        shutil.copy(self.plain, f"{base}/with.tar")
        subprocess.run(["tar", "-C", base, "-rf", f"{base}/with.tar", "checkpoint/tmpfs-dev-58.tar.gz.img"], check=True)
        found, _, _ = self.search(f"{base}/with.tar", "sparse-secret-of-the-test")
        self.assertEqual([(m["kind"], m["path"]) for m in found], [("tmpfs", "/holes")])

    def test_the_same_as_what_is_in_memory(self):
        """Four bytes of a known sequence: everywhere they stand, and nowhere else."""
        target = Target(self, self.program)
        area = target.memory(target.places["area"], 8 << 20)
        wanted = area[4096 * 77 - 2:4096 * 77 + 2]  # over two pages
        found, _, _ = self.search(f"pid:{target.pid}", "hex:" + wanted.hex())
        inside = [int(m["address"], 16) - target.places["area"] for m in found
                  if 0 <= int(m["address"], 16) - target.places["area"] < 8 << 20]
        self.assertEqual(inside, [m.start() for m in re.finditer(re.escape(wanted), area)])
        self.assertIn(4096 * 77 - 2, inside)

    def test_words_in_either_order_and_options(self):
        target = Target(self, self.program)
        pid = f"pid:{target.pid}"
        wanted = [m["address"] for m in self.search(pid, f"{MARK}-heap")[0]]
        self.assertTrue(wanted)
        indicators = os.path.join(self.temp(), "iocs")
        with open(indicators, "w") as file:
            file.write(f"# ours\n\n{MARK}-heap\r\nnothing-that-is-there\n")
        for arguments in ((f"{MARK}-heap", pid), (pid, "-e", f"{MARK}-heap"), (pid, "-f", indicators), (pid, "text:" + f"{MARK}-heap"),
                          (pid, "re:ctriage_mark-hea[p]"), (pid, "hex:" + f"{MARK}-heap".encode().hex()), (pid, "-i", f"{MARK}-HEAP")):
            with self.subTest(arguments=arguments):
                self.assertEqual([m["address"] for m in self.search(*arguments)[0]], wanted)
        for arguments in ((pid,), (pid, "re:a("), (pid, "re:a*"), (pid, "hex:1"), (pid, "a", "-e", "b"), (pid, "-f", "/dev/null"),
                          ("pid:1", "pid:2"), (pid, "--preset", "nothing")):
            with self.subTest(arguments=arguments):
                self.expect(ctriage("search", *arguments), 1 if "/dev/null" in arguments else 2)
        run = self.expect(ctriage("search", pid, f"{MARK}-heap"), 0)
        self.assertIn(f"[{MARK}-heap]".encode(), run.out)
        self.assertIn(b"[heap]", run.out)

    def test_no_match_is_told_with_what_was_read(self):
        target = Target(self, self.program)
        run = self.expect(ctriage("search", f"pid:{target.pid}", "re:no such [t]ext"), 0)
        self.assertRegex(run.out.decode(), r"-- no match in .* of 1 process")
        gone = subprocess.Popen(["true"])
        gone.wait()
        self.expect(ctriage("search", f"pid:{gone.pid}", "x"), 1)
        self.expect(ctriage("search", f"pid:{target.pid}", "--pid", "1", "x"), 1)

    def test_escapes_are_escaped(self):
        play = ("import mmap, time\nm = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
                "m.write(bytes(b ^ 1 for b in b'\\x1a3Kdwhm,l`sjds\\x1a1l'))\nprint('ready', flush=True); time.sleep(1000)")
        process = subprocess.Popen([sys.executable, "-c", play], stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        run = self.expect(ctriage("search", f"pid:{process.pid}", "evil-marker"), 0)
        self.assertNotIn(b"\x1b", run.out)
        self.assertIn(rb"\x1b2J[evil-marker]\x1b0m", run.out)

    def test_shared_memory_of_several_is_searched_once(self):
        play = ("import mmap, os, time\nm = mmap.mmap(-1, 1 << 20)\nm.write(bytes(b ^ 1 for b in b'unfduids,l`sjds'))\n"
                "for _ in range(3):\n  if os.fork() == 0:\n    m[0:1]; time.sleep(1000)\n"
                "print('ready', flush=True); time.sleep(1000)")
        first = in_its_own_namespaces(self, play)
        found, _, summary = self.search(f"pid:{first}", "--all", "together-marker")
        shared = [m for m in found if "/dev/zero" in m["path"]]  # what made it lies in the heap of each
        self.assertEqual([(m["pid"], m["container_pid"]) for m in shared], [(first, 1)])
        self.assertGreaterEqual(summary["processes"], 4)

    def test_strings(self):
        target = Target(self, self.program)
        found, _, summary = lines(self.expect(ctriage("strings", f"pid:{target.pid}", "-m", "12", "--format", "jsonl"), 0))
        at = {int(s["address"], 16): s["text"] for s in found}
        for name in ALWAYS:
            self.assertTrue(at[target.places[name]].startswith(f"{MARK}-{name}"), name)
        self.assertEqual(summary["matches"], len(found))
        self.assertTrue(all(len(s["text"]) >= 12 or s["goes_on"] for s in found))
        run = self.expect(ctriage("strings", f"pid:{target.pid}", "-m", "12", "--encoding", "ascii"), 0)
        self.assertIn(f"{MARK}-heap".encode(), run.out)

    def test_a_reader_that_goes_away_ends_it(self):
        target = Target(self, self.program, resident_mib=80)
        process = lab.start("strings", f"pid:{target.pid}", "-m", "4")
        process.stdout.read(100)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 1)
        process.stderr.close()

    def test_checkpoint_in_every_form(self):
        tree = os.path.join(self.build_directory, "tree")
        os.mkdir(tree)
        subprocess.run(["tar", "-xf", self.plain, "-C", tree], check=True)
        first = None
        for form in (self.plain, tree, os.path.join(DATA, "crio.tar.xz")):
            with self.subTest(form=os.path.basename(form)):
                found, _, summary = self.search(form, "--preset", "keys,shell", "-e", "PY-HEAP-MARKER")
                seen = sorted((m.get("pid", 0), m["kind"], m.get("address", ""), m["pattern"], m["bytes"]) for m in found)
                self.assertTrue([m for m in found if m["pattern"] == "keys" and "AWS_SECRET_ACCESS_KEY=" in m["bytes"]])
                self.assertEqual(summary["processes"], 4)
                self.assertGreater(summary["objects"], 3)
                first = first or seen
                self.assertEqual(seen, first)
        run = self.expect(ctriage("search", self.plain, "DB_PASSWORD=hunter2"), 0)
        self.assertIn(b"[DB_PASSWORD=hunter2]", run.out)
        self.assertIn(b"rw-p", run.out)
        found, _, _ = self.search(self.plain, "PY-HEAP-MARKER", "--pid", "20")
        self.assertEqual(found, [])

    def test_a_cut_checkpoint_never_reads_as_not_found(self):
        cut = os.path.join(self.temp(), "cut.tar")
        with open(self.plain, "rb") as whole, open(cut, "wb") as out:
            out.write(whole.read()[:1_000_000])
        run = self.expect(ctriage("search", cut, "re:no such [t]ext"), 3)
        self.assertIn(b"NOT all", run.out)

    def collected(self, target, *options):
        into = self.temp()
        self.expect(ctriage("collect", target, "-o", into, *options), 0, 3)
        return self.one_bundle(into)

    def test_memory_in_a_bundle_is_that_of_the_process(self):
        target = Target(self, self.program, resident_mib=80)
        live, _, _ = self.search(f"pid:{target.pid}", f"re:{MARK}-[a-z]+")
        bundle = self.collected(f"pid:{target.pid}")
        unpacked = self.temp()
        subprocess.run(["tar", "xf", bundle, "-C", unpacked], check=True)
        plain = self.collected(f"pid:{target.pid}", "--compress", "none")

        def places(found):
            return sorted((m["pid"], m["address"], m["protection"], m.get("path"), m.get("offset_bytes"), m["bytes"]) for m in found
                          if m["kind"] == "memory")

        for source in (bundle, unpacked, plain):
            with self.subTest(source=source):
                found, _, summary = self.search(source, f"re:{MARK}-[a-z]+")
                self.assertEqual(places(found), places(live))
                for name in ALWAYS:
                    self.assertTrue([m for m in found if m["bytes"] == f"{MARK}-{name}" and int(m["address"], 16) == target.places[name]], name)
                self.assertEqual(summary["processes"], 1)
        strings, _, _ = lines(self.expect(ctriage("strings", bundle, "--format", "jsonl", "-m", "12"), 0))
        self.assertIn(f"{MARK}-heap", {s["text"] for s in strings})
        self.expect(ctriage("search", bundle, "x", "--pid", "1"), 1)

    def test_files_and_programs_in_a_bundle(self):
        with Box("cp /bin/busybox /tmp/implant; printf 'in-the-upper-layer' >/etc/note; printf 'in-a-tmpfs' >/dev/shm/note; "
                 "exec -a busybox /tmp/implant sleep 1000000") as box:
            time.sleep(0.5)
            with open(os.path.join(box.upper, "sparse"), "wb") as file:
                file.seek(1 << 40)
                file.write(b"behind-a-hole")
            bundle = self.collected(f"pid:{box.pid}")
        found, _, _ = self.search(bundle, "-e", "in-the-upper-layer", "-e", "in-a-tmpfs", "-e", "behind-a-hole", "-e", "BusyBox v")
        seen = {(m["kind"], m["path"].rpartition("/")[2], m["pattern"]) for m in found}
        for expected in (("layer", "note", "in-the-upper-layer"), ("tmpfs", "note", "in-a-tmpfs"), ("layer", "sparse", "behind-a-hole"),
                         ("layer", "implant", "BusyBox v")):
            self.assertIn(expected, seen)
        self.assertIn("program", {m["kind"] for m in found if m["pattern"] == "BusyBox v"})
        self.assertEqual([m["offset_bytes"] for m in found if m["pattern"] == "behind-a-hole"], [1 << 40])

    def test_memory_that_is_not_in_a_bundle_is_named(self):
        target = Target(self, self.program)
        for options, said in ((("--only", "state"), "is not in the bundle"), (("--memory-each", "1M"), "--memory-each")):
            with self.subTest(options=options):
                bundle = self.collected(f"pid:{target.pid}", *options)
                _, gaps, summary = self.search(bundle, "re:no such [t]ext")
                self.assertFalse(summary["complete"])
                self.assertIn(said, json.dumps(gaps))
                self.assertIn(b"NOT all", self.expect(ctriage("search", bundle, "re:no such [t]ext"), 0).out)

    def test_a_cut_bundle_never_reads_as_not_found(self):
        target = Target(self, self.program, resident_mib=80)
        bundle = self.collected(f"pid:{target.pid}", "--compress", "none")
        cut = os.path.join(self.temp(), "cut.ctriage.tar")
        with open(bundle, "rb") as whole, open(cut, "wb") as out:
            out.write(whole.read()[:40 << 20])
        self.assertIn(b"NOT all", self.expect(ctriage("search", cut, "re:no such [t]ext"), 3).out)
