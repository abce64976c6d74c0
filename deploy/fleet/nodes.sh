#!/bin/sh
# nodes.sh NODES.txt >nodes.yaml: a Job and a CronJob for each node of a list, one name a line. What they do is in job.yaml
# and export.yaml.
#   kubectl get nodes -l pool=web -o name | sed 's|^node/||' >NODES.txt
set -eu
tr -d '\r' <"${1:?usage: nodes.sh NODES.txt}" | sed 's/#.*//; s/[[:space:]]//g; /^$/d' | sort -u | while read -r node; do
  case $node in *[!a-z0-9.-]*) echo "nodes.sh: not the name of a node: $node" >&2; exit 1 ;; esac
  # A CronJob's name has 52 characters at most.
  name=$node
  if [ ${#node} -gt 44 ]; then
    name=$(printf %.35s "$node" | sed 's/[.-]*$//')-$(printf %s "$node" | sha256sum | cut -c1-8)
  fi
  cat <<JOB
---
apiVersion: batch/v1
kind: Job
metadata:
  name: ctriage-$name
spec:
  template:
    spec:
      nodeName: $node
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: ctriage-$name
spec:
  jobTemplate:
    spec:
      template:
        spec:
          nodeName: $node
JOB
done
