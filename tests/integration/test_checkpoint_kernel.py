"""What a checkpoint says of signals and seccomp filters, against what was asked of the kernel: the specification in the archive, and Python's own signals."""
import json
import os
import subprocess

import lab
from lab import Case, ctriage

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "..", "testdata", "checkpoint")
ARCHIVE = "./victim-podman.tar.zst"


def setUpModule():
    lab.binary()
    lab.need("tar", "zstd")


class Kernel(Case):
    def shown(self):
        return self.expect(ctriage("show", ARCHIVE, "--all", "--json", cwd=DATA), 0, 3).json()

    def test_filter_is_the_specification(self):
        """runc compiled the filter from linux.seccomp of spec.dump; calls that its libseccomp did not know are answered as unknown ones."""
        spec = json.loads(subprocess.run(["tar", "xOf", ARCHIVE, "spec.dump"], cwd=DATA, check=True,
                                         stdout=subprocess.PIPE).stdout)["linux"]["seccomp"]
        always, sometimes, refused = set(), set(), set()
        for rule in spec["syscalls"]:
            names = set(rule["names"])
            if rule["action"] == "SCMP_ACT_ALLOW":
                (sometimes if rule.get("args") else always).update(names)
            elif rule["action"] == "SCMP_ACT_ERRNO" and not rule.get("args"):
                refused.update(names)
        document = self.shown()
        filters = document["containers"][0]["seccomp_filters"]
        self.assertEqual(len(filters), 4)  # CRIU writes that of each process, though it is one
        for each in filters:
            self.assertEqual(each["instructions"], len(each["listing"]))
            self.assertEqual(each["listing"], filters[0]["listing"])
            self.assertEqual(each["rules"], filters[0]["rules"])
        rules = {}
        for rule in filters[0]["rules"]:
            for call in rule["syscalls"]:
                rules[call] = (rule["action"], rule["by_arguments"])
        allowed = {call for call, (action, by) in rules.items() if action == "allow"}
        self.assertEqual(allowed - always, set())
        self.assertGreater(len(allowed), 280)
        # Of another machine's only, or later than the library: none of those that every x86-64 kernel has.
        for call in ("read", "write", "mmap", "futex", "epoll_wait", "sendfile", "getdents64", "seccomp"):
            self.assertIn(call, allowed)
        for call in sometimes - always - refused:
            if call in rules and rules[call][0] != "allow":
                self.assertTrue(rules[call][1], call)
                self.assertIn("allow", rules[call][0], call)
        for call in refused - always - sometimes:
            self.assertNotIn("allow", rules.get(call, ("", False))[0], call)
        chains = {thread["pid"]: thread["seccomp_filters"] for thread in document["threads"]}
        self.assertEqual(sorted(chains.values()), [[0], [1], [2], [3]])

    def test_signals_of_python(self):
        """Python ignores SIGPIPE and SIGXFSZ and handles SIGINT; a static C program does nothing of the kind."""
        by_pid = {process["pid"]: process for process in self.shown()["processes"]}
        python = by_pid[1]["signals"]
        self.assertEqual(int(python["ignored"], 16), 1 << 12 | 1 << 24)
        self.assertEqual(int(python["caught"], 16), 1 << 1)
        self.assertEqual([handler["signal"] for handler in python["handlers"]], [2])
        maps = [m for m in self.shown()["mappings"] if m["pid"] == 1]
        handler = int(python["handlers"][0]["handler"], 16)
        inside = [m for m in maps if int(m["start"], 16) <= handler < int(m["end"], 16)]
        self.assertEqual([(m["protection"], "python3" in m["path"]) for m in inside], [("r-xp", True)])
        self.assertEqual(int(by_pid[21]["signals"]["ignored"], 16) & (1 << 12), 0)
