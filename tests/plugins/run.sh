#!/bin/sh
# run.sh vllm|sglang [VERSION]: an environment with the engine's real Python code, without its GPU packages, and the
# plugin's tests; of the version that is pinned here, or of another.
set -eu
engine=$1
version=${2:-}
root=$(cd "$(dirname "$0")/../.." && pwd)
venv="$root/.venv-$engine${version:+-$version}"
pip="$venv/bin/python -m pip --disable-pip-version-check install --quiet"
if [ ! -f "$venv/.installed" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    $pip torch==2.13.0
    $pip --requirement "$root/tests/plugins/$engine.txt"
    $pip --no-deps --requirement "$root/tests/plugins/$engine-itself.txt"
    [ -z "$version" ] || $pip --no-deps "$engine==$version"
    $pip --no-deps --editable "$root"
    touch "$venv/.installed"
fi
cd "$root"
if [ "$engine" = sglang ]; then # it runs on the CPU, with stand-ins for its GPU packages
    export PYTHONPATH="$root/tests/plugins/absent" SGLANG_USE_CPU_ENGINE=1
fi
exec "$venv/bin/python" -m pytest tests/plugins/test_"$engine"*.py -p no:randomly
