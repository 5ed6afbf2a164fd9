package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

// errUndecodable is in every error of a record that can't be decoded, however often it is tried. What goes wrong with the
// registry or the network is another error: to skip records then would be to skip every order.
var errUndecodable = errors.New("it can't be decoded")

// What a registry says of an ID that it has not given out.
const schemaNotFound = 40403

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
	if message == nil {
		return nil, fmt.Errorf("%w: it has no value", errUndecodable)
	}
	if len(message) < headerSize || message[0] != magic {
		return nil, fmt.Errorf("%w: it does not begin with the ID of a schema", errUndecodable)
	}
	schema, err := d.schema(ctx, int(binary.BigEndian.Uint32(message[1:headerSize])))
	if err != nil {
		return nil, err
	}
	event := new(orderEvent)
	if _, err := schema.Decode(message[headerSize:], event); err != nil {
		// Not the error itself: it can quote the record, which is personal data.
		return nil, fmt.Errorf("%w: it is not what its schema says", errUndecodable)
	}
	// Such a time has no text in JSON.
	if !isDate(event.ReadAt) || event.CreatedAt != nil && !isDate(*event.CreatedAt) {
		return nil, fmt.Errorf("%w: a time is outside the years 1 to 9999", errUndecodable)
	}
	return event, nil
}

func isDate(t time.Time) bool {
	year := t.UTC().Year()
	return 1 <= year && year <= 9999
}

func (d *decoder) schema(ctx context.Context, id int) (*avro.Schema, error) {
	if schema, ok := d.schemas[id]; ok {
		return schema, nil
	}
	found, err := d.registry.SchemaByID(ctx, id)
	var answer *sr.ResponseError
	if errors.As(err, &answer) && answer.ErrorCode == schemaNotFound {
		return nil, fmt.Errorf("%w: the registry does not know its schema", errUndecodable)
	}
	if err != nil {
		return nil, err
	}
	writer, err := avro.Parse(found.Schema)
	if err != nil {
		return nil, err
	}
	schema, err := avro.Resolve(writer, wanted)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not an event of an order: %v", errUndecodable, err)
	}
	d.schemas[id] = schema
	return schema, nil
}
