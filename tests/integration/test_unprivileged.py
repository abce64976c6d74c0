"""As an ordinary user: what can be had, and the name of the capability for the rest."""
import os
import pwd
import shutil
import subprocess
import time

import lab
from lab import Box, Bundle, Case, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("setpriv", "unshare", "pivot_root")


class Unprivileged(Case):
    @classmethod
    def setUpClass(cls):
        user = pwd.getpwnam("nobody")
        cls.prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--inh-caps=-all",
                      "--bounding-set=-all", "--no-new-privs"]
        cls.dir = lab.tempfile.mkdtemp(prefix="ctriage-test-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        os.chmod(cls.dir, 0o755)
        cls.program = os.path.join(cls.dir, "ctriage")  # the build tree may be closed to others
        shutil.copy(lab.binary(), cls.program)
        os.chmod(cls.program, 0o755)
        cls.out = os.path.join(cls.dir, "out")
        os.mkdir(cls.out)
        os.chown(cls.out, user.pw_uid, user.pw_gid)

    def as_nobody(self, *arguments):
        return ctriage(*arguments, prefix=self.prefix, program=self.program, cwd=self.out)

    def test_own_process(self):
        process = subprocess.Popen([*self.prefix, "sleep", "8888"])
        self.addCleanup(lambda: (process.kill(), process.wait()))
        time.sleep(0.3)
        run = self.expect(self.as_nobody("collect", f"pid:{process.pid}", "-o", self.out), 0, 3)
        path = self.one_bundle(self.out)
        self.addCleanup(os.unlink, path)
        self.expect(ctriage("verify", path), 0)
        with Bundle(path) as bundle:
            records = [r for s in bundle.streams if s.endswith("/processes.jsonl") for r in bundle.records(s)]
            gaps = bundle.records("gaps.jsonl")
        self.assertEqual([r["pid"] for r in records], [process.pid])
        self.assertEqual(run.status, 3 if [g for g in gaps if g["impact"] == "lost"] else 0)
        self.assertRegex(" ".join(g["reason"] for g in gaps), r"CAP_SYS_(PTRACE|ADMIN)")

    def test_own_process_that_hides(self):
        """A program its user may run and not read: the kernel closes /proc/PID to him."""
        program = os.path.join(self.dir, "hidden")
        shutil.copy("/bin/sleep", program)
        os.chmod(program, 0o711)
        process = subprocess.Popen([*self.prefix, program, "8888"])
        self.addCleanup(lambda: (process.kill(), process.wait()))
        time.sleep(0.3)
        run = self.expect(self.as_nobody("collect", f"pid:{process.pid}", "-o", self.out), 1, 3)
        for name in os.listdir(self.out):
            self.addCleanup(os.unlink, os.path.join(self.out, name))
        self.assertRegex((run.out + run.err).decode(), r"CAP_SYS_(PTRACE|ADMIN)")

    def test_a_container_of_root(self):
        with Box() as box:
            run = self.expect(self.as_nobody("collect", f"pid:{box.pid}", "-o", self.out), 1)
        self.assertRegex(run.err.decode(), r"CAP_SYS_(PTRACE|ADMIN)")
        self.assertEqual(run.err.count(b"\n"), 1, str(run))
        self.assertEqual(os.listdir(self.out), [])

    def test_a_pod_by_name(self):
        run = self.expect(self.as_nobody("collect", "shop/web", "-o", self.out), 1)
        self.assertIn(b"needs CAP_SYS_PTRACE", run.err)
        self.assertEqual(run.err.count(b"\n"), 1, str(run))

    def test_list(self):
        """Whoever cannot look must not say that nothing runs."""
        run = self.expect(self.as_nobody("list"), 3)
        self.assertIn(b"what runs here is not known", run.out)
        self.assertNotIn(b"no containers found", run.out)
        self.assertEqual(run.out.count(b"needs CAP_SYS_PTRACE"), 1, str(run))
        self.assertEqual(run.err, b"")
        gaps = self.expect(self.as_nobody("list", "--json"), 3).json()["gaps"]
        self.assertEqual([g["impact"] for g in gaps if g["artifact"] == "runtime.shim"], ["lost"])

    def test_the_same_gaps_in_every_section(self):
        """What a view asks for several times is missing once."""
        program = os.path.join(self.dir, "unreadable")
        shutil.copy("/bin/sleep", program)
        os.chmod(program, 0o755)
        process = subprocess.Popen([*self.prefix, program, "8888"])
        self.addCleanup(lambda: (process.kill(), process.wait()))
        time.sleep(0.3)
        os.chmod(program, 0o700)  # its hash is lost to us
        told = []
        for sections in (["--ps"], ["--ps", "--security", "--env"], ["--ps", "--fail-on", "critical"], []):
            run = self.expect(self.as_nobody("show", f"pid:{process.pid}", *sections, "--json"), 0, 3)
            told.append(sorted((g["impact"], g["artifact"], g["origin"]) for g in run.json()["gaps"]))
            text = self.expect(self.as_nobody("show", f"pid:{process.pid}", *sections), run.status)
            lost = len([g for g in told[-1] if g[0] == "lost"])
            self.assertIn(f"gaps      {lost} lost" if lost else "gaps      ", text.out.decode())
        self.assertTrue([g for g in told[0] if g[0] == "lost"], told)
        for others in told[1:]:
            self.assertEqual([g for g in others if g[1].startswith("proc.")], [g for g in told[0] if g[1].startswith("proc.")])
            self.assertEqual(len(others), len(set(others)))

    def test_a_directory_that_is_not_ours(self):
        process = subprocess.Popen([*self.prefix, "sleep", "8888"])
        self.addCleanup(lambda: (process.kill(), process.wait()))
        run = self.expect(self.as_nobody("collect", f"pid:{process.pid}", "-o", "/root"), 1, 2)
        self.assertIn(b"/root", run.err)
