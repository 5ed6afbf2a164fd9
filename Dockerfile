# The program alone, without a shell. Needs BuildKit, which Docker has had by default since version 23.

# From a mirror: --build-arg BUILD_IMAGE=… --build-arg BASE_IMAGE=…
ARG BUILD_IMAGE=rust:1.95-slim-trixie
ARG BASE_IMAGE=gcr.io/distroless/cc-debian13:nonroot

FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ make perl pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# OpenSSL, zlib and librdkafka are built from source and linked in: of shared libraries the program needs glibc's and
# libgcc's alone, which the final image has.
ENV LIBZ_SYS_STATIC=1
COPY . .
# There is no repository here. The program tells the commit with its version.
ARG SOURCE_COMMIT
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --profile dist --locked --features vendored \
    && install -D target/dist/imotriz-kafka /image/imotriz-kafka \
    && mkdir -p -m 700 /image/owned/spool

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG SOURCE_COMMIT
ARG VERSION=local
LABEL org.opencontainers.image.title="imotriz-kafka" \
      org.opencontainers.image.description="Drains iMotriz marketplace orders into Kafka: nothing lost, nothing doubled" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${SOURCE_COMMIT}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY --from=build /image/imotriz-kafka /usr/local/bin/
# What is in a copied folder keeps its mode, but not that folder. A new volume takes over what the image has.
COPY --from=build --chown=65532:65532 /image/owned /
COPY LICENSE /usr/share/doc/imotriz-kafka/
# A linked-in OpenSSL has no certificates of its own.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    IMOTRIZ_SPOOL__DIR=/spool
USER 65532:65532
# Orders that are read and not yet published: a volume, and one for each container. A new one belongs to the user above.
VOLUME /spool
EXPOSE 9464
HEALTHCHECK --interval=15s --timeout=5s --start-period=2m CMD ["imotriz-kafka", "doctor", "--quick"]
ENTRYPOINT ["imotriz-kafka"]
CMD ["run"]
