# The agent's image: docker buildx build --platform linux/amd64,linux/arm64 . (or buildah). Everything is made on the build machine,
# for either architecture, so nothing is emulated; the final stage has what the agent executes and no shell and no package manager.
# Two layers: /runtime changes with Node and Debian alone, /product with Weft, so that a node that upgrades loads a few megabytes.
ARG VERSION=0.1.0
FROM --platform=$BUILDPLATFORM docker.io/library/node:24-bookworm-slim AS build
ARG TARGETARCH
WORKDIR /weft
RUN set -eu; \
    case "$TARGETARCH" in \
      amd64) cpu=x64; machine=x86_64 ;; \
      arm64) cpu=arm64; machine=aarch64 ;; \
      *) echo "Cannot build for \"$TARGETARCH\": amd64 and arm64 are supported" >&2; exit 1 ;; \
    esac; \
    printf 'cpu=%s\nmachine=%s\ngnu=%s-linux-gnu\n' "$cpu" "$machine" "$machine" >/target; \
    if [ "$(dpkg --print-architecture)" = "$TARGETARCH" ]; then compiler=gcc; \
    else dpkg --add-architecture "$TARGETARCH"; compiler="gcc-$(echo "$machine" | tr _ -)-linux-gnu"; fi; \
    apt-get update -q; \
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
      make "$compiler" "musl-dev:$TARGETARCH" "nftables:$TARGETARCH" "libstdc++6:$TARGETARCH"
# Node comes with the packages: the lockfile pins it, by hash, to the one that the tests ran with.
COPY package.json package-lock.json .npmrc ./
RUN . /target; npm ci --ignore-scripts --os=linux --libc=glibc --cpu="$cpu"
# Programs of the target with all libraries that they name, and the folders that are mounted over.
RUN set -eu; . /target; \
    install -D "node_modules/node-linux-$cpu/bin/node" /runtime/usr/local/bin/node; \
    install -D -m 644 "node_modules/node-linux-$cpu/LICENSE" /runtime/usr/share/doc/node/LICENSE; \
    install -D -m 644 /usr/share/doc/nftables/copyright /runtime/usr/share/doc/nftables/copyright; \
    "$gnu-strip" /runtime/usr/local/bin/node; \
    install -D /usr/sbin/nft /runtime/usr/sbin/nft; \
    loader=$("$gnu-readelf" -l /usr/sbin/nft | sed -n 's/.*interpreter: \(.*\)]$/\1/p'); \
    install -D "$loader" "/runtime$loader"; \
    add() { \
      for name in $("$gnu-readelf" -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p'); do \
        [ -e "/runtime/lib/$gnu/$name" ] && continue; \
        [ "$name" = "$(basename "$loader")" ] && continue; \
        found=$(ls "/lib/$gnu/$name" "/usr/lib/$gnu/$name" 2>/dev/null | head -n 1); \
        [ -n "$found" ] || { echo "Cannot find $name, which $1 needs" >&2; exit 1; }; \
        install -D "$found" "/runtime/lib/$gnu/$name"; \
        add "/runtime/lib/$gnu/$name"; \
      done; \
    }; \
    for program in /runtime/usr/local/bin/node /runtime/usr/sbin/nft; do add "$program"; done; \
    cd /runtime; mkdir -p dev etc proc sys tmp run/weft var/lib/weft var/cache/weft; \
    tar -cf - . | gzip | wc -c >/runtime.size
COPY cni-shim cni-shim
RUN . /target; \
    make -C cni-shim shim BUILD=/product/opt/weft/shim MUSL_CC="$gnu-gcc -specs /usr/lib/$machine-linux-musl/musl-gcc.specs"
COPY proto proto
COPY agent agent
COPY manifests/image manifests/image
ARG VERSION
RUN set -eu; . /target; \
    node agent/dataplane/assemble.ts; \
    node manifests/image/build-tree.ts /product/opt/weft "$VERSION"; \
    mkdir -p /product/usr/local/bin; \
    ln -s /opt/weft/agent/cli/weft.js /product/usr/local/bin/weft; \
    for module in $(find /product -name '*.node'); do \
      for name in $("$gnu-readelf" -d "$module" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p'); do \
        [ -n "$(find /runtime/lib* -name "$name")" ] || { echo "Cannot find $name, which $module needs" >&2; exit 1; }; \
      done; \
    done; \
    size=$(($(cat /runtime.size) + $(tar -C /product -cf - . | gzip | wc -c))); \
    echo "image $VERSION for $TARGETARCH: $((size / 1000000)) MB compressed"; \
    [ "$size" -le 60000000 ] || { echo 'Cannot accept it: the limit is 60 MB' >&2; exit 1; }

FROM scratch
COPY --from=build /runtime/ /
COPY --from=build /product/ /
ENV PATH=/usr/local/bin:/usr/sbin
USER 0:0
ENTRYPOINT ["/usr/local/bin/node", "/opt/weft/agent/keeper.js"]
ARG VERSION
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Weft" \
      org.opencontainers.image.description="Pod network for Kubernetes: the agent of a node" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
