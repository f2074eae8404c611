#!/usr/bin/env bash
# Show on the running local cluster what exists today. Run again it starts from the same place.
set -euo pipefail
cd "$(dirname "$0")/.."

layout() { .venv/bin/python -c "from local_cluster.layout import Layout; print(Layout.of_node().$1)"; }
KUBECONFIG=$(layout kubeconfig)
PATH=$(layout bin):$PATH
export KUBECONFIG PATH
operator=$(.venv/bin/python -m images build operator)

kubectl delete namespace anneal-demo --ignore-not-found --wait
kubectl create namespace anneal-demo
kubectl label namespace anneal-demo pod-security.kubernetes.io/enforce=restricted
kubectl -n anneal-demo apply -f - <<MANIFEST
apiVersion: batch/v1
kind: Job
metadata: {name: on-the-node}
spec:
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: main
        image: $operator
        command: [python, -c, "import anneal_operator; print(anneal_operator.__doc__)"]
        resources: {limits: {nvidia.com/gpu: 8}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      nodeSelector: {kubernetes.io/hostname: local}
---
apiVersion: batch/v1
kind: Job
metadata: {name: on-sixteen-h100s}
spec:
  completions: 2
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers:
      - name: main
        image: $operator
        resources: {limits: {nvidia.com/gpu: 8}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
MANIFEST
kubectl -n anneal-demo wait --for=condition=Complete job --all --timeout=120s
echo
echo "One real node that advertises 8 GPUs, and 200 simulated nodes of 8 H100s:"
kubectl get nodes local h100-000 h100-199 -L nvidia.com/gpu.product
echo
echo "Two Jobs, both in a namespace that enforces the restricted Pod Security standard:"
kubectl -n anneal-demo get jobs,pods -o wide
echo
echo "What the one with a real container said:"
kubectl -n anneal-demo logs job/on-the-node
