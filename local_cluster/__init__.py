"""A real Kubernetes on one machine, from pinned Go modules: for the demo and the end-to-end tests.

Every part is the real one (etcd, API server, kubelet, containerd, runc, CoreDNS, kube-proxy); only their
number is small. There is one such cluster on a machine, because a node owns a bridge, a packet filter table
and a cgroup of the machine it runs on; `holder.py` keeps two checkouts from fighting over it.
"""
