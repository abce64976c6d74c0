"""How a pod is connected, and what the node's connection tracking knows of it. This file is also a program: it plays a node
in a network namespace of its own, with a box at the other end of a veth, and collects it."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import lab
from lab import Box, Bundle, BoxCase, Case

CLIENT = r"""
import socket, time
a = socket.create_connection(("10.9.0.1", 7777)); a.send(b"hello")
b = socket.create_connection(("fd99::1", 7778))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(b"x", ("10.9.0.1", 53))
print("connected", flush=True)
time.sleep(1000)
"""


def setUpModule():
    lab.binary()
    lab.need_root()
    lab.need("unshare", "pivot_root", "ip", "zstd")


def iptables():
    return shutil.which("iptables-legacy", path="/usr/sbin:/sbin") or shutil.which("iptables", path="/usr/sbin:/sbin")


class Connected(Case):
    def play(self, *options):
        process = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=KILL",
                                  "/usr/bin/python3", __file__, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env={**os.environ, **lab.SANITIZER, "TMPDIR": self.temp("/dev/shm")}, timeout=120, check=False)
        self.assertEqual(process.returncode, 0, process.stderr.decode(errors="replace")[-3000:])
        return json.loads(process.stdout)

    def test_interfaces_addresses_routes_neighbours(self):
        found = self.play()
        by_kind = {}
        for entry in found["network"]:
            by_kind.setdefault(entry["kind"], []).append(entry)
        self.assertEqual(len({e["network_namespace"] for e in found["network"]}), 1)
        self.assertEqual({e["interface"] for e in by_kind["interface"]} & {"lo", "v1"}, {"lo", "v1"})
        v1 = next(e for e in by_kind["interface"] if e["interface"] == "v1")
        self.assertGreater(v1["sent_bytes"], 0)
        addresses = {(e["interface"], e["address"], e.get("prefix_bits")) for e in by_kind["address"]}
        self.assertLessEqual({("v1", "10.9.0.2", 24), ("v1", "fd99::2", 64)}, addresses)
        routes = {(e["address"], e["prefix_bits"], e.get("gateway")) for e in by_kind["route"]}
        self.assertLessEqual({("10.9.0.0", 24, None), ("0.0.0.0", 0, "10.9.0.1"), ("fd99::", 64, None)}, routes)
        self.assertIn(("10.9.0.1", "complete"), {(e["address"], e["state"]) for e in by_kind["neighbour"]})
        self.assertEqual(found["status"], 0, found["said"])

    def test_flows(self):
        if iptables() is None:
            self.skipTest("needs iptables: nothing is tracked without a rule")
        found = self.play("--track")
        if found["tracked"] == 0:
            self.skipTest("this kernel tracks nothing")
        flows = {(f["protocol"], f["destination"]): f for f in found["flows"]}
        tcp = flows["tcp", "10.9.0.1:7777"]
        self.assertTrue(tcp["source"].startswith("10.9.0.2:"), tcp)
        self.assertEqual(tcp["state"], "ESTABLISHED")
        self.assertGreater(tcp["sent_bytes"], 0)
        self.assertIn(("udp", "10.9.0.1:53"), flows)
        # Another's flow of the node is not the pod's.
        self.assertNotIn(("tcp", "127.0.0.1:7779"), flows)
        self.assertEqual(found["status"], 0, found["said"])


class Alone(BoxCase):
    def test_a_box_without_addresses_has_no_flows(self):
        box = Box()
        self.addCleanup(box.stop)
        _, bundle = self.collect(box)
        self.assertEqual(bundle.records("pod/flows.jsonl"), [])
        self.assertIn("pod/flows.jsonl", bundle.streams)
        self.assertIn("lo", {e["interface"] for e in bundle.records("pod/network.jsonl") if e["kind"] == "interface"})


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main():
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    run("ip", "addr", "add", "10.9.0.1/24", "dev", "v0")
    run("ip", "addr", "add", "fd99::1/64", "dev", "v0", "nodad")
    run("ip", "link", "set", "v0", "up")
    if "--track" in sys.argv:
        run(iptables(), "-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
        with open("/proc/sys/net/netfilter/nf_conntrack_acct", "w", encoding="ascii") as file:
            file.write("1")
    servers = [socket.create_server(("10.9.0.1", 7777)), socket.create_server(("127.0.0.1", 7779)),
               socket.create_server(("fd99::1", 7778), family=socket.AF_INET6)]
    own = socket.create_connection(("127.0.0.1", 7779))
    with Box(base=os.environ["TMPDIR"], size="64m") as box:
        inside = ["nsenter", "-t", str(box.pid), "-n"]
        run("ip", "link", "set", "v1", "netns", str(box.pid))
        for words in (("addr", "add", "10.9.0.2/24", "dev", "v1"), ("addr", "add", "fd99::2/64", "dev", "v1", "nodad"),
                      ("link", "set", "v1", "up"), ("route", "add", "default", "via", "10.9.0.1")):
            run(*inside, "ip", *words)
        client = subprocess.Popen([*inside, "/usr/bin/python3", "-c", CLIENT], stdout=subprocess.PIPE)
        assert client.stdout.readline() == b"connected\n"
        with open("/proc/sys/net/netfilter/nf_conntrack_count", encoding="ascii") as file:
            tracked = int(file.read())
        out = tempfile.mkdtemp(dir=os.environ["TMPDIR"])
        done = lab.ctriage("collect", f"pid:{box.pid}", "-o", out)
        with Bundle(os.path.join(out, os.listdir(out)[0])) as bundle:
            json.dump({"status": done.status, "said": str(done), "tracked": tracked,
                       "network": bundle.records("pod/network.jsonl"), "flows": bundle.records("pod/flows.jsonl")}, sys.stdout)
        client.kill()
        client.wait()
    own.close()
    for server in servers:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
