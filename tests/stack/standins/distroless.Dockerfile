# In the place of gcr.io/distroless/cc-debian13:nonroot, which is made of the same packages: no shell, no package manager.
FROM debian AS packages
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends ca-certificates
WORKDIR /packages
RUN apt-get download base-files netbase tzdata media-types libc6 libgcc-s1 libstdc++6 libgomp1 \
    && mkdir /image && for package in *.deb; do dpkg-deb --fsys-tarfile $package | tar -x -C /image --keep-directory-symlink; done \
    && rm -rf /image/usr/share/doc /image/usr/share/lintian && mkdir -p /image/etc/ssl/certs /image/home/nonroot \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ && chown 65532:65532 /image/home/nonroot \
    && echo 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' > /image/etc/passwd \
    && echo 'root:x:0:\nnonroot:x:65532:' > /image/etc/group

FROM scratch
COPY --from=packages /image /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532
WORKDIR /home/nonroot
