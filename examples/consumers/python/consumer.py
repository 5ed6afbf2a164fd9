"""Reads the orders topic and prints one JSON line for each new event of an order.

    consumer.py BROKERS REGISTRY_URL TOPIC GROUP [MAX]

MAX ends it after so many messages; without it, it goes on until it is stopped.
"""

import json
import sys

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

BATCH = 100
# What a registry says of an ID that it has not given out.
SCHEMA_NOT_FOUND = 40403
FIELDS = {"store", "order_id", "revision", "reason", "currency", "total", "created_at", "read_at"}


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
    skipped = 0
    left = int(most)
    try:
        while left > 0:
            batch = consumer.consume(min(left, BATCH), timeout=1.0)
            for message in batch:
                if message.error():
                    raise KafkaException(message.error())
                try:
                    event = decoded(decode, message)
                except Undecodable as reason:
                    skipped += 1
                    place = f"{message.topic()}[{message.partition()}]@{message.offset()}"
                    print(f"{place}: skipped ({skipped} so far): {reason}", file=sys.stderr, flush=True)
                    continue
                if is_new(handled, event):
                    handle(event, dict(message.headers() or []))
            if batch:
                # Only now: whoever is killed before this line gets the batch again, and `is_new` drops what was done.
                consumer.commit(asynchronous=False)
                left -= len(batch)
    finally:
        consumer.close()


class Undecodable(Exception):
    """A record that can't be decoded, however often it is tried. The text says why, without anything of the record."""


def decoded(decode, message):
    """The event in a message. What goes wrong with the registry or the network is another exception and ends this
    program: to skip records then would be to skip every order."""
    if message.value() is None:
        raise Undecodable("it has no value")
    try:
        event = decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
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
    if not isinstance(event, dict) or not FIELDS <= event.keys():
        raise Undecodable("it is not an event of an order")
    return event


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
    # A tool that copies a topic may drop the headers.
    reason = headers.get("imotriz-reason")
    print(json.dumps({
        "store": event["store"],
        "order_id": event["order_id"],
        "revision": event["revision"],
        # A symbol that you don't know yet counts as UNKNOWN. The header says the same, for those who only route.
        "reason": event["reason"],
        "reason_header": None if reason is None else reason.decode(),
        "total": None if total is None else format(total, "f"),
        "currency": event["currency"],
        "created_at": time(event["created_at"]),
        "read_at": time(event["read_at"]),
    }), flush=True)


def time(value):
    return None if value is None else value.isoformat(timespec="milliseconds")


if __name__ == "__main__":
    main(*sys.argv[1:])
