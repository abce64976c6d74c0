"""What collect leaves out, when it ends, where else it writes to: --plan, --only, --skip, --deadline, --case, -o -."""
import json
import os
import subprocess
import time

import lab
from lab import Box, BoxCase, Bundle, ctriage


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "nsenter", "pivot_root", "zstd")


class Plan(BoxCase):
    @classmethod
    def setUpClass(cls):
        cls.box = Box("cp /bin/busybox /root/b; dd if=/dev/urandom of=/root/large bs=1M count=40 2>/dev/null; echo written; "
                      "while :; do sleep 1000; done", wait_for="written")
        cls.addClassCleanup(cls.box.stop)

    def test_plan_takes_nothing(self):
        out = self.temp()
        plan = self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", out, "--plan", "--json", "--skip", "logs"), 0).json()
        self.assertEqual(os.listdir(out), [])
        steps = {step["name"]: step for step in plan["steps"]}
        self.assertEqual(steps["logs"]["left_out"], "--skip")
        self.assertGreaterEqual(steps["upper"]["size_bytes"], 40 << 20)
        self.assertLess(steps["upper"]["size_bytes"], 44 << 20)
        self.assertNotIn("left_out", steps["upper"])
        text = self.expect(ctriage("collect", f"pid:{self.box.pid}", "--plan"), 0).out.decode()
        for name in steps:
            self.assertIn(f"\n{name} ", text)

    def test_what_is_left_out_is_said(self):
        out = self.temp()
        run = self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", out, "--json", "--skip", "files,sockets"), 0)
        counts = run.json()["counts"]
        self.assertLessEqual({"processes", "logs"}, set(counts))
        self.assertFalse({"changes", "programs", "sockets"} & set(counts), counts)
        with Bundle(self.one_bundle(out)) as bundle:
            document = json.loads(bundle.bytes("bundle.json"))
            self.assertEqual(document["left_out"], ["libraries", "programs", "sockets", "tmpfs", "upper"])
            self.assertFalse({"programs", "sockets", "upper"} & set(document["plan"]))
            told = [g["artifact"] for g in bundle.records("gaps.jsonl") if "left out by plan" in g["reason"]]
            self.assertEqual(sorted(told), ["files.libraries", "files.programs", "files.tmpfs", "files.upper", "state.sockets"])
            self.assertFalse([s for s in bundle.streams if "upper" in s or "sockets" in s])
            shown = self.expect(ctriage("show", bundle.path, "--sockets"), 0, 3)
            self.assertIn("sockets", shown.out.decode() + shown.err.decode())
            self.assertNotIn("0 sockets", shown.out.decode())

    def test_programs_need_processes(self):
        out = self.temp()
        self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", out, "--only", "programs"), 0)
        with Bundle(self.one_bundle(out)) as bundle:
            (container,) = bundle.containers()
            self.assertTrue(list(bundle.records(f"containers/{container}/processes.jsonl")))

    def test_usage(self):
        out = self.temp()
        for options in (["--only", "nonsense"], ["--skip", "state,x"], ["--deadline", "soon"], ["--wait", "-1"], ["--max-bytes", "9X"]):
            with self.subTest(options):
                run = self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", out, *options), 2)
                self.assertIn(options[0].encode(), run.err)
                self.assertEqual(os.listdir(out), [])

    def test_case(self):
        out = self.temp()
        attached = os.path.join(out, "warrant")
        with open(attached, "wb") as file:
            file.write(b"signed\n")
        os.mkdir(out + "/bundle")
        self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", out + "/bundle", "--case", "IR/41", "--examiner", "Ada \u00e9",
                            "--note", "line\x1b[2J", "--attach", attached, "--attach", attached, "--only", "state"), 0)
        with Bundle(self.one_bundle(out + "/bundle")) as bundle:
            self.assertTrue(os.path.basename(bundle.path).startswith("IR%2F41_"), bundle.path)
            case = json.loads(bundle.bytes("bundle.json"))["case"]
            self.assertEqual(case, {"id": "IR/41", "examiner": "Ada \u00e9", "note": "line\x1b[2J"})
            self.assertEqual(bundle.bytes("pod/attach/warrant"), b"signed\n")
            self.assertEqual(bundle.bytes("pod/attach/2/warrant"), b"signed\n")
        missing = self.expect(ctriage("collect", f"pid:{self.box.pid}", "-o", out, "--attach", out + "/missing"), 1)
        self.assertIn(b"missing", missing.err)

    def test_standard_output(self):
        path = self.temp() + "/piped.ctriage.tar"
        with open(path, "wb") as file:
            process = lab.start("collect", f"pid:{self.box.pid}", "-o", "-", "--json", stdout=file)
            _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        result = json.loads(err.splitlines()[-1])
        self.assertEqual(result["size_bytes"], os.stat(path).st_size)
        verified = self.expect(ctriage("verify", path, "--digest", result["manifest_sha256"]), 0)
        self.assertIn(b"whole", verified.out)

    def test_reader_goes_away(self):
        process = lab.start("collect", f"pid:{self.box.pid}", "-o", "-")
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        self.assertIn(process.wait(60), (1, 3), err)
        self.assertIn(b"nobody takes it any more", err)

    def test_deadline(self):
        """A reader that takes nothing for two seconds: what is left then is not taken, and the bundle ends whole."""
        path = self.temp() + "/late.ctriage.tar"
        process = lab.start("collect", f"pid:{self.box.pid}", "-o", "-", "--deadline", "1s", "--compress", "none")
        time.sleep(2)
        with open(path, "wb") as file:
            reader = subprocess.Popen(["cat"], stdin=process.stdout, stdout=file)
            process.stdout.close()
            err = process.stderr.read()
            process.stderr.close()
            self.assertEqual(process.wait(120), 3, err)
            reader.wait()
        self.expect(ctriage("verify", path), 0)
        with Bundle(path) as bundle:
            lost = {g["artifact"] for g in bundle.records("gaps.jsonl") if g["impact"] == "lost"}
            self.assertIn("logs.logs", lost)
            self.assertTrue(list(bundle.records(f"containers/{bundle.containers()[0]}/processes.jsonl")))
