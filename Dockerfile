# One static binary and a data folder: nothing else is in the image, so nothing else can be out of date or attacked.
#   docker build -t vaguemestre .
#   docker run --rm --network host -v vaguemestre:/data vaguemestre

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# glibc linked in: --target keeps the flag away from build scripts and procedural macros, which must stay dynamic.
RUN triple="$(rustc --print host-tuple)" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile image --locked --bin vaguemestre --target "$triple" \
    && install -D "target/$triple/image/vaguemestre" /image/vaguemestre \
    && mkdir /image/data

FROM scratch
COPY --from=build --chown=65532:65532 /image/ /
USER 65532:65532
VOLUME ["/data"]
# Readiness; and of the first operator, submission (STARTTLS, implicit TLS) and IMAP (STARTTLS, implicit TLS). The others: config/sandbox.toml.
EXPOSE 10080 11587 11465 11143 11993
STOPSIGNAL SIGINT
ENTRYPOINT ["/vaguemestre"]
CMD ["up", "--data", "/data"]
