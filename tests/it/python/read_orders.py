"""Prints every committed event of a topic, one JSON object a line.

    read_orders.py BOOTSTRAP_SERVERS REGISTRY_URL|SCHEMA_FILE TOPIC [READER_SCHEMA_FILE]

It decodes with the writer's schema, which it gets from the registry by the ID that each event carries: the way of any
consumer outside of the program. Where a schema file is given instead, events are in single-object encoding, and carry
the fingerprint of that schema. Decimals become text with all their digits, times become ISO 8601.
"""

import base64
import datetime
import decimal
import io
import json
import pathlib
import sys
import time
import uuid

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

CALL_DEADLINE = 20
READ_DEADLINE = 90


def consumer(bootstrap_servers, isolation):
    return Consumer({
        "bootstrap.servers": bootstrap_servers,
        "group.id": str(uuid.uuid4()),
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": isolation,
    })


def ends(bootstrap_servers, topic):
    """Where each partition's log ends now, whether or not a transaction is open there."""
    reader = consumer(bootstrap_servers, "read_uncommitted")
    metadata = reader.list_topics(topic, CALL_DEADLINE).topics[topic]
    if metadata.error is not None:
        raise SystemExit(f"{topic}: {metadata.error}")
    partitions = [TopicPartition(topic, partition) for partition in metadata.partitions]
    result = {p.partition: reader.get_watermark_offsets(p, CALL_DEADLINE)[1] for p in partitions}
    reader.close()
    return result


def committed(bootstrap_servers, topic):
    end = ends(bootstrap_servers, topic)
    reader = consumer(bootstrap_servers, "read_committed")
    partitions = [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in end]
    reader.assign(partitions)
    deadline = time.monotonic() + READ_DEADLINE
    while any(p.offset < end[p.partition] for p in reader.position(partitions) if end[p.partition] > 0):
        if time.monotonic() > deadline:
            raise SystemExit(f"{topic} was not read to its end: is a transaction still open?")
        message = reader.poll(0.05)
        if message is None:
            continue
        if message.error() is not None:
            raise SystemExit(f"{topic}: {message.error()}")
        if message.offset() < end[message.partition()]:
            yield message
    reader.close()


def as_text(value):
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value)} has no place in an event")


def text(value):
    return value.decode() if value is not None else None


def single_object_decoder(schema_file):
    with open(schema_file, encoding="utf-8") as file:
        schema = json.load(file)
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    marker = b"\xc3\x01" + fingerprint
    parsed = fastavro.parse_schema(schema)

    def decode(value, _context):
        if not value.startswith(marker):
            raise SystemExit(f"an event begins with {value[:10].hex()}, and not with {marker.hex()}")
        return fastavro.schemaless_reader(io.BytesIO(value[len(marker):]), parsed)

    return decode


def main(bootstrap_servers, schemas, topic, reader_schema=None):
    if schemas.startswith("http"):
        wanted = pathlib.Path(reader_schema).read_text(encoding="utf-8") if reader_schema else None
        decode = AvroDeserializer(SchemaRegistryClient({"url": schemas}), wanted)
    else:
        decode = single_object_decoder(schemas)
    for message in committed(bootstrap_servers, topic):
        context = SerializationContext(topic, MessageField.VALUE, message.headers())
        line = {
            "partition": message.partition(),
            "offset": message.offset(),
            "key": text(message.key()),
            "headers": {name: text(value) for name, value in message.headers() or []},
            "event": decode(message.value(), context),
        }
        print(json.dumps(line, default=as_text))


if __name__ == "__main__":
    main(*sys.argv[1:])
