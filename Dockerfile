# The build stage has the Rust tools and a C compiler, for SQLite and ring, and stays behind.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# The caches outlive a build; what is to be kept is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tinyns \
    && mkdir -p /image/srv/tinyns/data /image/usr/local/bin \
    && cp target/release/tinyns /image/usr/local/bin/
COPY zones /image/srv/tinyns/zones

# Distroless has the C library of the build stage's Debian release and nothing else: no shell and no
# package manager to be kept up to date, or to be used by an intruder. debian:bookworm-slim would
# bring both for no use: the health check is a command of tinyns itself.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/usr /usr
# Belongs to the image's user, 65532, and so does a volume that is made from it.
COPY --from=build --chown=65532:65532 /image/srv /srv
WORKDIR /srv/tinyns
ENV TINYNS_CONFIG=/srv/tinyns/zones/container.toml
VOLUME /srv/tinyns/data
# DNS, the admin API, the redirect host
EXPOSE 5300/udp 5300/tcp 8053/tcp 8080/tcp
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/tinyns", "health"]
ENTRYPOINT ["/usr/local/bin/tinyns"]
CMD ["serve"]
