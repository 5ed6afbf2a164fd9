# In the place of rust:*-slim-trixie: Debian, a C compiler, and the toolchain of the machine in the context `toolchain`.
FROM debian
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends ca-certificates gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=certificates ca-certificates.crt /etc/ssl/certs/
COPY --from=toolchain bin /usr/local/rustup/bin
COPY --from=toolchain lib /usr/local/rustup/lib
ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/rustup/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
