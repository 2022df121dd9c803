#!/bin/sh
# rootfs.sh BINARY FOLDER: assembles the image's root file system in FOLDER. It runs on Debian, in the
# build stage of the Dockerfile, in the source folder.
set -eu
binary=$1 root=$2

mkdir -p "$root/data" "$root/etc" "$root/tmp" "$root/usr/share/licenses" \
    "$root/var/lib/dpkg/status.d"
install -m 755 "$binary" "$root/cinequery"

cat >"$root/etc/passwd" <<'TEXT'
root:x:0:0:root:/:/sbin/nologin
nonroot:x:65532:65532:nonroot:/data:/sbin/nologin
TEXT
cat >"$root/etc/group" <<'TEXT'
root:x:0:
nonroot:x:65532:
TEXT
# Host names are looked up in /etc/hosts first; without this file DNS would come first.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
# SQLite creates further files next to the database, so the folder itself must be writable.
chown 65532:65532 "$root/data"
chmod 700 "$root/data"
chmod 1777 "$root/tmp"

# Copies the loader and the shared libraries to the paths at which they are looked up. Vulnerability
# scanners read their versions from the package entries. The licences of the packages are copied too.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 755 "$library" "$root$library"
    package=$(dpkg -S "*/${library##*/}" | head -n 1 | cut -d : -f 1)
    dpkg -s "$package" >"$root/var/lib/dpkg/status.d/$package"
    install -D -m 644 -t "$root/usr/share/doc/$package" "/usr/share/doc/$package/copyright"
    grep -o '/usr/share/common-licenses/[A-Za-z]*-[0-9.]*[0-9]' \
        "/usr/share/doc/$package/copyright" | sort -u | while read -r licence; do
        install -D -m 644 "$licence" "$root$licence"
    done
done
cp -L /etc/os-release "$root/etc/os-release"

# The licences of this crate, of Swagger UI, the console and the sample, and of the crates in the binary: one list
# of all crates, and the licence files that the crates contain.
licenses=$root/usr/share/licenses
install -D -m 644 -t "$licenses/cinequery" LICENSE
install -D -m 644 -t "$licenses/swagger-ui" openapi/swagger-ui/LICENSE openapi/swagger-ui/NOTICE \
    openapi/swagger-ui/swagger-ui-bundle.js.LICENSE.txt
install -D -m 644 -t "$licenses/console" console/dist/licenses.txt
install -D -m 644 -t "$licenses/sample" sample/README.md
cargo tree --locked --edges normal --prefix none --no-dedupe --format '{p}: {l}' |
    sed -e '/^cinequery /d' -e 's/ (proc-macro)//' | sort -u >"$licenses/crates"
sed 's/ v\([^:]*\):.*/-\1/' "$licenses/crates" | while read -r crate; do
    # cargo unpacks downloads in registry/src; deploy/image.sh puts the crates into /.cargo/vendor.
    find "${CARGO_HOME:-$HOME/.cargo}/registry/src/"*/"$crate" "/.cargo/vendor/$crate" -maxdepth 1 \
        -type f \( -iname 'licen[cs]e*' -o -iname 'copy*' -o -iname 'notice*' -o -iname 'unlicense*' \) \
        -exec install -D -m 644 -t "$licenses/$crate" {} + 2>/dev/null || true
done
