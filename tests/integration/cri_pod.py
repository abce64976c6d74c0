#!/usr/bin/python3
"""Minimal CRI (runtime.v1) client: runs a host-network pod on a containerd socket.

usage: cri_pod.py SOCK run [--pid container|pod|node] NAMESPACE POD CONTAINER IMAGE LOGDIR CMD [ARG...]
       cri_pod.py SOCK rm SANDBOX_ID
Messages are encoded by hand from the field numbers of the CRI's published api.proto, so no generated code is needed.
From the project's lab notes (shared/lab/cri_pod.py); added: the choice of the pid namespace, pods of a manifest.
"""
import re
import sys
import uuid

import grpc

NAMESPACE_MODE = {"pod": 0, "container": 1, "node": 2}


def varint(n):
    out = b""
    while True:
        b = n & 0x7F
        n >>= 7
        out += bytes([b | (0x80 if n else 0)])
        if not n:
            return out


def f_bytes(num, data):
    return varint(num << 3 | 2) + varint(len(data)) + data


def f_str(num, s):
    return f_bytes(num, s.encode())


def f_int(num, v):
    return varint(num << 3) + varint(v)


def f_map(num, d):
    return b"".join(f_bytes(num, f_str(1, k) + f_str(2, v)) for k, v in d.items())


def first(buf, num):
    """The first value of field `num` in an encoded message."""
    i = 0

    def rd():
        nonlocal i
        s = r = 0
        while True:
            b = buf[i]
            i += 1
            r |= (b & 0x7F) << s
            s += 7
            if b < 0x80:
                return r

    while i < len(buf):
        t = rd()
        n, w = t >> 3, t & 7
        if w == 2:
            size = rd()
            v = buf[i:i + size]
            i += size
        elif w == 0:
            v = rd()
        else:
            raise ValueError(w)
        if n == num:
            return v
    return None


def call(ch, method, req):
    return ch.unary_unary("/runtime.v1.RuntimeService/" + method)(req, timeout=60)


def run_pod(sock, ns, pod, ctr, image, logdir, cmd, pid="pod", mounts=(), privileged=False, more=()):
    """Gives (sandbox id, container id, pod uid). NamespaceOption: network 1, pid 2. `mounts`: (container path, host path,
    read-only). `more`: further containers like the first, a name or (name, attempt)."""
    with grpc.insecure_channel("unix://" + sock) as ch:
        uid = str(uuid.uuid4())
        labels = {"io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": ns, "io.kubernetes.pod.uid": uid, "app": pod}
        node = NAMESPACE_MODE["node"]
        options = f_int(1, node) + f_int(2, node if pid == "node" else NAMESPACE_MODE["container"])
        sandbox = (f_bytes(1, f_str(1, pod) + f_str(2, uid) + f_str(3, ns)) +
                   f_str(3, f"{logdir}/{ns}_{pod}_{uid}") + f_map(6, labels) +
                   f_map(7, {"kubernetes.io/config.source": "api"}) +
                   f_bytes(8, f_str(1, f"/kubepods/besteffort/pod{uid}") + f_bytes(2, f_bytes(1, options) + f_int(6, int(privileged)))))
        sid = first(call(ch, "RunPodSandbox", f_bytes(1, sandbox)), 1).decode()

        def add(name, attempt=0):
            cl = {**labels, "io.kubernetes.container.name": name}
            del cl["app"]
            security = f_int(2, int(privileged)) + f_bytes(3, f_int(1, node) + f_int(2, NAMESPACE_MODE[pid]))
            binds = b"".join(f_bytes(7, f_str(1, inside) + f_str(2, outside) + f_int(3, int(read_only)))
                             for inside, outside, read_only in mounts)
            conf = (f_bytes(1, f_str(1, name) + f_int(2, attempt)) + f_bytes(2, f_str(1, image)) + b"".join(f_str(3, c) for c in cmd) + binds +
                    f_map(9, cl) + f_map(10, {"io.kubernetes.container.restartCount": "0"}) + f_str(11, f"{name}/{attempt}.log") +
                    f_bytes(15, f_bytes(2, security)))
            cid = first(call(ch, "CreateContainer", f_str(1, sid) + f_bytes(2, conf) + f_bytes(3, sandbox)), 1).decode()
            call(ch, "StartContainer", f_str(1, cid))
            return cid

        cid = add(ctr)
        for other in more:
            add(*([other] if isinstance(other, str) else other))
        return sid, cid, uid


