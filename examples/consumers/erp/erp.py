"""Books the orders of the orders topic into PostgreSQL, each event once, whatever happens to this process.

    erp.py BROKERS REGISTRY_URL TOPIC GROUP DATABASE_URL [INSTANCE]

It goes on until it is stopped: SIGTERM ends it after the batch in hand. A record that can't be decoded is kept in the
table undecodable_records, and tried again at each start.
"""

import json
import pathlib
import signal
import sys

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

BATCH = 20
# What a registry says of an ID that it has not given out.
SCHEMA_NOT_FOUND = 40403
FIELDS = {"store", "order_id", "revision", "reason", "currency", "total", "created_at", "read_at"}
SCHEMA = pathlib.Path(__file__).with_name("schema.sql")

BOOK = """
    INSERT INTO order_events (store, order_id, revision, reason, currency, total, created_at, read_at)
    VALUES (%(store)s, %(order_id)s, %(revision)s, %(reason)s, %(currency)s, %(total)s, %(created_at)s, %(read_at)s)
    ON CONFLICT DO NOTHING
"""

# In the transaction that moves the offset past it: nothing is passed over without a trace.
KEEP = """
    INSERT INTO undecodable_records (topic, partition, record_offset, reason, value)
    VALUES (%(topic)s, %(partition)s, %(offset)s, %(reason)s, %(value)s)
    ON CONFLICT DO NOTHING
"""

FORGET = "DELETE FROM undecodable_records WHERE topic = %s AND partition = %s AND record_offset = %s"

# Moves on only from where this process believes to be. A process that was taken for dead and wakes up again finds that
# another one has moved on, and books nothing.
MOVE_ON = """
    INSERT INTO kafka_offsets AS stored VALUES (%(topic)s, %(partition)s, %(next)s)
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
    WHERE stored.next_offset = %(expected)s
"""


class Undecodable(Exception):
    """A record that can't be decoded. The text says why, without anything of the record."""


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
        rows, undecodable = [], []
        for message in messages:
            try:
                rows.append(self.row(message.value()))
            except Undecodable as reason:
                undecodable.append({
                    "topic": self.topic,
                    "partition": message.partition(),
                    "offset": message.offset(),
                    "reason": str(reason),
                    "value": message.value(),
                })
        with self.database.transaction(), self.database.cursor() as cursor:
            cursor.executemany(BOOK, rows)
            cursor.executemany(KEEP, undecodable)
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
        for record in undecodable:
            place = "{topic}[{partition}]@{offset}: not booked, kept in undecodable_records: {reason}"
            print(place.format(**record), file=sys.stderr, flush=True)

    def row(self, value):
        """What is booked of an event. Trouble with the registry or the network is another exception and ends this
        program: nothing is booked or moved on then, and the next start begins at the same place."""
        if value is None:
            raise Undecodable("it has no value")
        try:
            # Amounts are Decimal and go into numeric(18, 4) as they are. The buyer stays out of this example.
            row = self.decode(value, SerializationContext(self.topic, MessageField.VALUE))
        except SchemaRegistryError as error:
            if error.error_code != SCHEMA_NOT_FOUND:
                raise
            raise Undecodable("the registry does not know its schema") from None
        except json.JSONDecodeError:
            # The registry's answer is not JSON; events hold none.
            raise
        except (SerializationError, ArithmeticError, EOFError, LookupError, TypeError, ValueError) as error:
            # No more than the name: the text can quote the record, and that is personal data.
            raise Undecodable(type(error).__name__) from None
        if not isinstance(row, dict) or not FIELDS <= row.keys():
            raise Undecodable("it is not an event of an order")
        return row

    def try_again(self):
        """Books what could not be decoded before and can be now, for example because its schema is registered again."""
        kept = "SELECT partition, record_offset, value FROM undecodable_records WHERE topic = %s AND value IS NOT NULL"
        for partition, offset, value in self.database.execute(kept, [self.topic]).fetchall():
            try:
                row = self.row(value)
            except Undecodable:
                continue
            with self.database.transaction():
                self.database.execute(BOOK, row)
                self.database.execute(FORGET, [self.topic, partition, offset])
            print(f"{self.topic}[{partition}]@{offset}: booked now", flush=True)


def main(brokers, registry, topic, group, database, instance="erp-1"):
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    erp = Erp(brokers, registry, topic, group, database, instance)
    erp.try_again()
    while not stopping:
        booked = erp.step()
        if booked:
            print(f"booked {booked}", flush=True)
    erp.consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
