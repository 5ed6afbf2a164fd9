package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math/big"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
)

const (
	magic      = 0
	headerSize = 5
)

// wanted holds the fields that this consumer wants: the reader's schema, as Avro calls it. Fields that are not here, or
// that a later version adds, are left out, and a reason that a later version adds is read as UNKNOWN.
var wanted = avro.MustParse(`{
	"type": "record", "name": "OrderEvent", "namespace": "com.imotriz.orders.v1",
	"fields": [
		{"name": "store", "type": "string"},
		{"name": "order_id", "type": "string"},
		{"name": "revision", "type": "int"},
		{"name": "reason", "default": "UNKNOWN", "type": {
			"type": "enum", "name": "Reason", "default": "UNKNOWN",
			"symbols": ["UNKNOWN", "DRAINED", "RECONCILED", "RESYNCED", "UPDATED", "REPUBLISHED"]
		}},
		{"name": "read_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
		{"name": "currency", "type": "string", "default": ""},
		{"name": "created_at", "default": null,
			"type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
		{"name": "total", "default": null,
			"type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}]}
	]
}`)

// orderEvent is what wanted describes. Amounts are exact fractions.
type orderEvent struct {
	Store     string     `avro:"store"`
	OrderID   string     `avro:"order_id"`
	Revision  int        `avro:"revision"`
	Reason    string     `avro:"reason"`
	ReadAt    time.Time  `avro:"read_at"`
	Currency  string     `avro:"currency"`
	CreatedAt *time.Time `avro:"created_at"`
	Total     *big.Rat   `avro:"total"`
}

var errFrame = errors.New("the message does not begin with the ID of a schema")

// decoder decodes events by the schema that wrote them, found in the registry by the ID in each event.
type decoder struct {
	registry *sr.Client
	schemas  map[int]*avro.Schema
}

func newDecoder(registry string) (*decoder, error) {
	client, err := sr.NewClient(sr.URLs(registry))
	if err != nil {
		return nil, err
	}
	return &decoder{registry: client, schemas: map[int]*avro.Schema{}}, nil
}

func (d *decoder) decode(ctx context.Context, message []byte) (*orderEvent, error) {
	if len(message) < headerSize || message[0] != magic {
		return nil, errFrame
	}
	schema, err := d.schema(ctx, int(binary.BigEndian.Uint32(message[1:headerSize])))
	if err != nil {
		return nil, err
	}
	event := new(orderEvent)
	if _, err := schema.Decode(message[headerSize:], event); err != nil {
		return nil, err
	}
	return event, nil
}

func (d *decoder) schema(ctx context.Context, id int) (*avro.Schema, error) {
	if schema, ok := d.schemas[id]; ok {
		return schema, nil
	}
	found, err := d.registry.SchemaByID(ctx, id)
	if err != nil {
		return nil, err
	}
	writer, err := avro.Parse(found.Schema)
	if err != nil {
		return nil, err
	}
	schema, err := avro.Resolve(writer, wanted)
	if err != nil {
		return nil, err
	}
	d.schemas[id] = schema
	return schema, nil
}
