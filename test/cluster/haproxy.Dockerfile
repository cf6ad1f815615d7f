# Debian's HAProxy for the Ingress test, with a shell (busybox) to replace its configuration by: write it, then kill -USR2 1.
FROM docker.io/library/node:24-bookworm-slim AS build
RUN set -eu; \
    apt-get update -q; \
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends haproxy busybox; \
    mkdir -p /image/bin /image/dev /image/etc/haproxy /image/proc /image/run /image/sys /image/tmp /image/usr/sbin; \
    for program in /usr/sbin/haproxy /bin/busybox; do \
      install -D "$program" "/image$program"; \
      ldd "$program" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' | while read -r library; do install -D "$library" "/image$library"; done; \
    done; \
    for applet in $(busybox --list); do [ -e "/image/bin/$applet" ] || ln -s busybox "/image/bin/$applet"; done; \
    printf 'root:x:0:0:root:/:/bin/sh\n' >/image/etc/passwd; \
    chroot /image /usr/sbin/haproxy -v
FROM scratch
COPY --from=build /image/ /
ENV PATH=/bin:/usr/sbin
ENTRYPOINT ["/usr/sbin/haproxy"]
CMD ["-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]
