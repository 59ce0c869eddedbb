#!/usr/bin/env bash
# Installs those of Debian's packages that a target needs and the machine lacks.
#   system-packages.sh venv|demo|test
set -euo pipefail
export PATH=$PATH:/usr/sbin

missing=()
need() { # a command, and the package that brings it
    command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}
need_file() { # a pattern of files, and the package that brings one of them
    compgen -G "$1" >/dev/null || missing+=("$2")
}

case ${1:-} in
venv)
    missing+=(python3-venv)
    ;;
demo)
    need mosquitto mosquitto
    ;;
test)
    need mosquitto mosquitto
    need influxd influxdb
    need nginx nginx-light
    need chromium chromium
    need_file '/usr/lib/postgresql/*/bin/initdb' postgresql
    need_file '/usr/share/fonts/truetype/wqy/wqy-microhei.ttc' fonts-wqy-microhei
    ;;
*)
    echo "usage: $0 venv|demo|test" >&2
    exit 2
    ;;
esac
[ ${#missing[@]} -eq 0 ] && exit 0

echo "安装系统软件包 / installing system packages: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "没有 root 权限也没有 sudo。请让管理员运行 / neither root nor sudo; ask an administrator to run:" >&2
        echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
