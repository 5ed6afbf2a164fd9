-- Every event of an order, once: the key is what makes a second delivery harmless.
CREATE TABLE IF NOT EXISTS order_events (
    store      text          NOT NULL,
    order_id   text          NOT NULL,
    revision   integer       NOT NULL,
    reason     text          NOT NULL,
    currency   text          NOT NULL,
    total      numeric(18, 4),
    created_at timestamptz,
    read_at    timestamptz   NOT NULL,
    PRIMARY KEY (store, order_id, revision)
);

-- Each order as it stands: its latest revision.
CREATE OR REPLACE VIEW orders AS
    SELECT DISTINCT ON (store, order_id) * FROM order_events ORDER BY store, order_id, revision DESC;

-- How far each partition has been booked. It changes in the same transaction as the orders, so that the two can't
-- disagree; Kafka's own record of offsets has no part in it.
CREATE TABLE IF NOT EXISTS kafka_offsets (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Records that could not be decoded, as they came: personal data. Each start of the program tries them again.
CREATE TABLE IF NOT EXISTS undecodable_records (
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    record_offset bigint      NOT NULL,
    reason        text        NOT NULL,
    value         bytea,
    noted_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, record_offset)
);
