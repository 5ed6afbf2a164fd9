# In the place of apache/kafka: Maven Central's jars in the context `jars`, and Kafka's own tool that turns KAFKA_*
# variables into properties and formats the storage, as in the official image. Same user, same volumes.
FROM debian
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends openjdk-21-jre-headless && rm -rf /var/lib/apt/lists/*
COPY --from=jars . /opt/kafka/libs
RUN mkdir -p /opt/kafka/bin /opt/kafka/config/defaults /etc/kafka/docker /etc/kafka/secrets /var/lib/kafka/data /mnt/shared/config \
    && touch /opt/kafka/config/defaults/server.properties \
    && useradd --uid 1000 --no-create-home appuser \
    && chown -R appuser /opt/kafka/config /etc/kafka /var/lib/kafka /mnt/shared/config
COPY --chmod=755 <<'END' /opt/kafka/bin/kafka-broker-api-versions.sh
#!/bin/sh
exec java -Xmx64m -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' org.apache.kafka.tools.BrokerApiVersionsCommand "$@"
END
COPY --chmod=755 <<'END' /etc/kafka/docker/run
#!/bin/sh
set -e
# As in the official image: of a storage that is formatted already the tool makes an error.
said=$(java -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup --default-configs-dir /opt/kafka/config/defaults \
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) \
    || echo "$said" | grep -i 'already formatted' || { echo "$said"; exit 1; }
exec java $KAFKA_HEAP_OPTS -cp '/opt/kafka/libs/*' kafka.Kafka /opt/kafka/config/server.properties
END
USER appuser
VOLUME ["/etc/kafka/secrets", "/mnt/shared/config", "/var/lib/kafka/data"]
CMD ["/etc/kafka/docker/run"]
