"""What the views say of one source must fit together: gaps, exit statuses, the commands they offer."""
import datetime
import os
import pty
import shlex
import shutil
import subprocess
import threading
import time

import lab
from lab import Box, Case, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "gcc", "bash")


class Views(Case):
    @classmethod
    def setUpClass(cls):
        cls.box = Box(lab.intrusion() + "while :; do sleep 1000; done", wait_for="intrusion played",
                      files={"/opt/implant": lab.build_implant(lab.BUILD_DIR)})
        cls.addClassCleanup(cls.box.stop)
        cls.target = f"pid:{cls.box.pid}"
        cls.out = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.out, ignore_errors=True)
        cls.collected = ctriage("collect", cls.target, "-o", cls.out, "--json")
        cls.bundle = os.path.join(cls.out, next(n for n in os.listdir(cls.out) if n.endswith(".tar")))

    def test_fail_on_holds_in_every_view(self):
        for source in (self.bundle, self.target):
            for view in (("show",), ("show", "--ps"), ("show", "--all", "--json"), ("diff",), ("diff", "--json")):
                with self.subTest(source=source, view=view):
                    self.expect(ctriage(view[0], source, *view[1:], "--fail-on", "high"), 4)
                    self.expect(ctriage(view[0], source, *view[1:]), 0, 3)

    def test_rules_only_where_they_are_honoured(self):
        for arguments in (("list",), ("verify", self.bundle)):
            for option in (("--rules", "/nonexistent"), ("--fail-on", "high")):
                with self.subTest(arguments=arguments, option=option):
                    self.expect(ctriage(*arguments, *option), 2)
        self.expect(ctriage("diff", self.bundle, "--rules", "/nonexistent"), 1)
        self.assertIn(b"a bundle's findings are fixed", " ".join(ctriage("show", "--help").out.decode().split()).encode())

    def test_gaps_are_printed_once_and_on_stdout(self):
        for view in (("show",), ("show", "--ps"), ("show", "--all"), ("show", "F1"), ("diff",)):
            with self.subTest(view):
                run = self.expect(ctriage(view[0], self.target, *view[1:]), 0, 3)
                self.assertEqual(run.out.count(b"gaps"), 1, str(run))
                self.assertEqual(run.err, b"")

    def test_commands_can_be_copied(self):
        run = self.expect(ctriage("show", self.target, "F1"), 0, 3)
        self.assertIn(f"ctriage show {self.target} --maps --pid ".encode(), run.out)

    def test_a_finding_with_what_happened_around_it(self):
        for source in (self.target, self.bundle):
            with self.subTest(source):
                text = self.expect(ctriage("show", source, "F2"), 0, 3).out.decode()
                self.assertIn("TIMELINE five minutes before and after\n", text)
                document = self.expect(ctriage("show", source, "F2", "--json"), 0, 3).json()
                events = document["timeline"]
                self.assertTrue(any(event["kind"] == "process" for event in events))
                self.assertTrue(any(event["kind"] == "file" for event in events))
                times = [event["at"] for event in events]
                self.assertEqual(times, sorted(times))
                seconds = [datetime.datetime.fromisoformat(at[:19]) for at in (*times, document["finding"]["at"])]
                self.assertTrue(all(abs((at - seconds[-1]).total_seconds()) <= 301 for at in seconds))

    def test_collect_json_carries_its_gaps(self):
        told = self.collected.json()
        self.assertEqual(len(told["gaps"]), sum(told["counts"][f"gaps_{i}"] for i in ("lost", "degraded", "note")))
        for gap in told["gaps"]:
            self.assertEqual({"impact", "artifact", "origin", "code", "reason", "at"} - set(gap), set())

    def test_collect_without_a_place(self):
        run = self.expect(ctriage("collect", "no such pod", "-n", "shop", "-c", "app", "--max-bytes", "1G"), 2)
        lines = [line for line in run.err.decode().splitlines() if line.startswith("  ctriage ")]
        self.assertTrue(lines, str(run))
        words = shlex.split(lines[0], comments=True)
        self.assertEqual(words[:-1],
                         ["ctriage", "collect", "no such pod", "-n", "shop", "-c", "app", "--max-bytes", "1G", "-o"])
        self.assertIn(b"no such pod or container", run.err)

    def test_verbose_collect_tells_every_gap(self):
        few, every = (self.expect(ctriage("collect", self.target, "-o", self.temp(), *v), 0, 3).out.decode()
                      for v in ((), ("-v",)))
        self.assertNotIn("more gap", every)
        self.assertGreaterEqual(every.count("\n"), few.count("\n"))

    def test_completion_is_bash(self):
        script = self.expect(ctriage("completion", "bash"), 0).out
        self.assertIn(b"--fail-on", script)
        checked = subprocess.run(["bash", "-n"], input=script, stderr=subprocess.PIPE)
        self.assertEqual((checked.returncode, checked.stderr), (0, b""))


class Progress(Case):
    """A line on the terminal for work over a second, and nowhere else."""

    def verify_slowly(self, *options, terminal=True):
        box = Box()
        self.addCleanup(box.stop)
        out = self.temp()
        self.expect(ctriage("collect", f"pid:{box.pid}", "-o", out), 0, 3)
        with open(self.one_bundle(out), "rb") as file:
            data = file.read()
        ours, theirs = pty.openpty() if terminal else os.pipe()
        process = subprocess.Popen([lab.binary(), "verify", "-", *options], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        seen = []

        def drain():
            try:
                while part := os.read(ours, 4096):
                    seen.append(part)
            except OSError:  # the terminal has no other end any more
                pass
        reader = threading.Thread(target=drain)
        reader.start()
        for part in (data[:1024], data[1024:2048], data[2048:]):
            process.stdin.write(part)
            process.stdin.flush()
            time.sleep(1.2)
        process.stdin.close()
        self.assertEqual(process.wait(60), 0)
        reader.join(60)
        process.stdout.close()
        os.close(ours)
        return b"".join(seen)

    def test_on_a_terminal(self):
        log = os.path.join(self.temp(), "log")
        seen = self.verify_slowly("--log-file", log)
        self.assertRegex(seen, rb"\r\x1b\[K[12]s \.\.\. ")
        self.assertTrue(seen.endswith(b"\r\x1b[K"), seen)
        with open(log, "rb") as file:
            self.assertEqual(file.read(), b"")

    def test_nowhere_else(self):
        self.assertEqual(self.verify_slowly("-q"), b"")
        self.assertEqual(self.verify_slowly(terminal=False), b"")
