// Reads the orders topic and prints one JSON line for each new event of an order.
//
//	orders-consumer BROKERS REGISTRY_URL TOPIC GROUP [MAX]
//
// MAX ends it after so many messages; without it, it goes on until it is stopped.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const batch = 100

func main() {
	log.SetFlags(0)
	if len(os.Args) < 5 {
		log.Fatal("orders-consumer BROKERS REGISTRY_URL TOPIC GROUP [MAX]")
	}
	left := math.MaxInt
	if len(os.Args) > 5 {
		var err error
		if left, err = strconv.Atoi(os.Args[5]); err != nil {
			log.Fatal(err)
		}
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4], left); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, brokers, registry, topic, group string, left int) error {
	decoder, err := newDecoder(registry)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(brokers, ",")...),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		// franz-go's default is ReadUncommitted, and would show events of transactions that were given up.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// We commit ourselves, once the orders are dealt with; nobody takes a partition away in between.
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
	)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()

	handled, skipped := handled{}, 0
	for left > 0 {
		fetches := client.PollRecords(ctx, min(left, batch))
		if errs := fetches.Errors(); len(errs) > 0 {
			return fmt.Errorf("%s[%d]: %w", errs[0].Topic, errs[0].Partition, errs[0].Err)
		}
		for _, record := range fetches.Records() {
			event, err := decoder.decode(ctx, record.Value)
			if errors.Is(err, errUndecodable) {
				skipped++
				place := fmt.Sprintf("%s[%d]@%d", record.Topic, record.Partition, record.Offset)
				log.Printf("%s: skipped (%d so far): %v", place, skipped, err)
				continue
			}
			if err != nil {
				return fmt.Errorf("%s[%d]@%d: %w", record.Topic, record.Partition, record.Offset, err)
			}
			if handled.isNew(event) {
				if err := handle(event, record); err != nil {
					return err
				}
			}
		}
		// Only now: whoever is killed before this line gets the batch again, and isNew drops what was done.
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
		client.AllowRebalance()
		left -= fetches.NumRecords()
	}
	return nil
}

type orderKey struct{ store, orderID string }

// handled holds the latest revision of each order. In memory it forgets at a restart: keep the revision where you keep
// the order, and change both in one transaction, as ../erp does.
type handled map[orderKey]int

// isNew tells whether this is a later event of its order than any before.
func (h handled) isNew(event *orderEvent) bool {
	order := orderKey{event.Store, event.OrderID}
	if event.Revision <= h[order] {
		return false
	}
	h[order] = event.Revision
	return true
}

// handle is what you do with an order. This prints it, without the buyer: that is personal data.
func handle(event *orderEvent, record *kgo.Record) error {
	line, err := json.Marshal(map[string]any{
		"store":    event.Store,
		"order_id": event.OrderID,
		"revision": event.Revision,
		"reason":   event.Reason,
		// The same, for those who only route.
		"reason_header": header(record, "imotriz-reason"),
		"total":         amount(event.Total),
		"currency":      event.Currency,
		"created_at":    event.CreatedAt,
		"read_at":       event.ReadAt,
	})
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(line))
	return err
}

// amount is the exact text of an amount: the schema gives it four places.
func amount(value *big.Rat) *string {
	if value == nil {
		return nil
	}
	text := value.FloatString(4)
	return &text
}

func header(record *kgo.Record, name string) string {
	for _, header := range record.Headers {
		if header.Key == name {
			return string(header.Value)
		}
	}
	return ""
}
