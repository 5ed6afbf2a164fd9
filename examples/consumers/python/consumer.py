"""Reads the orders topic and prints one JSON line for each new event of an order.

    consumer.py BROKERS REGISTRY_URL TOPIC GROUP [MAX]

MAX ends it after so many messages; without it, it goes on until it is stopped.
"""

import json
import sys

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

BATCH = 100


def main(brokers, registry, topic, group, most=sys.maxsize):
    # Decodes by the schema that wrote the event, found by the ID in it. decimal(18, 4) becomes a Decimal, and a
    # timestamp-millis a datetime in UTC: neither ever is a float.
    decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "group.id": group,
        # Events of transactions that were given up are not for us. (It is librdkafka's default; say it all the same.)
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        # We commit ourselves, once the orders are dealt with.
        "enable.auto.commit": False,
    })
    consumer.subscribe([topic])
    handled = {}
    left = int(most)
    try:
        while left > 0:
            batch = consumer.consume(min(left, BATCH), timeout=1.0)
            for message in batch:
                if message.error():
                    raise KafkaException(message.error())
                event = decode(message.value(), SerializationContext(topic, MessageField.VALUE))
                if is_new(handled, event):
                    handle(event, dict(message.headers()))
            if batch:
                # Only now: whoever is killed before this line gets the batch again, and `is_new` drops what was done.
                consumer.commit(asynchronous=False)
                left -= len(batch)
    finally:
        consumer.close()


def is_new(handled, event):
    """Whether this is a later event of its order than any before. In memory it forgets at a restart: keep the revision
    where you keep the order, and change both in one transaction, as ../erp does."""
    order = (event["store"], event["order_id"])
    if event["revision"] <= handled.get(order, 0):
        return False
    handled[order] = event["revision"]
    return True


def handle(event, headers):
    """What you do with an order. This prints it, without the buyer: that is personal data."""
    total = event["total"]
    print(json.dumps({
        "store": event["store"],
        "order_id": event["order_id"],
        "revision": event["revision"],
        # A symbol that you don't know yet counts as UNKNOWN. The header says the same, for those who only route.
        "reason": event["reason"],
        "reason_header": headers["imotriz-reason"].decode(),
        "total": None if total is None else format(total, "f"),
        "currency": event["currency"],
        "created_at": time(event["created_at"]),
        "read_at": time(event["read_at"]),
    }), flush=True)


def time(value):
    return None if value is None else value.isoformat(timespec="milliseconds")


if __name__ == "__main__":
    main(*sys.argv[1:])
