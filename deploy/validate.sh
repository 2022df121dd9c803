#!/bin/sh
# Validates deploy/kubernetes.yaml and deploy/proxy/ingress.yaml strictly against the schemas of the oldest and the newest supported
# version of Kubernetes.
set -eu
cd "$(dirname "$0")/.."

oldest=1.30 newest=1.37

contract/tools.sh python
for version in $oldest $newest; do
    target/tools/python/bin/kubernetes-validate --strict --kubernetes-version "$version" \
        deploy/kubernetes.yaml deploy/proxy/ingress.yaml >&2
done