def run_spec(sock, ns, pod, spec, logdir, volumes, environment):
    """Starts what a PodSpec (a manifest's, as YAML has it) says, in the way of the kubelet, containers by the image's name.
    `volumes`: name to path, where it is not the hostPath's; `environment`: what envFrom gives. Gives (sandbox id,
    {container name: (id, path of its log)}, uid)."""
    if not spec.get("hostNetwork"):
        raise ValueError("a pod network needs CNI, which is not here")
    uid = str(uuid.uuid4())
    labels = {"io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": ns, "io.kubernetes.pod.uid": uid}
    node = NAMESPACE_MODE["node"]
    namespaces = f_int(1, node) + f_int(2, node if spec.get("hostPID") else NAMESPACE_MODE["container"])
    privileged = any(c["securityContext"].get("privileged") for c in spec["containers"])
    logs = f"{logdir}/{ns}_{pod}_{uid}"
    sandbox = (f_bytes(1, f_str(1, pod) + f_str(2, uid) + f_str(3, ns)) + f_str(3, logs) + f_map(6, labels) +
               f_bytes(8, f_str(1, f"/kubepods/burstable/pod{uid}") + f_bytes(2, f_bytes(1, namespaces) + f_int(6, int(privileged)))))
    paths = {v["name"]: v["hostPath"]["path"] for v in spec.get("volumes", []) if "hostPath" in v} | volumes
    with grpc.insecure_channel("unix://" + sock) as ch:
        sid = first(call(ch, "RunPodSandbox", f_bytes(1, sandbox)), 1).decode()
        started = {}
        for container in spec["containers"]:
            name, context = container["name"], container["securityContext"]
            variables = {e["name"]: e["value"] for e in container.get("env", [])} | (environment if "envFrom" in container else {})
            arguments = [re.sub(r"\$\((\w+)\)", lambda m: variables[m.group(1)], word) for word in container["args"]]
            mounts = b"".join(f_bytes(7, f_str(1, m["mountPath"]) + f_str(2, paths[m["name"]]) + f_int(3, int(m.get("readOnly", False))) +
                                      f_int(8, int("recursiveReadOnly" in m))) for m in container.get("volumeMounts", []))
            dropped = b"".join(f_str(2, c) for c in context.get("capabilities", {}).get("drop", []))
            profile = {"RuntimeDefault": 0, "Unconfined": 1}[context.get("seccompProfile", {}).get("type", "Unconfined")]
            security = (f_bytes(1, dropped) + f_int(2, int(context.get("privileged", False))) + f_bytes(3, namespaces) +
                        f_bytes(5, f_int(1, context.get("runAsUser", 0))) + f_int(7, int(context.get("readOnlyRootFilesystem", False))) +
                        f_int(11, int(context.get("allowPrivilegeEscalation") is False)) + f_bytes(15, f_int(1, profile)))
            conf = (f_bytes(1, f_str(1, name)) + f_bytes(2, f_str(1, container["image"])) + b"".join(f_str(4, a) for a in arguments) +
                    b"".join(f_bytes(6, f_str(1, k) + f_str(2, v)) for k, v in variables.items()) + mounts +
                    f_map(9, {**labels, "io.kubernetes.container.name": name}) + f_map(10, {"io.kubernetes.container.restartCount": "0"}) +
                    f_str(11, f"{name}/0.log") + f_int(12, int(container.get("stdin", False))) + f_bytes(15, f_bytes(2, security)))
            cid = first(call(ch, "CreateContainer", f_str(1, sid) + f_bytes(2, conf) + f_bytes(3, sandbox)), 1).decode()
            call(ch, "StartContainer", f_str(1, cid))
            started[name] = (cid, f"{logs}/{name}/0.log")
    return sid, started, uid


def exit_code(sock, container_id):
    """None while it runs. ContainerStatus: state 3 (2: exited), exit_code 7."""
    with grpc.insecure_channel("unix://" + sock) as ch:
        status = first(call(ch, "ContainerStatus", f_str(1, container_id)), 1)
    return (first(status, 7) or 0) if first(status, 3) == 2 else None


def remove_pod(sock, sandbox_id):
    with grpc.insecure_channel("unix://" + sock) as ch:
        call(ch, "StopPodSandbox", f_str(1, sandbox_id))
        call(ch, "RemovePodSandbox", f_str(1, sandbox_id))


def main():
    sock, verb, *rest = sys.argv[1:]
    if verb == "run":
        pid = "pod"
        if rest[0] == "--pid":
            pid, rest = rest[1], rest[2:]
        names = run_pod(sock, *rest[:5], rest[5:], pid=pid)
        for key, value in zip(("sandbox", "container", "uid"), names):
            print(key, value)
    elif verb == "rm":
        remove_pod(sock, rest[0])


if __name__ == "__main__":
    main()
