# In the place of prom/prometheus: Debian's package, under the same paths and with the same user and volume.
FROM debian
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/bin/prometheus /usr/bin/promtool /bin/ 2>/dev/null; mkdir -p /prometheus && chown nobody:nogroup /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
