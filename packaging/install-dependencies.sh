#!/bin/sh
# Installs what pack needs from Debian's packages. Only the packages that are missing are asked for.
#
# usage: install-dependencies.sh build|test|bench
set -eu

# Building: a linker, and libsquashfs with the compressors that it is linked with, and libclang for its bindings.
build="gcc libc6-dev libclang-dev libsquashfs-dev liblz4-dev liblzma-dev liblzo2-dev zlib1g-dev pkg-config"
# Running `pack build` with stage-packages: apt and dpkg-deb, which every Debian has, and the certificates of mirrors.
run="ca-certificates dpkg xz-utils"
# The tests: other readers and writers of squashfs, tools for extended attributes and file systems, the sandbox that we
# compare with, a tracer, an X server and tools to look at its windows, a Redis client, a terminal emulator, the checker of
# desktop entries, an app that maps files; message buses, what pack filters them with, and
# clients; sound servers; a user's service manager; networks and compositors to be shown to apps; what plugins build with; what
# makes repositories, archives, and certificates of servers; a web server.
test="squashfs-tools squashfs-tools-ng squashfuse 7zip attr e2fsprogs bubblewrap strace xvfb x11-utils x11-apps xauth
  redis-tools tmux desktop-file-utils util-linux mount procps python3 openssh-client gpg-agent gpgconf cups-daemon cups-client openssh-server
  python3-venv curl wayland-utils weston gtk-3-examples qtbase5-examples chromium
  pulseaudio pulseaudio-utils pipewire pipewire-pulse wireplumber
  xdg-dbus-proxy dbus-daemon dbus-bin libglib2.0-bin python3-dbus python3-gi xdg-desktop-portal xdg-desktop-portal-gtk
  xdotool gnome-keyring libsecret-tools dunst avahi-daemon avahi-utils iproute2 at-spi2-core dconf-service dconf-gsettings-backend
  gsettings-desktop-schemas systemd make python3-pip meson ninja-build golang-go
  git openssl zip bzip2 zstd nginx-light"
# Node.js's own packages have npm too, and are no friends of Debian's.
[ -x /usr/bin/npm ] || test="$test nodejs npm"

# The bench: what pack is compared with. Debian 13 has erofsfuse too; Debian 12 has not.
bench="squashfs-tools squashfuse fuse3 bubblewrap erofs-utils findutils util-linux mount poppler-utils"
apt-cache show erofsfuse >/dev/null 2>&1 && bench="$bench erofsfuse"

case "${1:-}" in
  build) wanted="$build $run" ;;
  test) wanted="$build $run $test" ;;
  bench) wanted="$build $run $bench" ;;
  *) echo "usage: $0 build|test|bench" >&2; exit 2 ;;
esac

missing=
for package in $wanted; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
if [ -n "$missing" ]; then
  echo "installing:$missing"
  $as_root apt-get update -qq
  # shellcheck disable=SC2086 # a list of words
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# udev gives everyone /dev/fuse, on every distribution (50-udev-default.rules); where no udev runs, nobody did.
if [ -e /dev/fuse ] && [ "$(stat -c %a /dev/fuse)" != 666 ]; then
  $as_root chmod 0666 /dev/fuse
fi
