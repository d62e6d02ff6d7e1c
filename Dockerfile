# The build stage has the Rust tools and a C compiler, which SQLite and ring need. The image does not contain them.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock askama.toml ./
COPY src ./src
# Docker keeps the cache directories for the next build, but not in the stage: the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin tinyns \
    && mkdir -p /image/srv/tinyns/data /image/usr/local/bin \
    && cp target/dist/tinyns /image/usr/local/bin/
COPY zones /image/srv/tinyns/zones

# Distroless has the C library of the same Debian release as the build stage, but no shell and no package manager,
# which would need updates and would help an intruder. tinyns needs neither: its health check is a command of its own.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/usr /usr
# The image's user, 65532, owns these files, and so the files of a volume that Docker creates from them.
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
