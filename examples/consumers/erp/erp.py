"""Books the orders of the orders topic into PostgreSQL, each event once, whatever happens to this process.

    erp.py BROKERS REGISTRY_URL TOPIC GROUP DATABASE_URL [INSTANCE]

It goes on until it is stopped: SIGTERM ends it after the batch in hand.
"""

import pathlib
import signal
import sys

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

BATCH = 20
SCHEMA = pathlib.Path(__file__).with_name("schema.sql")

BOOK = """
    INSERT INTO order_events (store, order_id, revision, reason, currency, total, created_at, read_at)
    VALUES (%(store)s, %(order_id)s, %(revision)s, %(reason)s, %(currency)s, %(total)s, %(created_at)s, %(read_at)s)
    ON CONFLICT DO NOTHING
"""

# Moves on only from where this process believes to be. A process that was taken for dead and wakes up again finds that
# another one has moved on, and books nothing.
MOVE_ON = """
    INSERT INTO kafka_offsets AS stored VALUES (%(topic)s, %(partition)s, %(next)s)
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
    WHERE stored.next_offset = %(expected)s
"""


class Erp:
    def __init__(self, brokers, registry, topic, group, database, instance):
        self.topic = topic
        self.decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
        self.database = psycopg.connect(database, autocommit=True)
        self.database.execute(SCHEMA.read_text(encoding="utf-8"))
        # Where the database stands, by partition; None before the first event.
        self.booked = {}
        self.consumer = Consumer({
            "bootstrap.servers": brokers,
            "group.id": group,
            # Started again under the same name, it gets its partitions back at once, and the group does not stop.
            "group.instance.id": instance,
            # Events of transactions that were given up are not for us.
            "isolation.level": "read_committed",
            # Offsets are in the database. One that the topic no longer has is for a person to look into: between it
            # and the oldest event, orders may have gone by.
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
        })
        self.consumer.subscribe([topic], on_assign=self.on_assign)

    def on_assign(self, consumer, partitions):
        """Begins where the database stands, and not where Kafka believes that we are."""
        stored = "SELECT partition, next_offset FROM kafka_offsets WHERE topic = %s"
        offsets = dict(self.database.execute(stored, [self.topic]).fetchall())
        for partition in partitions:
            self.booked[partition.partition] = offsets.get(partition.partition)
            partition.offset = offsets.get(partition.partition, OFFSET_BEGINNING)
        consumer.assign(partitions)

    def step(self):
        """Books a batch; its size, 0 if nothing came for a second."""
        messages = self.consumer.consume(BATCH, timeout=1.0)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        if messages:
            self.book(messages)
        return len(messages)

    def book(self, messages):
        """Orders and offsets in one transaction: both, or after a crash neither."""
        ends = {message.partition(): message.offset() + 1 for message in messages}
        with self.database.transaction(), self.database.cursor() as cursor:
            cursor.executemany(BOOK, [self.row(message) for message in messages])
            # In one order for all, so that two processes can't wait for each other.
            for partition, end in sorted(ends.items()):
                cursor.execute(MOVE_ON, {
                    "topic": self.topic,
                    "partition": partition,
                    "next": end,
                    "expected": self.booked[partition],
                })
                if cursor.rowcount != 1:
                    raise SystemExit(f"{self.topic}[{partition}]: another process has booked from here on")
        self.booked.update(ends)

    def row(self, message):
        # Amounts are Decimal and go into numeric(18, 4) as they are. The buyer stays out of this example.
        return self.decode(message.value(), SerializationContext(self.topic, MessageField.VALUE))


def main(brokers, registry, topic, group, database, instance="erp-1"):
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    erp = Erp(brokers, registry, topic, group, database, instance)
    while not stopping:
        booked = erp.step()
        if booked:
            print(f"booked {booked}", flush=True)
    erp.consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
