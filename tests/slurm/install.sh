#!/bin/sh
# What `make test-slurm` needs on Debian; where it cannot be had, the tests skip and say why.
set -eu
command -v slurmctld slurmd sbatch munged >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "SLURM is not installed, and only root can install it, on Debian" >&2
    exit 0
fi
# Installing must not start services: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
packages="slurmctld slurmd slurm-client munge"
timeout 300 sh -c "apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages" >/dev/null ||
    echo "SLURM could not be installed" >&2
